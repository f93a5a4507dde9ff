//! The stream that holds one source's log.

use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, Info, RawMessageErrorKind, RetentionPolicy, StorageType, Stream,
};
use async_nats::jetstream::{ErrorCode, message::StreamMessage};

use super::config::NatsConfig;
use super::link::{Link, broker};
use super::wire;
use crate::BusError;

/// The oldest nats-server whose consumers and expected sequences behave as the bus needs.
const VERSION_MIN: (i64, i64, i64) = (2, 9, 0);

pub(super) fn name(namespace: &str, source: &str) -> String {
    format!("{namespace}_{source}").to_uppercase()
}

/// The stream of `source`, refused when it differs from what it must be.
///
/// # Errors
/// [`BusError::StreamMissing`] when its owner has not made it yet; [`BusError::Configuration`].
pub(super) async fn find(link: &Link, source: &str) -> Result<Stream<Info>, BusError> {
    check_version(link)?;
    let wanted = wanted(link, source);
    match link.jetstream.get_stream(&wanted.name).await {
        Ok(stream) => checked(&wanted, stream),
        Err(error) if missing(&error.kind()) => Err(BusError::StreamMissing { stream: wanted.name }),
        Err(error) => Err(broker("get stream", error)),
    }
}

/// Makes the stream of `source` where it is missing, and says whether it was. Only the source's owner may, or a job for all
/// of them: a stream that anybody makes could be made by a reader with the configuration of an older release.
///
/// # Errors
/// [`BusError::Configuration`] when there is another; what the broker says.
pub(super) async fn provide(link: &Link, source: &str) -> Result<bool, BusError> {
    match find(link, source).await {
        Ok(_) => return Ok(false),
        Err(BusError::StreamMissing { stream }) => tracing::info!(stream, "the stream is missing; making it"),
        Err(error) => return Err(error),
    }
    let wanted = wanted(link, source);
    let made = link.jetstream.create_stream(wanted.clone()).await.map_err(|error| broker("create stream", error))?;
    metrics::counter!("pangaea_bus_streams_made_total", "stream" => wanted.name.clone()).increment(1);
    checked(&wanted, made).map(|_| true)
}

fn checked(wanted: &Config, stream: Stream<Info>) -> Result<Stream<Info>, BusError> {
    let differences = differences(wanted, &stream.cached_info().config);
    if differences.is_empty() {
        return Ok(stream);
    }
    Err(BusError::Configuration { what: format!("stream {}", wanted.name), differences })
}

fn check_version(link: &Link) -> Result<(), BusError> {
    let (major, minor, patch) = VERSION_MIN;
    match link.client.try_server_info() {
        Some(info) if !link.client.is_server_compatible(major, minor, patch) => Err(BusError::Configuration {
            what: format!("nats-server at {}", link.config.url),
            differences: vec![format!(
                "its version is {} and {major}.{minor}.{patch} is the oldest that works",
                info.version
            )],
        }),
        _ => Ok(()),
    }
}

/// The message at `sequence`, or none when the stream does not hold it.
pub(super) async fn message_at(stream: &Stream<Info>, sequence: u64) -> Result<Option<StreamMessage>, BusError> {
    if sequence == 0 {
        return Ok(None);
    }
    match stream.get_raw_message(sequence).await {
        Ok(message) => Ok(Some(message)),
        Err(error) => match error.kind() {
            RawMessageErrorKind::NoMessageFound => Ok(None),
            RawMessageErrorKind::JetStream(error) if error.error_code() == ErrorCode::NO_MESSAGE_FOUND => Ok(None),
            _ => Err(broker("get message", error)),
        },
    }
}

/// The position of the message at `sequence`, when there is one that a relay has written.
pub(super) async fn position_at(stream: &Stream<Info>, sequence: u64) -> Result<Option<u64>, BusError> {
    let message = message_at(stream, sequence).await?;
    Ok(message.and_then(|message| wire::place(&message.headers).map(|place| place.position)))
}

fn wanted(link: &Link, source: &str) -> Config {
    let NatsConfig { namespace, replicas, max_bytes, .. } = &link.config;
    config(namespace, source, *replicas, *max_bytes)
}

/// What the stream of a source is. Every field whose default is dangerous is set.
pub(super) fn config(namespace: &str, source: &str, replicas: usize, max_bytes: Option<u64>) -> Config {
    Config {
        name: name(namespace, source),
        description: Some(format!("The log of {source}: its events and commands in outbox order")),
        // Not `<ns>.<source>.>`: the stream would store requests, and its ack would answer them.
        subjects: vec![format!("{namespace}.{source}.evt.>"), format!("{namespace}.{source}.cmd.>")],
        storage: StorageType::File,
        retention: RetentionPolicy::Limits,
        // Discarding the oldest would delete what nobody has read; a full stream refuses, and the relay waits.
        discard: DiscardPolicy::New,
        num_replicas: replicas,
        max_bytes: max_bytes.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        max_messages: -1,
        max_messages_per_subject: -1,
        max_message_size: -1,
        max_consumers: -1,
        ..Config::default()
    }
}

fn missing(kind: &GetStreamErrorKind) -> bool {
    matches!(kind, GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

/// An old server accepts fields it does not know and ignores them, so what it returns is compared with what was meant.
fn differences(wanted: &Config, found: &Config) -> Vec<String> {
    let mut differences = Vec::new();
    let mut compare = |field: &str, wanted: String, found: String| {
        if wanted != found {
            differences.push(format!("{field} is {found} instead of {wanted}"));
        }
    };
    let sorted = |subjects: &[String]| {
        let mut subjects = subjects.to_vec();
        subjects.sort();
        subjects.join(" ")
    };
    let bound = |value: i64| {
        if value <= 0 { "unlimited".to_owned() } else { value.to_string() }
    };
    compare("subjects", sorted(&wanted.subjects), sorted(&found.subjects));
    compare("storage", format!("{:?}", wanted.storage), format!("{:?}", found.storage));
    compare("retention", format!("{:?}", wanted.retention), format!("{:?}", found.retention));
    compare("discard", format!("{:?}", wanted.discard), format!("{:?}", found.discard));
    compare("replicas", wanted.num_replicas.to_string(), found.num_replicas.to_string());
    compare("max_bytes", bound(wanted.max_bytes), bound(found.max_bytes));
    compare("max_msgs", bound(wanted.max_messages), bound(found.max_messages));
    compare("max_msgs_per_subject", bound(wanted.max_messages_per_subject), bound(found.max_messages_per_subject));
    compare("max_msg_size", bound(wanted.max_message_size.into()), bound(found.max_message_size.into()));
    compare("max_age", format!("{:?}", wanted.max_age), format!("{:?}", found.max_age));
    compare("no_ack", wanted.no_ack.to_string(), found.no_ack.to_string());
    compare("sealed", wanted.sealed.to_string(), found.sealed.to_string());
    compare("mirrored", "false".to_owned(), (found.mirror.is_some() || found.sources.is_some()).to_string());
    compare("subject_transform", "false".to_owned(), found.subject_transform.is_some().to_string());
    differences
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn names_what_differs() {
        let wanted = Config {
            name: "PANGAEA_ORDER".into(),
            subjects: vec!["a".into(), "b".into()],
            max_bytes: -1,
            num_replicas: 1,
            discard: DiscardPolicy::New,
            ..Config::default()
        };
        let same = Config { subjects: vec!["b".into(), "a".into()], max_bytes: 0, ..wanted.clone() };
        assert_eq!(differences(&wanted, &same), Vec::<String>::new());
        let other = Config { max_age: Duration::from_secs(60), discard: DiscardPolicy::Old, ..wanted.clone() };
        let found = differences(&wanted, &other);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().any(|text| text.contains("max_age")) && found.iter().any(|text| text.contains("discard")));
    }

    #[test]
    fn streams_are_named_after_namespace_and_source() {
        assert_eq!(name("pangaea", "order"), "PANGAEA_ORDER");
    }
}
