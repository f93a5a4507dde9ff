use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::{self, context::ContextBuilder};
use async_nats::service::{NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE};
use async_nats::{Client, ConnectOptions, Event, HeaderMap, Request, RequestErrorKind, ServerAddr, StatusCode};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::{broadcast, watch};

use super::config::{NatsConfig, NatsCredentials};
use crate::memory::{EPHEMERAL_MAX, lossy_stream};
use crate::protocol::check_name;
use crate::{BoxStream, BusError};

pub(super) const TRACEPARENT: &str = "traceparent";
/// Publishes of all relays of this process that may wait for their acknowledgement.
const ACKS_MAX: usize = 4096;
const RECONNECT_DELAY_MAX: Duration = Duration::from_millis(250);
/// A broker that is silent for three of these is gone: a network that drops everything closes no connection.
const PING_EVERY: Duration = Duration::from_secs(1);

/// The connection to the broker, and what is the same for everything that travels over it.
pub(super) struct Link {
    pub(super) client: Client,
    pub(super) jetstream: jetstream::Context,
    pub(super) config: NatsConfig,
    /// Counts connects and losses.
    turns: watch::Sender<u64>,
    closed: AtomicBool,
}

// === impl Link ===

impl Link {
    pub(super) async fn connect(config: NatsConfig) -> Result<Self, BusError> {
        check_name("namespace", &config.namespace)?;
        let addresses =
            config.url.split(',').map(|address| address.trim().parse::<ServerAddr>()).collect::<Result<Vec<_>, _>>();
        let addresses = addresses.map_err(|error| {
            BusError::InvalidConfig(format!("{:?} is not an address such as nats://host:4222: {error}", config.url))
        })?;
        let turns = watch::Sender::new(0);
        let options = options(&config, &addresses, turns.clone()).await?;
        // With retries on the first connection this returns at once, whether the broker is there or not.
        let client = options.connect(addresses).await.map_err(|error| BusError::InvalidConfig(error.to_string()))?;
        let jetstream =
            ContextBuilder::new().timeout(config.operation_timeout).max_ack_inflight(ACKS_MAX).build(client.clone());
        Ok(Self { client, jetstream, config, turns, closed: AtomicBool::new(false) })
    }

    /// Another number after every connect and every loss: what was learnt of the broker holds for one of them, because it
    /// may have come back with an older store, or without one.
    pub(super) fn turn(&self) -> u64 {
        *self.turns.borrow()
    }

    /// Waits for the end of a turn.
    pub(super) async fn turned(&self, turn: u64) {
        // The sender lives as long as the link.
        let _ = self.turns.subscribe().wait_for(|now| *now != turn).await;
    }

    /// Does what is of no use on the next connection, and gives it up with this one: the client would wait for answers that
    /// cannot come until each has timed out.
    pub(super) async fn in_one_turn<T>(&self, work: impl Future<Output = Result<T, BusError>>) -> Result<T, BusError> {
        let turn = self.turn();
        self.available()?;
        tokio::select! {
            biased;
            done = work => done,
            () = self.turned(turn) => Err(BusError::Unavailable(self.config.url.clone())),
        }
    }

    pub(super) fn connected(&self) -> bool {
        !self.closed.load(Ordering::Relaxed) && self.client.connection_state() == State::Connected
    }

    /// Commands to a broker that is away would queue up in the client without an answer: refuse them at once.
    pub(super) fn available(&self) -> Result<(), BusError> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(BusError::Closed);
        }
        if self.connected() { Ok(()) } else { Err(BusError::Unavailable(self.config.url.clone())) }
    }

    pub(super) fn subject(&self, subject: &str) -> String {
        format!("{}.{subject}", self.config.namespace)
    }

    /// A subject as the rest of the program knows it.
    pub(super) fn without_namespace<'a>(&self, subject: &'a str) -> &'a str {
        subject.strip_prefix(self.config.namespace.as_str()).and_then(|rest| rest.strip_prefix('.')).unwrap_or(subject)
    }

    pub(super) async fn request(
        &self,
        subject: &str,
        payload: Bytes,
        traceparent: Option<&str>,
        timeout: Duration,
    ) -> Result<Bytes, BusError> {
        self.available()?;
        let mut request = Request::new().payload(payload).timeout(Some(timeout));
        if let Some(traceparent) = header_value(traceparent) {
            let mut headers = HeaderMap::new();
            headers.insert(TRACEPARENT, traceparent);
            request = request.headers(headers);
        }
        let reply = self.client.send_request(self.subject(subject), request).await;
        let reply = reply.map_err(|error| request_error(subject, timeout, &error))?;
        match service_error(&reply) {
            None => Ok(reply.payload),
            Some((503, _)) => Err(BusError::Busy(subject.to_owned())),
            Some((status, message)) => Err(BusError::Remote { subject: subject.to_owned(), status, message }),
        }
    }

    pub(super) async fn request_many(
        &self,
        subject: &str,
        payload: Bytes,
        timeout: Duration,
        max: usize,
    ) -> Result<Vec<Bytes>, BusError> {
        self.available()?;
        let inbox = self.client.new_inbox();
        let mut answers = self.client.subscribe(inbox.clone()).await.map_err(|error| broker("subscribe", error))?;
        let published = self.client.publish_with_reply(self.subject(subject), inbox, payload).await;
        published.map_err(|error| broker("publish", error))?;
        let mut replies = Vec::new();
        let collect = async {
            while replies.len() < max
                && let Some(reply) = answers.next().await
                && reply.status != Some(StatusCode::NO_RESPONDERS)
            {
                if service_error(&reply).is_none() {
                    replies.push(reply.payload);
                }
            }
        };
        let _ = tokio::time::timeout(timeout, collect).await;
        Ok(replies)
    }

    pub(super) async fn publish(&self, subject: &str, payload: Bytes) -> Result<(), BusError> {
        self.available()?;
        self.client.publish(self.subject(subject), payload).await.map_err(|error| broker("publish", error))
    }

    /// The client's own buffer drops the newest messages when it is full. A task keeps it empty and fills one from which
    /// the oldest are lost.
    pub(super) async fn subscribe(&self, pattern: &str) -> Result<BoxStream<(String, Bytes)>, BusError> {
        let pattern = self.subject(pattern);
        let mut messages = self.client.subscribe(pattern).await.map_err(|error| broker("subscribe", error))?;
        self.settle().await;
        let (sender, receiver) = broadcast::channel(EPHEMERAL_MAX);
        let prefix = format!("{}.", self.config.namespace);
        tokio::spawn(async move {
            loop {
                let message = tokio::select! {
                    message = messages.next() => message,
                    () = sender.closed() => None,
                };
                let Some(message) = message else { return };
                let subject = message.subject.strip_prefix(prefix.as_str()).unwrap_or(&message.subject).to_owned();
                if sender.send((subject, message.payload)).is_err() {
                    return;
                }
            }
        });
        Ok(lossy_stream(receiver))
    }

    /// Waits until the broker has what was sent, so that a subscription is in force; not when it is away.
    pub(super) async fn settle(&self) {
        if self.connected() {
            let _ = tokio::time::timeout(self.config.operation_timeout, self.client.flush()).await;
        }
    }

    /// Hands everything accepted to the broker, acks first of all, then leaves.
    pub(super) async fn close(&self) {
        self.settle().await;
        if !self.closed.swap(true, Ordering::Relaxed) {
            let _ = tokio::time::timeout(self.config.operation_timeout, self.client.drain()).await;
        }
    }
}

pub(super) fn broker(operation: &'static str, error: impl std::fmt::Display) -> BusError {
    BusError::Broker { operation, detail: error.to_string() }
}

/// Trace context comes from outside; what cannot be a header is left out rather than refused.
pub(super) fn header_value(text: Option<&str>) -> Option<&str> {
    text.filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()))
}

fn request_error(subject: &str, timeout: Duration, error: &async_nats::RequestError) -> BusError {
    match error.kind() {
        RequestErrorKind::NoResponders => BusError::NoResponders(subject.to_owned()),
        RequestErrorKind::TimedOut => BusError::Timeout {
            subject: subject.to_owned(),
            timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
        },
        _ => broker("request", error),
    }
}

/// The status and text of an error reply of a micro service.
fn service_error(reply: &async_nats::Message) -> Option<(usize, String)> {
    let headers = reply.headers.as_ref()?;
    let message = headers.get(NATS_SERVICE_ERROR)?.as_str().to_owned();
    let status = headers.get(NATS_SERVICE_ERROR_CODE).and_then(|code| code.as_str().parse().ok()).unwrap_or(500);
    Some((status, message))
}

async fn options(
    config: &NatsConfig,
    addresses: &[ServerAddr],
    turns: watch::Sender<u64>,
) -> Result<ConnectOptions, BusError> {
    let url = config.url.clone();
    let mut options = ConnectOptions::new()
        .name(format!("pangaea {}", config.namespace))
        .retry_on_initial_connect()
        .max_reconnects(None)
        .connection_timeout(config.connect_timeout)
        .request_timeout(Some(config.operation_timeout))
        .ping_interval(PING_EVERY)
        .reconnect_delay_callback(reconnect_delay)
        .event_callback(move |event| {
            if matches!(event, Event::Connected | Event::Disconnected) {
                turns.send_modify(|turn| *turn += 1);
            }
            report(&url, &event);
            std::future::ready(())
        });
    if let Some(prefix) = &config.inbox_prefix {
        options = options.custom_inbox_prefix(prefix.clone());
    }
    if let Some(file) = &config.ca_file {
        options = options.add_root_certificates(file.clone());
    }
    Ok(match &config.credentials {
        // The client itself leaves out who a URL says it is.
        NatsCredentials::None => match addresses.iter().find_map(|one| one.username().zip(one.password())) {
            Some((user, password)) => options.user_and_password(user.to_owned(), password.to_owned()),
            None => options,
        },
        NatsCredentials::UserPassword { user, password } => options.user_and_password(user.clone(), password.clone()),
        NatsCredentials::Token(token) => options.token(token.clone()),
        NatsCredentials::Nkey(seed) => options.nkey(seed.clone()),
        NatsCredentials::File(path) => from_file(options, path).await?,
    })
}

async fn from_file(options: ConnectOptions, path: &Path) -> Result<ConnectOptions, BusError> {
    let refused =
        |error: std::io::Error| BusError::InvalidConfig(format!("the credentials file {}: {error}", path.display()));
    let text = tokio::fs::read_to_string(path).await.map_err(refused)?;
    // A .creds file is a few texts between marks, a seed is one word.
    match text.split_whitespace().collect::<Vec<_>>()[..] {
        [seed] if seed.starts_with('S') => Ok(options.nkey(seed.to_owned())),
        _ => options.credentials(&text).map_err(refused),
    }
}

/// 25 ms, doubled with each attempt, up to a quarter of a second: after an outage nobody waits for the client.
fn reconnect_delay(attempts: usize) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX).min(4);
    (Duration::from_millis(25) * 2u32.pow(doublings)).min(RECONNECT_DELAY_MAX)
}

fn report(url: &str, event: &Event) {
    match event {
        Event::Connected => {
            metrics::counter!("pangaea_bus_connects_total").increment(1);
            tracing::info!(url, "connected to the broker");
        }
        Event::Disconnected => {
            tracing::warn!(url, "the connection to the broker is lost; trying again")
        }
        Event::SlowConsumer(_) => metrics::counter!("pangaea_bus_slow_consumer_total").increment(1),
        Event::ServerError(_) | Event::ClientError(_) => {
            tracing::warn!(url, %event, "the broker reports an error")
        }
        _ => tracing::debug!(url, %event, "broker"),
    }
}
