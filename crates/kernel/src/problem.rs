use std::fmt;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

/// What went wrong, for a client: RFC 9457. Never holds internals.
///
/// `type` is a stable URI with a section of its own in `docs/problems.md`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Problem {
    /// `https://pangaea.example/problems/<code>`
    #[serde(rename = "type")]
    pub type_uri: String,
    pub title: String,
    pub status: u16,
    /// What to do about it, in a sentence.
    pub detail: String,
    /// The fields at fault, by JSON pointer (RFC 6901).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Seconds after which the same request may succeed; sent as `Retry-After`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FieldError {
    /// E.g. `/lines/0/quantity`.
    pub pointer: String,
    pub detail: String,
}

macro_rules! problem_kinds {
    ($($variant:ident = $status:literal, $code:literal, $title:literal;)*) => {
        /// Every kind of problem that the store answers with.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ProblemKind { $($variant),* }

        impl ProblemKind {
            pub const ALL: &'static [ProblemKind] = &[$(ProblemKind::$variant),*];

            pub const fn status(self) -> u16 {
                match self { $(ProblemKind::$variant => $status),* }
            }

            /// Stable: clients compare it.
            pub const fn code(self) -> &'static str {
                match self { $(ProblemKind::$variant => $code),* }
            }

            pub const fn title(self) -> &'static str {
                match self { $(ProblemKind::$variant => $title),* }
            }
        }
    };
}

problem_kinds! {
    MalformedRequest = 400, "malformed-request", "The request cannot be read";
    IdempotencyKeyMissing = 400, "idempotency-key-missing", "An Idempotency-Key header is required";
    Unauthenticated = 401, "unauthenticated", "A valid access token is required";
    Forbidden = 403, "forbidden", "This token's roles do not allow this";
    NotFound = 404, "not-found", "There is no such thing here";
    MethodNotAllowed = 405, "method-not-allowed", "This path does not take this method";
    RequestTimeout = 408, "request-timeout", "The request took too long to arrive";
    Conflict = 409, "conflict", "The state of the thing does not allow this";
    PreconditionFailed = 412, "precondition-failed", "The thing has changed since it was read";
    BodyTooLarge = 413, "body-too-large", "The body is too large";
    UnsupportedMediaType = 415, "unsupported-media-type", "The body must be JSON";
    Invalid = 422, "invalid", "The request is understood but not acceptable";
    IdempotencyKeyReused = 422, "idempotency-key-reused", "This Idempotency-Key was used with another request";
    PreconditionRequired = 428, "precondition-required", "An If-Match header is required";
    TooManyRequests = 429, "too-many-requests", "Too many requests";
    Internal = 500, "internal", "Something went wrong here";
    Overloaded = 503, "overloaded", "Too much is waiting already";
    Unavailable = 503, "unavailable", "This cannot be answered at the moment";
    OutcomeUnknown = 503, "outcome-unknown", "It is not known whether this has happened";
    Parked = 503, "parked", "This thing waits for an operator";
}

// === impl Problem ===

impl Problem {
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self {
            type_uri: format!("https://pangaea.example/problems/{}", kind.code()),
            title: kind.title().to_owned(),
            status: kind.status(),
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
        }
    }

    pub fn invalid(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self::new(ProblemKind::Invalid, detail.clone()).with_field(pointer, detail)
    }

    pub fn not_found(what: &str) -> Self {
        Self::new(ProblemKind::NotFound, format!("no {what} with this id, or it is not yours"))
    }

    #[must_use]
    pub fn with_field(mut self, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        self.errors.push(FieldError { pointer: pointer.into(), detail: detail.into() });
        self
    }

    #[must_use]
    pub fn with_retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.title, self.detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let content_type = HeaderValue::from_static("application/problem+json");
        let mut response = (status, [(header::CONTENT_TYPE, content_type)], body).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<pangaea_journal::JournalError> for Problem {
    /// For reads at the edge: the cause is logged, and the client is told to come again.
    fn from(error: pangaea_journal::JournalError) -> Self {
        if error.is_transient() {
            tracing::warn!(%error, "a read failed");
            return Self::new(ProblemKind::Unavailable, "the store cannot read at the moment").with_retry_after(1);
        }
        tracing::error!(%error, "a read failed");
        Self::new(ProblemKind::Internal, "the failure has been logged")
    }
}
