//! Outgoing webhooks with Standard Webhooks signatures.
//!
//! They are hints, as any provider's are: kept in memory, retried a few times, dropped with a warning when the
//! receiver stays away or the queue is full. The list of intents is the truth to reconcile with.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use ring::hmac;
use serde::Serialize;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::derive;
use crate::error::SimulatorError;
use crate::intent::Intent;
use crate::ledger::{EntryKind, LedgerEntry};
use crate::token::Token;

const QUEUE_MESSAGES: usize = 1_024;
const IN_FLIGHT_MAX: usize = 64;
const ATTEMPTS_MAX: u32 = 5;
const TRY_TIMEOUT: Duration = Duration::from_secs(5);
const BACKOFF_FIRST: Duration = Duration::from_millis(200);
const LATE_BY: Duration = Duration::from_secs(2);

/// Where webhooks go and what they are signed with.
pub(crate) struct WebhookTarget {
    url: Uri,
    key: hmac::Key,
}

/// Takes messages without ever waiting; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct WebhookSender(mpsc::Sender<Message>);

/// The sending side of the queue.
pub(crate) struct Webhooks {
    target: Arc<WebhookTarget>,
    client: HttpClient,
    messages: mpsc::Receiver<Message>,
}

type HttpClient = Client<HttpConnector, Full<Bytes>>;

#[derive(Clone, Debug)]
struct Message {
    id: String,
    body: Bytes,
    delay: Duration,
    copies: u32,
}

#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    created_at_ms: u64,
    data: &'a Intent,
}

// === impl WebhookTarget ===

impl WebhookTarget {
    pub(crate) fn parse(url: &str, secret: Option<&str>) -> Result<Self, SimulatorError> {
        let fault = |reason: &str| SimulatorError::Webhook { reason: reason.to_owned() };
        let url: Uri = url.parse().map_err(|error| fault(&format!("the URL {url:?} is not valid: {error}")))?;
        if url.scheme_str() != Some("http") || url.host().is_none() {
            return Err(fault("the URL must begin with http:// and name a host; the simulator speaks no TLS"));
        }
        let secret = secret.ok_or_else(|| fault("a URL needs a secret, `whsec_` and base64"))?;
        let encoded = secret.strip_prefix("whsec_").ok_or_else(|| fault("the secret must begin with whsec_"))?;
        let raw = STANDARD.decode(encoded).map_err(|_| fault("the secret after whsec_ must be base64"))?;
        if raw.len() < 24 {
            return Err(fault("the secret must hold at least 24 bytes"));
        }
        Ok(Self { url, key: hmac::Key::new(hmac::HMAC_SHA256, &raw) })
    }

    fn sign(&self, id: &str, timestamp_s: u64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(format!("{id}.{timestamp_s}.").as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign()))
    }
}

impl std::fmt::Debug for WebhookTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookTarget").field("url", &self.url).finish_non_exhaustive()
    }
}

// === impl WebhookSender ===

impl WebhookSender {
    /// Queues the webhook of a ledger entry, if it has one.
    pub(crate) fn announce(&self, seed: u64, entry: &LedgerEntry, intent: &Intent) {
        let Some(kind) = event_type(entry.kind) else {
            return;
        };
        let body = match serde_json::to_vec(&Event { kind, created_at_ms: entry.at_ms, data: intent }) {
            Ok(body) => Bytes::from(body),
            Err(error) => return tracing::warn!(%error, "a webhook could not be encoded"),
        };
        let message = Message {
            id: derive::id("msg_", seed, kind, &entry.key),
            body,
            delay: if intent.token == Token::LateWebhook { LATE_BY } else { Duration::ZERO },
            copies: if intent.token == Token::DuplicateWebhook { 2 } else { 1 },
        };
        if let Err(error) = self.0.try_send(message) {
            tracing::warn!(%error, intent = intent.id, "a webhook was dropped");
        }
    }
}

fn event_type(kind: EntryKind) -> Option<&'static str> {
    Some(match kind {
        EntryKind::Authorized => "payment_intent.authorized",
        EntryKind::Captured => "payment_intent.captured",
        EntryKind::Voided => "payment_intent.voided",
        EntryKind::Refunded => "payment_intent.refunded",
        EntryKind::Declined => "payment_intent.declined",
        EntryKind::ActionRequired => "payment_intent.action_required",
        EntryKind::Refused => return None,
    })
}

// === impl Webhooks ===

impl Webhooks {
    pub(crate) fn build(target: WebhookTarget) -> (WebhookSender, Self) {
        let (sender, messages) = mpsc::channel(QUEUE_MESSAGES);
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(TRY_TIMEOUT));
        let client = Client::builder(TokioExecutor::new()).build(connector);
        (WebhookSender(sender), Self { target: Arc::new(target), client, messages })
    }

    /// Sends until `stop`; messages still waiting then are dropped.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let places = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
        let mut sending = JoinSet::new();
        loop {
            let next = async {
                let place = Arc::clone(&places).acquire_owned().await.ok()?;
                Some((place, self.messages.recv().await?))
            };
            let (place, message) = tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = sending.join_next() => continue,
                next = next => match next {
                    Some(next) => next,
                    None => break,
                },
            };
            let (target, client) = (Arc::clone(&self.target), self.client.clone());
            sending.spawn(async move {
                tokio::time::sleep(message.delay).await;
                for _ in 0..message.copies {
                    deliver(&target, &client, &message).await;
                }
                drop(place);
            });
        }
        sending.shutdown().await;
    }
}

async fn deliver(target: &WebhookTarget, client: &HttpClient, message: &Message) {
    let mut backoff = BACKOFF_FIRST;
    for attempt in 1..=ATTEMPTS_MAX {
        match try_once(target, client, message).await {
            Ok(()) => return,
            Err(reason) => {
                tracing::debug!(id = message.id, attempt, reason, "a webhook was not taken")
            }
        }
        if attempt < ATTEMPTS_MAX {
            tokio::time::sleep(backoff).await;
            backoff *= 2;
        }
    }
    tracing::warn!(id = message.id, attempts = ATTEMPTS_MAX, "a webhook was given up");
}

async fn try_once(target: &WebhookTarget, client: &HttpClient, message: &Message) -> Result<(), String> {
    // Signed anew at each try: the receiver refuses timestamps that are too old.
    let timestamp_s = clock::now_ms() / 1_000;
    let request = Request::post(&target.url)
        .header("content-type", "application/json")
        .header("webhook-id", &message.id)
        .header("webhook-timestamp", timestamp_s)
        .header("webhook-signature", target.sign(&message.id, timestamp_s, &message.body))
        .body(Full::new(message.body.clone()))
        .map_err(|error| error.to_string())?;
    let answer = tokio::time::timeout(TRY_TIMEOUT, client.request(request)).await;
    let status = answer.map_err(|_| "timed out".to_owned())?.map_err(|error| error.to_string())?.status();
    if status.is_success() { Ok(()) } else { Err(format!("answered {status}")) }
}
