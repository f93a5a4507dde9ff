use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use pangaea_contracts::Money;
use pangaea_contracts::order::Reason;
use pangaea_faults::{Failpoint, Injected, reach};
use pangaea_kernel::{Outcome, TryError};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::provider::{Answered, Provider, ProviderCall, Receipt};

/// Requests under way at once; more wait for a place, within their own timeout.
const REQUESTS_MAX: usize = 128;
const IDLE_CONNECTIONS_MAX: usize = 64;
/// Shorter than servers commonly keep idle connections, so that a request rarely meets one that was just closed.
const IDLE: Duration = Duration::from_secs(30);
const BODY_BYTES_MAX: usize = 64 * 1024;
/// What a provider says of an error goes into events: this much of it.
const DETAIL_CHARS_MAX: usize = 200;
const CODE_CHARS_MAX: usize = 64;

/// A provider with a Stripe-like REST API, over HTTP/1.1 with kept connections.
///
/// Plain `http` only: the provider is the simulator on loopback, or is reached through a proxy or mesh that adds TLS. A
/// `https` URL is refused rather than sent in the clear.
///
/// What can be trusted: a connection that was never made, 429, and 503 with the code `temporarily_unavailable` did
/// nothing. A lost connection, a timeout and any other 5xx may have done it. 402 and other 4xx are refusals for good.
pub struct HttpProvider {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
    timeouts: ProviderTimeouts,
    places: Semaphore,
}

/// How long an [`HttpProvider`] waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProviderTimeouts {
    /// For a connection, in milliseconds.
    pub connect_ms: u64,
    /// For a whole request, waiting for a place included, in milliseconds.
    pub request_ms: u64,
}

/// A provider's URL that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the payment provider's URL {url:?} cannot be used: {reason}")]
pub struct ProviderUrlError {
    pub url: String,
    pub reason: String,
}

/// `{"error":{"code","message"}}`
#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorDetail,
}

#[derive(Deserialize)]
struct ErrorDetail {
    code: String,
    #[serde(default)]
    message: String,
}

/// The first answer to an idempotency key.
#[derive(Deserialize)]
struct OperationBody {
    status: u16,
    body: Value,
}

struct Reply {
    status: StatusCode,
    body: Bytes,
}

impl Default for ProviderTimeouts {
    fn default() -> Self {
        Self { connect_ms: 1_000, request_ms: 5_000 }
    }
}

// === impl HttpProvider ===

impl HttpProvider {
    /// `base_url` is e.g. `http://127.0.0.1:8081`; a path in it is put before every route.
    ///
    /// # Errors
    /// When the URL is not an `http` one with a host.
    pub fn new(base_url: &str, timeouts: ProviderTimeouts) -> Result<Self, ProviderUrlError> {
        let error = |reason: &str| ProviderUrlError { url: base_url.to_owned(), reason: reason.to_owned() };
        let uri: Uri = base_url.parse().map_err(|_| error("it is not a URL"))?;
        if uri.scheme_str() != Some("http") {
            return Err(error("use http://…; TLS is left to a proxy or mesh in between"));
        }
        if uri.host().is_none_or(str::is_empty) || uri.query().is_some() {
            return Err(error("use http://host:port, without a query"));
        }
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_millis(timeouts.connect_ms)));
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .build(connector);
        let base = base_url.trim_end_matches('/').to_owned();
        Ok(Self { client, base, timeouts, places: Semaphore::new(REQUESTS_MAX) })
    }

    async fn post(&self, path: &str, operation: ProviderCall<'_>, body: Value) -> Result<Outcome<Receipt>, TryError> {
        let key = HeaderValue::try_from(operation.key).map_err(|error| TryError::NotDone(error.to_string()))?;
        let mut request = Request::builder().method(Method::POST).header("idempotency-key", key);
        if let Some(traceparent) = operation.traceparent.and_then(|text| HeaderValue::try_from(text).ok()) {
            request = request.header("traceparent", traceparent);
        }
        let request = request.header(CONTENT_TYPE, "application/json");
        self.send(request, path, body.to_string()).await?.outcome()
    }

    async fn get(&self, path: &str) -> Result<Reply, TryError> {
        self.send(Request::builder().method(Method::GET), path, String::new()).await
    }

    async fn send(&self, request: hyper::http::request::Builder, path: &str, body: String) -> Result<Reply, TryError> {
        let request = request
            .uri(format!("{}{path}", self.base))
            .header(USER_AGENT, concat!("pangaea/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| TryError::NotDone(error.to_string()))?;
        let limit = Duration::from_millis(self.timeouts.request_ms);
        let late = |_| TryError::Unknown(format!("the provider did not answer within {} ms", self.timeouts.request_ms));
        tokio::time::timeout(limit, self.exchange(request)).await.map_err(late)?
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Reply, TryError> {
        let _place = self.places.acquire().await.map_err(|error| TryError::NotDone(error.to_string()))?;
        reach(Failpoint::ProviderCallBefore).await.map_err(|injected| TryError::NotDone(injected.to_string()))?;
        let response = self.client.request(request).await;
        reach(Failpoint::ProviderCallAfter).await.map_err(lost)?;
        let response = response.map_err(|error| {
            let text = format!("{error}: {}", root_cause(&error));
            if error.is_connect() { TryError::NotDone(text) } else { TryError::Unknown(text) }
        })?;
        let (parts, body) = response.into_parts();
        reach(Failpoint::ProviderReplyBefore).await.map_err(lost)?;
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
        reach(Failpoint::ProviderReplyAfter).await.map_err(lost)?;
        let body =
            body.map_err(|error| TryError::Unknown(format!("the answer could not be read: {error}")))?.to_bytes();
        Ok(Reply { status: parts.status, body })
    }
}

impl Provider for HttpProvider {
    fn target(&self) -> &str {
        &self.base
    }

    fn authorize<'a>(
        &'a self,
        operation: ProviderCall<'a>,
        amount: Money,
        token: &'a str,
        reference: &'a str,
    ) -> Answered<'a> {
        let Money { amount, currency } = amount;
        let body =
            json!({ "amount": amount, "currency": currency.as_str(), "payment_method": token, "reference": reference });
        Box::pin(self.post("/v1/payment_intents", operation, body))
    }

    fn capture<'a>(&'a self, operation: ProviderCall<'a>, intent: &'a str, amount: i64) -> Answered<'a> {
        Box::pin(async move {
            let path = format!("/v1/payment_intents/{}/capture", path_part(intent)?);
            self.post(&path, operation, json!({ "amount": amount })).await
        })
    }

    fn void<'a>(&'a self, operation: ProviderCall<'a>, intent: &'a str) -> Answered<'a> {
        Box::pin(async move {
            let path = format!("/v1/payment_intents/{}/cancel", path_part(intent)?);
            self.post(&path, operation, json!({})).await
        })
    }

    fn refund<'a>(&'a self, operation: ProviderCall<'a>, intent: &'a str, amount: i64) -> Answered<'a> {
        Box::pin(self.post("/v1/refunds", operation, json!({ "payment_intent": intent, "amount": amount })))
    }

    fn query<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Outcome<Receipt>>, TryError>> {
        Box::pin(async move {
            let reply = self.get(&format!("/v1/operations/{}", path_part(key)?)).await?;
            if reply.status == StatusCode::NOT_FOUND {
                return Ok(None);
            }
            let operation: OperationBody = reply.found()?;
            let status =
                StatusCode::from_u16(operation.status).map_err(|error| TryError::Unknown(error.to_string()))?;
            Reply { status, body: Bytes::from(operation.body.to_string()) }.outcome().map(Some)
        })
    }

    fn show<'a>(&'a self, intent: &'a str) -> Answered<'a> {
        Box::pin(async move { self.get(&format!("/v1/payment_intents/{}", path_part(intent)?)).await?.outcome() })
    }
}

/// The provider's ids and our keys are letters, digits and a few signs; anything else would change the path's meaning.
fn path_part(text: &str) -> Result<&str, TryError> {
    let sound = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if sound { Ok(text) } else { Err(TryError::NotDone(format!("{text:?} cannot stand in a path"))) }
}

fn lost(injected: Injected) -> TryError {
    TryError::Unknown(injected.to_string())
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

// === impl Reply ===

impl Reply {
    fn outcome(self) -> Result<Outcome<Receipt>, TryError> {
        let Self { status, .. } = self;
        if status.is_success() {
            return self.decode().map(Outcome::Done);
        }
        let detail: Option<ErrorDetail> = serde_json::from_slice(&self.body).ok().map(|body: ErrorBody| body.error);
        let busy = status == StatusCode::SERVICE_UNAVAILABLE
            && detail.as_ref().is_some_and(|detail| detail.code == "temporarily_unavailable");
        if busy || status == StatusCode::TOO_MANY_REQUESTS {
            return Err(TryError::NotDone(format!("the provider answered {status}")));
        }
        // 408 and 409 in flight would be for a repeat of a call that has no answer yet; neither says what became of it.
        if !status.is_client_error() || status == StatusCode::REQUEST_TIMEOUT {
            return Err(TryError::Unknown(format!("the provider answered {status}")));
        }
        let code = format!("provider_{}", status.as_u16());
        let ErrorDetail { code, message } =
            detail.unwrap_or(ErrorDetail { code, message: format!("answered {status}") });
        Ok(Outcome::Refused(Reason::new(cut(&code, CODE_CHARS_MAX), cut(&message, DETAIL_CHARS_MAX))))
    }

    /// The body of an answer to a question: anything but 200 leaves it open.
    fn found<T: DeserializeOwned>(self) -> Result<T, TryError> {
        if self.status.is_success() {
            return self.decode();
        }
        Err(TryError::Unknown(format!("the provider answered {} to a question", self.status)))
    }

    fn decode<T: DeserializeOwned>(&self) -> Result<T, TryError> {
        serde_json::from_slice(&self.body)
            .map_err(|error| TryError::Unknown(format!("the provider's answer is not understood: {error}")))
    }
}

fn cut(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).collect()
}

#[cfg(test)]
mod tests {
    use super::{HttpProvider, ProviderTimeouts, path_part};

    #[test]
    fn only_plain_http_urls_are_taken() {
        for bad in ["https://provider.example", "provider.example", "/v1", "http://", "http://host?x=1", "file:///etc"]
        {
            assert!(HttpProvider::new(bad, ProviderTimeouts::default()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_path_is_made_of_plain_parts() {
        assert!(path_part("pi_0a").is_ok());
        for bad in ["", "..", "a/b", "a?b", "a b"] {
            assert!(path_part(bad).is_err(), "{bad}");
        }
    }
}
