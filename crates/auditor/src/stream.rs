//! The modules' streams, read from their beginning to where they end now.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::{self, stream::Stream};
use futures_util::StreamExt;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::journal::Message;
use crate::{Nats, shown};

const ANSWER_MAX: Duration = Duration::from_secs(10);
const BATCH: usize = 1_000;
/// Fetches in a row that bring nothing although there must be more, before the stream counts as unreadable.
const EMPTY_MAX: u32 = 10;

/// What a stream holds of its module's log.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    /// In the stream's order. What no relay has written is left out: anybody may publish.
    pub(crate) messages: Vec<StoredMessage>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredMessage {
    pub(crate) sequence: u64,
    pub(crate) log_id: String,
    pub(crate) message: Message,
}

/// The streams of these modules, by module. One that is not there holds nothing.
///
/// # Errors
/// When the server cannot be reached or a stream cannot be read.
pub(crate) async fn read_all(
    nats: &Nats,
    modules: impl Iterator<Item = &'static str>,
) -> Result<BTreeMap<&'static str, Stored>> {
    let place = || format!("the NATS server at {}", shown(&nats.url));
    let connecting = connect(&nats.url);
    let client = tokio::time::timeout(ANSWER_MAX, connecting).await.with_context(place)?.with_context(place)?;
    let context = jetstream::new(client);
    let mut streams = BTreeMap::new();
    for module in modules {
        let name = format!("{}_{module}", nats.namespace).to_uppercase();
        let stored = match context.get_stream(&name).await {
            Ok(stream) => read(&stream, &nats.namespace).await.with_context(|| format!("reading the stream {name}"))?,
            Err(error) if error.to_string().contains("not found") => Stored::default(),
            Err(error) => return Err(error).with_context(|| format!("the stream {name}")),
        };
        streams.insert(module, stored);
    }
    Ok(streams)
}

async fn read(stream: &Stream, namespace: &str) -> Result<Stored> {
    let end = stream.get_info().await?.state;
    let mut stored = Stored::default();
    if end.messages == 0 {
        return Ok(stored);
    }
    let config = pull::Config {
        ack_policy: AckPolicy::None,
        inactive_threshold: Duration::from_secs(60),
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await?;
    let (mut sequence, mut empty) = (0, 0);
    while sequence < end.last_sequence {
        let mut batch = consumer.fetch().max_messages(BATCH).expires(Duration::from_secs(2)).messages().await?;
        let before = sequence;
        while let Some(message) = batch.next().await {
            let message = message.map_err(|error| anyhow::anyhow!("{error}"))?;
            sequence = message.info().map_err(|error| anyhow::anyhow!("{error}"))?.stream_sequence;
            stored.messages.extend(decode(namespace, sequence, &message));
        }
        empty = if sequence == before { empty + 1 } else { 0 };
        if empty == EMPTY_MAX {
            bail!("it ends at sequence {}, but nothing comes after {sequence}", end.last_sequence);
        }
    }
    // The server forgets it in a minute by itself.
    let _ = stream.delete_consumer(&consumer.cached_info().name).await;
    Ok(stored)
}

/// `None` for what no relay has written.
fn decode(namespace: &str, sequence: u64, message: &async_nats::Message) -> Option<StoredMessage> {
    let headers = message.headers.as_ref()?;
    let header = |name: &str| headers_get(headers, name);
    let subject = message.subject.strip_prefix(&format!("{namespace}."))?;
    let stated = header("ce-type")?;
    let subject = if stated == subject { stated } else { format!("{stated} (sent to {subject})") };
    let time = OffsetDateTime::parse(&header("ce-time")?, &Rfc3339).ok()?;
    Some(StoredMessage {
        sequence,
        log_id: header("ce-logid")?,
        message: Message {
            position: header("ce-position")?.parse().ok()?,
            id: header("ce-id")?,
            subject,
            key: header("ce-subject")?,
            causation_id: header("ce-causationid")?,
            correlation_id: header("ce-correlationid")?,
            actor: header("ce-actor")?,
            created_at: i64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok()?,
            payload: String::from_utf8(message.payload.to_vec()).ok()?,
        },
    })
}

fn headers_get(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|value| value.as_str().to_owned())
}

/// A client of the broker that this URL names; `nats://user:password@host` says who it is.
///
/// # Errors
/// When the address is none, or the broker is not there or lets nobody in.
pub async fn connect(url: &str) -> anyhow::Result<async_nats::Client> {
    let address: async_nats::ServerAddr = url.parse()?;
    let options = match (address.username(), address.password()) {
        (Some(user), Some(password)) => {
            async_nats::ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned())
        }
        _ => async_nats::ConnectOptions::new(),
    };
    Ok(options.connect(address).await?)
}
