use axum::http::Method;
use serde_json::{Value, json};

/// A request of a module's own routes, as whoever sends a recorded command again has to make it. What every request has,
/// such as a token and an `Idempotency-Key`, is the sender's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    pub method: Method,
    /// From the first `/` on, percent-encoded where that is needed.
    pub path: String,
    /// The version that the change is of; `Some(None)` for whichever there is, `None` where the route asks for none.
    pub if_match: Option<Option<i64>>,
    pub body: Option<Value>,
}

/// These fields of a command, as far as they are there: routes refuse others.
pub fn picked(from: &Value, names: &[&str]) -> Value {
    let mut body = json!({});
    for name in names {
        if let Some(value) = from.get(name).filter(|value| !value.is_null()) {
            body[name] = value.clone();
        }
    }
    body
}

// === impl HttpRequest ===

impl HttpRequest {
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), if_match: None, body: None }
    }

    pub fn post(path: impl Into<String>, body: Value) -> Self {
        Self::new(Method::POST, path).with_body(body)
    }

    #[must_use]
    pub fn with_body(self, body: Value) -> Self {
        Self { body: Some(body), ..self }
    }

    #[must_use]
    pub fn matching(self, version: Option<i64>) -> Self {
        Self { if_match: Some(version), ..self }
    }

    /// The `If-Match` header.
    pub fn if_match_header(&self) -> Option<String> {
        self.if_match.map(|version| version.map_or_else(|| "*".to_owned(), |version| format!("\"{version}\"")))
    }
}
