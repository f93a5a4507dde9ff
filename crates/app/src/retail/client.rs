//! A small JSON client of the store: keep-alive, a time limit per try, bounded retries under one idempotency key, and a
//! token that is renewed before it expires.

use std::time::Duration;

use anyhow::Result;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, IF_MATCH};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::StoreArgs;
use super::answer::{Answer, Failure, Raw, with_causes};

/// Seconds that an order or a refund may take before the store answers with what it has (`Prefer: wait`).
pub(crate) const WAIT_S: u64 = 30;
/// One try, the wait included.
const TRY_TIMEOUT: Duration = Duration::from_secs(WAIT_S + 15);
/// All tries of one request together; no new try begins after it.
const REQUEST_DEADLINE: Duration = Duration::from_secs(180);
const TRIES_MAX: u32 = 12;
/// The same for the first connection of all: a wrong address should be told at once.
const TRIES_MAX_FIRST: u32 = 4;
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Access tokens live ten minutes; a new one is taken well before.
const TOKEN_AGE_MAX: Duration = Duration::from_secs(8 * 60);

/// A signed-in client of one store. Requests may be sent from many tasks at once.
pub(crate) struct Client {
    http: HttpClient<HttpConnector, Full<Bytes>>,
    base: String,
    email: String,
    password: String,
    token: Mutex<Option<Token>>,
}

struct Token {
    value: String,
    taken_at: Instant,
    age_max: Duration,
}

/// A request.
pub(crate) struct Call<'a> {
    method: Method,
    path: &'a str,
    /// Present on every request that changes state.
    key: Option<&'a str>,
    if_match: Option<&'a str>,
    waits: bool,
    /// The store has never answered yet.
    is_first: bool,
    body: Option<&'a Value>,
}

// === impl Call ===

impl<'a> Call<'a> {
    /// One that changes something.
    pub(crate) fn of(
        method: Method,
        path: &'a str,
        key: &'a str,
        if_match: Option<&'a str>,
        body: Option<&'a Value>,
    ) -> Self {
        Self { key: Some(key), if_match, body, ..Self::new(method, path) }
    }

    fn new(method: Method, path: &'a str) -> Self {
        Self { method, path, key: None, if_match: None, waits: false, is_first: false, body: None }
    }

    fn post(path: &'a str, key: &'a str, body: &'a Value) -> Self {
        Self::of(Method::POST, path, key, None, Some(body))
    }
}

// === impl Client ===

impl Client {
    /// Prepares the client and signs in, so that a wrong address or password is known before any work begins.
    ///
    /// # Errors
    /// The address is not an `http://` URL, nobody answers there, or the sign-in is refused.
    pub(crate) async fn sign_in(args: &StoreArgs, in_flight_max: usize) -> Result<Self> {
        let (base, http) = args.connection(in_flight_max)?;
        let (email, password) = (args.email.clone(), args.password.clone());
        let client = Self { http, base, email, password, token: Mutex::new(None) };
        client.token(true).await.map_err(|failure| {
            anyhow::anyhow!(
                "signing in as {} at {} failed: {failure}; is the store running, and are --url, --email and --password right?",
                client.email,
                client.base
            )
        })?;
        Ok(client)
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Answer, Failure> {
        self.call(Call::new(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, key: &str, body: &Value) -> Result<Answer, Failure> {
        self.call(Call::post(path, key, body)).await
    }

    /// Posts with `Prefer: wait`: the store answers when the work is settled, or after [`WAIT_S`] seconds.
    pub(crate) async fn post_and_wait(&self, path: &str, key: &str, body: &Value) -> Result<Answer, Failure> {
        self.call(Call { waits: true, ..Call::post(path, key, body) }).await
    }

    async fn call(&self, call: Call<'_>) -> Result<Answer, Failure> {
        self.ask(&call).await?.answer()
    }

    /// The answer as it comes, whatever its status.
    pub(crate) async fn ask(&self, call: &Call<'_>) -> Result<Raw, Failure> {
        let mut renewed = false;
        loop {
            let token = self.token(false).await?;
            let raw = self.send(call, Some(&token)).await?;
            if raw.status == StatusCode::UNAUTHORIZED && !renewed {
                renewed = true;
                self.forget(&token).await;
                continue;
            }
            return Ok(raw);
        }
    }

    /// Tries until there is an answer that another try would not change. Every try carries the same idempotency key, so
    /// a request whose answer was lost is not done twice.
    async fn send(&self, call: &Call<'_>, token: Option<&str>) -> Result<Raw, Failure> {
        let begun = Instant::now();
        let mut outcome_unknown = false;
        let mut tries = 0;
        loop {
            let (failure, pause) = match timeout(TRY_TIMEOUT, self.try_once(call, token)).await {
                Ok(Ok(raw)) if is_busy(raw.status, outcome_unknown) => {
                    (Failure::Busy { status: raw.status.as_u16() }, raw.retry_after())
                }
                Ok(Ok(raw)) => {
                    return Ok(Raw { after_lost_try: outcome_unknown, ..raw });
                }
                Ok(Err(failure @ Failure::Malformed(_))) => return Err(failure),
                Ok(Err(failure)) => (failure, None),
                Err(_) => (Failure::TimedOut, None),
            };
            outcome_unknown |= !matches!(failure, Failure::Busy { .. });
            let pause = pause.unwrap_or_else(|| backoff(tries));
            tries += 1;
            let tries_max =
                if matches!(failure, Failure::Unreachable(_)) && call.is_first { TRIES_MAX_FIRST } else { TRIES_MAX };
            if tries >= tries_max || begun.elapsed() + pause > REQUEST_DEADLINE {
                return Err(failure);
            }
            sleep(pause).await;
        }
    }

    async fn try_once(&self, call: &Call<'_>, token: Option<&str>) -> Result<Raw, Failure> {
        let request = self.request(call, token).map_err(|error| Failure::Malformed(error.to_string()))?;
        let response = self.http.request(request).await.map_err(|error| Failure::Unreachable(with_causes(&error)))?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
        // A connection that breaks inside a body is one more lost answer.
        let body = body.map_err(|error| Failure::Unreachable(with_causes(error.as_ref())))?.to_bytes();
        Ok(Raw { status: parts.status, headers: parts.headers, body, after_lost_try: false })
    }

    fn request(&self, call: &Call<'_>, token: Option<&str>) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(format!("{}{}", self.base, call.path))
            .header(ACCEPT, "application/json");
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some(key) = call.key {
            request = request.header("idempotency-key", key);
        }
        if let Some(if_match) = call.if_match {
            request = request.header(IF_MATCH, if_match);
        }
        if call.waits {
            request = request.header("prefer", format!("wait={WAIT_S}"));
        }
        let body = call.body.map(Value::to_string).unwrap_or_default();
        if call.body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        request.body(Full::new(Bytes::from(body)))
    }

    /// The token in use, or a new one. The lock is held while signing in, so that many requests that find the token old
    /// cause one sign-in and not one each: hashing passwords is what the store can do least of.
    async fn token(&self, is_first: bool) -> Result<String, Failure> {
        let mut held = self.token.lock().await;
        if let Some(token) = held.as_ref().filter(|token| token.taken_at.elapsed() < token.age_max) {
            return Ok(token.value.clone());
        }
        let taken_at = Instant::now();
        let body = json!({ "email": self.email, "password": self.password });
        let call = Call { is_first, body: Some(&body), ..Call::new(Method::POST, "/v1/sessions") };
        let answer = self.send(&call, None).await?.answer()?.body;
        let value = answer.get("access_token").and_then(Value::as_str);
        let value = value.ok_or_else(|| Failure::Malformed("the session has no access_token".to_owned()))?;
        let lifetime = answer.get("expires_in").and_then(Value::as_u64).map(Duration::from_secs);
        let age_max = lifetime.map_or(TOKEN_AGE_MAX, |lifetime| TOKEN_AGE_MAX.min(lifetime * 4 / 5));
        *held = Some(Token { value: value.to_owned(), taken_at, age_max });
        Ok(value.to_owned())
    }

    /// Drops a token that the store no longer takes, unless another task has renewed it already.
    async fn forget(&self, refused: &str) {
        let mut held = self.token.lock().await;
        if held.as_ref().is_some_and(|token| token.value == refused) {
            *held = None;
        }
    }
}

/// Answers that another try may change. A 409 is one only when an earlier try may still be in flight under the same
/// key; otherwise it is the store's decision.
fn is_busy(status: StatusCode, outcome_unknown: bool) -> bool {
    match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => true,
        StatusCode::CONFLICT => outcome_unknown,
        _ => false,
    }
}

fn backoff(tries: u32) -> Duration {
    BACKOFF_MAX.min(BACKOFF_FIRST * 2_u32.saturating_pow(tries))
}
