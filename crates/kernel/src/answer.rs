use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::Problem;

/// What a command is answered: stored with its inbox row, and given again to a repeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub status: u16,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    pub body: serde_json::Value,
}

// === impl Answer ===

impl Answer {
    /// # Errors
    /// Never in practice: it would take a body that JSON cannot hold. The error is a poison failure.
    pub fn json(status: u16, body: &impl Serialize) -> Result<Self, crate::Failure> {
        let body = serde_json::to_value(body).map_err(|error| crate::Failure::poison(error.to_string()))?;
        Ok(Self { status, headers: Vec::new(), body })
    }

    pub fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: serde_json::Value::Null }
    }

    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl From<Problem> for Answer {
    fn from(problem: Problem) -> Self {
        let retry_after = problem.retry_after.map(|seconds| ("retry-after".to_owned(), seconds.to_string()));
        let mut headers = vec![("content-type".to_owned(), "application/problem+json".to_owned())];
        headers.extend(retry_after);
        let status = problem.status;
        Self { status, headers, body: serde_json::to_value(problem).unwrap_or_default() }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = if self.body.is_null() {
            status.into_response()
        } else {
            let content_type = HeaderValue::from_static("application/json");
            (status, [(header::CONTENT_TYPE, content_type)], self.body.to_string()).into_response()
        };
        for (name, value) in self.headers {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}
