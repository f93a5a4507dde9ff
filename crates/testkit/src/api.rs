use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Response};
use serde_json::Value;

/// Longer than the longest wait that a client can ask for (60 s).
const ANSWER_MAX: Duration = Duration::from_secs(90);
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// A client of the store: keep-alive connections, bounded waits, and the token of at most one account. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Api {
    client: Client,
    base: Arc<str>,
    token: Option<Arc<str>>,
}

/// An e-mail address and a password.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    pub email: &'static str,
    pub password: &'static str,
}

/// A request that is being put together.
#[derive(Debug)]
#[must_use = "nothing is sent before `send`"]
pub struct Call {
    api: Api,
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Option<Value>,
    /// What could not be a header, said when the request is sent.
    fault: Option<String>,
}

/// What the store said.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    /// The body, or null where it is not JSON.
    pub body: Value,
    pub text: String,
    /// The request, for errors.
    pub(crate) request: String,
}

// === impl Account ===

impl Account {
    pub const CUSTOMER: Self = Self { email: "customer@demo.pangaea.example", password: "demo-customer-password" };
    pub const STAFF: Self = Self { email: "staff@demo.pangaea.example", password: "demo-staff-password" };
    pub const ADMIN: Self = Self { email: "admin@demo.pangaea.example", password: "demo-admin-password" };
}

// === impl Api ===

impl Api {
    /// # Errors
    /// When the system gives no client, e.g. for want of file descriptors.
    pub fn new(base: &str) -> Result<Self> {
        let client = Client::builder().timeout(ANSWER_MAX).connect_timeout(CONNECT_MAX).no_proxy().build()?;
        Ok(Self { client, base: base.trim_end_matches('/').into(), token: None })
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    /// The access token, once signed in.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// The same client, with the token of this account.
    ///
    /// # Errors
    /// When the sign-in is refused.
    pub async fn sign_in(&self, account: Account) -> Result<Self> {
        self.sign_in_as(account.email, account.password).await
    }

    /// # Errors
    /// When the sign-in is refused.
    pub async fn sign_in_as(&self, email: &str, password: &str) -> Result<Self> {
        let body = serde_json::json!({ "email": email, "password": password });
        let answer = self.anonymous().post("/v1/sessions", body).send().await?.expect(201)?;
        let token = answer.body["access_token"].as_str().context("a session without an access_token")?;
        Ok(Self { token: Some(token.into()), ..self.clone() })
    }

    /// The same client and token, on another address of the store.
    #[must_use]
    pub fn at(&self, base: &str) -> Self {
        Self { base: base.trim_end_matches('/').into(), ..self.clone() }
    }

    /// The same client without a token.
    #[must_use]
    pub fn anonymous(&self) -> Self {
        Self { token: None, ..self.clone() }
    }

    pub fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path)
    }

    /// A POST with a new `Idempotency-Key`.
    pub fn post(&self, path: &str, body: Value) -> Call {
        self.call(Method::POST, path).json(body).key(&new_key())
    }

    pub fn call(&self, method: Method, path: &str) -> Call {
        Call { api: self.clone(), method, path: path.to_owned(), headers: HeaderMap::new(), body: None, fault: None }
    }

    /// The same, with the method by its name.
    ///
    /// # Panics
    /// When it is no name of a method.
    pub fn call_named(&self, method: &str, path: &str) -> Call {
        self.call(method.parse().expect("the name of a method"), path)
    }
}

/// A key that no other request of this test run has.
pub(crate) fn new_key() -> String {
    static KEYS: AtomicU64 = AtomicU64::new(0);
    format!("test-{}-{}", std::process::id(), KEYS.fetch_add(1, Ordering::Relaxed))
}

// === impl Call ===

impl Call {
    pub fn json(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            (Ok(name), Ok(value)) => {
                self.headers.insert(name, value);
            }
            _ => self.fault = Some(format!("{name}: {value:?} is no header")),
        }
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.headers.remove(name);
        self
    }

    /// `Idempotency-Key`.
    pub fn key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    /// `Prefer: wait=N`.
    pub fn wait(self, seconds: u32) -> Self {
        self.header("prefer", &format!("wait={seconds}"))
    }

    /// # Errors
    /// When no whole answer comes in time.
    pub async fn send(self) -> Result<Answer> {
        let request = self.shown();
        let response = self.open().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.with_context(|| format!("{request}: the body of the answer"))?;
        let body = serde_json::from_str(&text).unwrap_or_default();
        Ok(Answer { status, headers, body, text, request })
    }

    /// The answer as soon as its head is there, for streams.
    ///
    /// # Errors
    /// When none comes in time.
    pub async fn open(self) -> Result<Response> {
        let request = self.shown();
        let Self { api, method, path, headers, body, fault } = self;
        if let Some(fault) = fault {
            bail!("{request}: {fault}");
        }
        let mut builder = api.client.request(method, format!("{}{path}", api.base)).headers(headers);
        if let Some(token) = &api.token {
            builder = builder.bearer_auth(token);
        }
        if let Some(body) = body {
            builder = builder.json(&body);
        }
        builder.send().await.with_context(|| request)
    }

    fn shown(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

// === impl Answer ===

impl Answer {
    /// # Errors
    /// When the status is another one: the request and the whole answer.
    pub fn expect(self, status: u16) -> Result<Self> {
        self.expect_any(&[status])
    }

    /// # Errors
    /// When the status is none of these.
    pub fn expect_any(self, statuses: &[u16]) -> Result<Self> {
        if statuses.contains(&self.status) {
            return Ok(self);
        }
        bail!("{}: expected {statuses:?}, got {}: {}", self.request, self.status, self.text)
    }

    /// Expects a problem (RFC 9457) of this status and code, well formed.
    ///
    /// # Errors
    /// When it is another answer.
    pub fn expect_problem(self, status: u16, code: &str) -> Result<Self> {
        let answer = self.expect(status)?;
        let content_type = answer.header("content-type").unwrap_or_default();
        if content_type != "application/problem+json" {
            bail!("{}: a problem of type {content_type:?}: {}", answer.request, answer.text);
        }
        let body = &answer.body;
        let found = body["type"].as_str().and_then(|uri| uri.rsplit('/').next()).unwrap_or_default();
        let complete = body["title"].is_string() && body["detail"].is_string() && body["status"] == status;
        if found != code || !complete {
            bail!("{}: expected the problem {code}, got: {}", answer.request, answer.text);
        }
        Ok(answer)
    }

    /// The header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// # Errors
    /// When it is not there.
    pub fn required(&self, name: &str) -> Result<&str> {
        self.header(name).with_context(|| format!("{}: no header {name} in {:?}", self.request, self.headers))
    }

    /// The JSON pointers of a problem's `errors`.
    pub fn pointers(&self) -> Vec<&str> {
        let errors = self.body["errors"].as_array().into_iter().flatten();
        errors.filter_map(|error| error["pointer"].as_str()).collect()
    }

    /// The text at a key of the body.
    ///
    /// # Errors
    /// When there is none.
    pub fn text_at(&self, key: &str) -> Result<&str> {
        self.body[key].as_str().with_context(|| format!("{}: no text {key:?} in {}", self.request, self.text))
    }
}
