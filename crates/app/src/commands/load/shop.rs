//! The store's HTTP API as the load generator needs it: one try per order, so that nothing is hidden by a retry.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tokio::sync::{Mutex, RwLock, Semaphore};
use tokio::time::{Instant, timeout};

use crate::retail::StoreArgs;

const TRY_TIMEOUT: Duration = Duration::from_secs(35);
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Access tokens live ten minutes: from this age on one is renewed, and to the next it is used meanwhile.
const TOKEN_OLD: Duration = Duration::from_secs(8 * 60);
const TOKEN_AGE_MAX: Duration = Duration::from_secs(9 * 60);
/// SKUs of the catalogue that are chosen from.
const CODES_MAX: usize = 10_000;
/// Reads are tried again: they are not what is measured.
const READ_TRIES_MAX: u32 = 10;
const READ_PAUSE: Duration = Duration::from_millis(200);

/// A signed-in client. Cheap to clone.
#[derive(Clone)]
pub struct Shop(Arc<Inner>);

struct Inner {
    http: Client<HttpConnector, Full<Bytes>>,
    connections: Semaphore,
    base: String,
    credentials: Value,
    token: RwLock<Option<(String, Instant)>>,
    /// Held by the one who renews it.
    renewal: Mutex<()>,
    is_staff: bool,
}

/// How an order was answered.
#[derive(Debug)]
pub(crate) enum Placed {
    Accepted {
        id: String,
        replayed: bool,
    },
    /// For good, with the status and the problem's title.
    Refused(String),
    /// For the moment, and told when to come again.
    Shed {
        what: String,
        retry_after_s: u32,
    },
    /// There is no answer to go by.
    Error(String),
}

struct Raw {
    status: StatusCode,
    replayed: bool,
    retry_after_s: Option<u32>,
    body: Bytes,
}

// === impl Shop ===

impl Shop {
    /// # Errors
    /// The address is not an `http://` URL, nobody answers there, or the sign-in is refused.
    pub async fn sign_in(args: &StoreArgs, connections_max: u32) -> Result<Self> {
        let (base, http) = args.connection(connections_max as usize)?;
        let mut inner = Inner {
            http,
            connections: Semaphore::new(connections_max as usize),
            base,
            credentials: json!({ "email": args.email, "password": args.password }),
            token: RwLock::default(),
            renewal: Mutex::default(),
            is_staff: false,
        };
        let hint = "is the store running, and are --url, --email and --password right?";
        let signed_in = inner.token().await;
        signed_in.map_err(|what| anyhow!("signing in as {} at {} failed: {what}; {hint}", args.email, inner.base))?;
        // Only staff may ask for the orders of a reference.
        inner.is_staff = inner.get("/v1/orders?customer_reference=none&limit=1").await.is_ok();
        Ok(Self(Arc::new(inner)))
    }

    /// Whether orders may carry a reference and lists may be narrowed to it.
    pub(crate) fn is_staff(&self) -> bool {
        self.0.is_staff
    }

    /// Sends an order, once.
    pub(crate) async fn place(&self, key: &str, order: &Value) -> Placed {
        let raw = match self.0.send(Method::POST, "/v1/orders", Some(key), Some(order)).await {
            Ok(raw) => raw,
            Err(what) => return Placed::Error(what),
        };
        match raw.status {
            status if status.is_success() => match raw.json().get("id").and_then(Value::as_str) {
                Some(id) => Placed::Accepted { id: id.to_owned(), replayed: raw.replayed },
                None => Placed::Error("the order has no id".to_owned()),
            },
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE if !raw.is_outcome_unknown() => {
                match raw.retry_after_s {
                    Some(retry_after_s) => Placed::Shed { what: raw.problem(), retry_after_s },
                    None => Placed::Error(format!("{}, without Retry-After", raw.problem())),
                }
            }
            status if status.is_client_error() => Placed::Refused(raw.problem()),
            _ => Placed::Error(raw.problem()),
        }
    }

    /// Posts a command that is not part of the measurement.
    ///
    /// # Errors
    /// When it is refused or unanswered.
    pub async fn post(&self, path: &str, key: &str, body: &Value) -> Result<Value> {
        let raw = self.0.send(Method::POST, path, Some(key), Some(body)).await;
        let raw = raw.map_err(|what| anyhow!("POST {path}: {what}"))?;
        if raw.status.is_success() { Ok(raw.json()) } else { bail!("POST {path}: {}", raw.problem()) }
    }

    /// # Errors
    /// When there is no answer, on any of a few tries.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let mut tries = 1;
        loop {
            match self.0.get(path).await {
                Ok(answer) => return Ok(answer),
                Err(what) if tries >= READ_TRIES_MAX => bail!("GET {path}: {what}"),
                Err(_) => tokio::time::sleep(READ_PAUSE * tries).await,
            }
            tries += 1;
        }
    }

    /// Codes of what the catalogue can deliver, as far as they fit.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub(crate) async fn codes_available(&self) -> Result<Vec<String>> {
        let mut codes = Vec::new();
        let mut path = "/v1/products?available=true&limit=200".to_owned();
        loop {
            let page = self.get(&path).await?;
            let items = page.get("items").and_then(Value::as_array);
            let variants = items.into_iter().flatten().filter_map(|item| item.get("variants")?.as_array()).flatten();
            codes.extend(variants.filter_map(|variant| variant.get("code")?.as_str()).map(str::to_owned));
            match page.get("next_cursor").and_then(Value::as_str) {
                Some(cursor) if codes.len() < CODES_MAX => {
                    path = format!("/v1/products?available=true&limit=200&cursor={cursor}");
                }
                _ => break,
            }
        }
        codes.truncate(CODES_MAX);
        Ok(codes)
    }
}

// === impl Inner ===

impl Inner {
    async fn get(&self, path: &str) -> Result<Value, String> {
        let raw = self.send(Method::GET, path, None, None).await?;
        if raw.status.is_success() { Ok(raw.json()) } else { Err(raw.problem()) }
    }

    async fn send(&self, method: Method, path: &str, key: Option<&str>, body: Option<&Value>) -> Result<Raw, String> {
        let token = self.token().await?;
        self.send_as(Some(&token), method, path, key, body).await
    }

    /// A connection's turn is waited for within the try, so that waiting counts.
    async fn send_as(
        &self,
        token: Option<&str>,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: Option<&Value>,
    ) -> Result<Raw, String> {
        let exchange = async {
            let _turn = self.connections.acquire().await.map_err(|error| error.to_string())?;
            let request = self.request(token, method, path, key, body).map_err(|error| error.to_string())?;
            let response = self.http.request(request).await.map_err(|error| with_cause(&error))?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, BODY_BYTES_MAX).collect().await.map_err(|error| error.to_string())?;
            let replayed = parts.headers.get("idempotent-replayed").is_some_and(|value| value == "true");
            let retry_after = parts.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            let retry_after_s = retry_after.and_then(|seconds| seconds.parse().ok());
            Ok(Raw { status: parts.status, replayed, retry_after_s, body: body.to_bytes() })
        };
        timeout(TRY_TIMEOUT, exchange).await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
    }

    fn request(
        &self,
        token: Option<&str>,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: Option<&Value>,
    ) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let uri = format!("{}{path}", self.base);
        let mut request = Request::builder().method(method).uri(uri).header(ACCEPT, "application/json");
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        request.body(Full::new(Bytes::from(body.map(Value::to_string).unwrap_or_default())))
    }

    /// The token in use. One of those who find it old renews it, and the others go on with it: if they waited until a password
    /// is checked, all arrivals of that time would come at once.
    async fn token(&self) -> Result<String, String> {
        let held = self.token.read().await.clone();
        let _renewing = match held {
            Some((token, taken_at)) if taken_at.elapsed() < TOKEN_OLD => return Ok(token),
            Some((token, taken_at)) if taken_at.elapsed() < TOKEN_AGE_MAX => match self.renewal.try_lock() {
                Ok(renewing) => renewing,
                Err(_) => return Ok(token),
            },
            _ => self.renewal.lock().await,
        };
        let renewed = self.token.read().await.clone();
        if let Some((token, _)) = renewed.filter(|(_, taken_at)| taken_at.elapsed() < TOKEN_OLD) {
            return Ok(token);
        }
        let taken_at = Instant::now();
        let raw = self.send_as(None, Method::POST, "/v1/sessions", None, Some(&self.credentials)).await?;
        if !raw.status.is_success() {
            return Err(raw.problem());
        }
        let token = raw.json().get("access_token").and_then(Value::as_str).map(str::to_owned);
        let token = token.ok_or_else(|| "the session has no access_token".to_owned())?;
        *self.token.write().await = Some((token.clone(), taken_at));
        Ok(token)
    }
}

// === impl Raw ===

impl Raw {
    /// Null for what is not JSON.
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The one 503 that does not say that nothing was done.
    fn is_outcome_unknown(&self) -> bool {
        self.json().get("type").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("/outcome-unknown"))
    }

    fn problem(&self) -> String {
        let problem = self.json();
        let text = |name: &str| problem.get(name).and_then(Value::as_str).map(str::to_owned);
        format!("{} {}", self.status.as_u16(), text("title").or_else(|| text("detail")).unwrap_or_default())
    }
}

fn with_cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}
