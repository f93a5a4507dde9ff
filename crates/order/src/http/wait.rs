use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use pangaea_kernel::Answer;
use pangaea_kernel::http::{Edge, WaitPermit};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

/// The pause after a change before the rows are read again. It grows, so that many who wait on a busy store do not read
/// after every commit of others.
const PAUSE_MS_MIN: u64 = 4;
const PAUSE_MS_MAX: u64 = 128;
/// Set on the answer to a repeat of an earlier command.
const REPLAYED: &str = "idempotent-replayed";

/// Waits for the module's commits, up to a deadline.
pub(super) struct Wait {
    changes: watch::Receiver<u64>,
    deadline: Instant,
    pause: Duration,
    _permit: WaitPermit,
}

// === impl Wait ===

impl Wait {
    /// `None` when too many wait already.
    pub(super) fn new(edge: &Edge, for_at_most: Duration) -> Option<Self> {
        let permit = edge.wait_permit()?;
        let mut changes = edge.changes();
        // What is committed from here on is a change; the caller reads after this.
        changes.mark_unchanged();
        let deadline = Instant::now() + for_at_most;
        Some(Self { changes, deadline, pause: Duration::from_millis(PAUSE_MS_MIN), _permit: permit })
    }

    /// Returns when it is worth looking again; `false` when the time is up or the host is stopping.
    pub(super) async fn changed(&mut self) -> bool {
        match timeout_at(self.deadline, self.changes.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return false,
        }
        sleep_until(self.deadline.min(Instant::now() + self.pause)).await;
        self.pause = (self.pause * 2).min(Duration::from_millis(PAUSE_MS_MAX));
        self.changes.mark_unchanged();
        true
    }
}

/// What `answer` has become in the meantime, saying that the wait was honoured (RFC 7240), and that it is a repeat's where it is.
pub(super) fn applied(seconds: u32, answer: &Answer, settled: impl IntoResponse) -> Response {
    let mut response = settled.into_response();
    if let Ok(value) = HeaderValue::try_from(format!("wait={seconds}")) {
        response.headers_mut().insert(HeaderName::from_static("preference-applied"), value);
    }
    if answer.headers.iter().any(|(name, _)| name == REPLAYED) {
        response.headers_mut().insert(HeaderName::from_static(REPLAYED), HeaderValue::from_static("true"));
    }
    response
}
