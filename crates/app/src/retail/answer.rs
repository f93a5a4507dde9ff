//! What comes back from the store: an answer, or why there is none.

use std::fmt;
use std::time::Duration;

use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{HeaderMap, RETRY_AFTER};
use serde_json::Value;

const RETRY_AFTER_MAX_S: u64 = 30;

/// An answer of the store with a success status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) body: Value,
    pub(crate) replay: Replay,
}

/// Whether an answer is the stored one of an earlier request with the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replay {
    /// The first answer.
    No,
    /// Probably of a try of this very request whose answer was lost on the way.
    OwnTry,
    /// Of a run before this one.
    EarlierRun,
}

/// Why a request has no answer to go on with.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The store refused; trying again would not help.
    Refused { status: u16, detail: String, replay: Replay },
    /// No answer in time, on any try.
    TimedOut,
    /// No connection, on any try.
    Unreachable(String),
    /// Still too busy (429, 502, 503 or 504) after the last try.
    Busy { status: u16 },
    /// An answer that is not what the API promises.
    Malformed(String),
}

/// An answer before its status is judged.
pub(crate) struct Raw {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// An earlier try of the same request may have been done without its answer arriving.
    pub(crate) after_lost_try: bool,
}

// === impl Raw ===

impl Raw {
    /// # Errors
    /// [`Failure::Refused`] for any status but success, [`Failure::Malformed`] when the body is not JSON.
    pub(crate) fn answer(self) -> Result<Answer, Failure> {
        let replay = self.replay();
        if !self.status.is_success() {
            return Err(Failure::Refused { status: self.status.as_u16(), detail: self.problem(), replay });
        }
        let body = serde_json::from_slice(&self.body)
            .map_err(|error| Failure::Malformed(format!("the answer is not JSON: {error}")))?;
        Ok(Answer { body, replay })
    }

    pub(crate) fn replay(&self) -> Replay {
        let header = self.headers.get("idempotent-replayed");
        match header.is_some_and(|value| value == "true") {
            false => Replay::No,
            true if self.after_lost_try => Replay::OwnTry,
            true => Replay::EarlierRun,
        }
    }

    /// What the problem document says, field errors included.
    pub(crate) fn problem(&self) -> String {
        let problem: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let text = |name: &str| problem.get(name).and_then(Value::as_str).map(str::to_owned);
        let mut parts: Vec<String> = ["title", "detail"].into_iter().filter_map(text).collect();
        let errors = problem.get("errors").and_then(Value::as_array);
        parts.extend(errors.into_iter().flatten().take(3).map(Value::to_string));
        if parts.is_empty() { "no problem document".to_owned() } else { parts.join(": ") }
    }

    /// The pause that the store asks for, within bounds.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        let seconds: u64 = self.headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
        Some(Duration::from_secs(seconds.min(RETRY_AFTER_MAX_S)))
    }
}

// === impl Failure ===

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { status, detail, .. } => write!(f, "refused with {status}: {detail}"),
            Self::TimedOut => write!(f, "timeout: no answer in time on any try"),
            Self::Unreachable(cause) => write!(f, "unreachable: {cause}"),
            Self::Busy { status } => write!(f, "timeout: the store still answered {status} on the last try"),
            Self::Malformed(what) => write!(f, "unexpected answer: {what}"),
        }
    }
}

impl std::error::Error for Failure {}

/// The error and what caused it, in one line.
pub(crate) fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
