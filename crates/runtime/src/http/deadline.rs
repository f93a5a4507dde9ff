use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::connections::{Answering, Connection};

/// A request's body that must be there, whole, in time, and within what all bodies together may take.
///
/// tower-http's `TimeoutBody` was rejected: it measures from one piece to the next, so that a client which sends a byte now
/// and then would hold its request open for as long as it likes.
pub(super) struct TimelyBody {
    body: Incoming,
    until: Instant,
    /// Made when the body is first read: most requests have none.
    sleep: Option<Pin<Box<Sleep>>>,
    connection: Arc<Connection>,
    bytes: usize,
}

/// An answer's body, whose end is the end of the answer.
pub(super) struct WatchedAnswer {
    body: axum::body::Body,
    _answering: Answering,
}

// === impl TimelyBody ===

impl TimelyBody {
    /// `limit` is counted from now.
    pub(super) fn new(body: Incoming, limit: Duration, connection: Arc<Connection>) -> Self {
        Self { body, until: Instant::now() + limit, sleep: None, connection, bytes: 0 }
    }

    fn count(&mut self, frame: Frame<Bytes>) -> io::Result<Frame<Bytes>> {
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        self.bytes += bytes;
        if self.connection.take_body_bytes(bytes) {
            return Ok(frame);
        }
        Err(io::Error::new(io::ErrorKind::QuotaExceeded, "too many bodies are under way"))
    }
}

impl Body for TimelyBody {
    type Data = Bytes;
    /// Extractors tell two kinds from every other failure: `TimedOut` is answered with 408, `QuotaExceeded` with 503.
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let until = self.until;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if sleep.as_mut().poll(cx).is_ready() {
            let error = io::Error::new(io::ErrorKind::TimedOut, "the body took too long to arrive");
            return Poll::Ready(Some(Err(error)));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map_err(io::Error::other).and_then(|frame| self.count(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for TimelyBody {
    fn drop(&mut self) {
        self.connection.give_body_bytes(self.bytes);
        self.connection.body_read();
    }
}

// === impl WatchedAnswer ===

impl WatchedAnswer {
    pub(super) fn new(body: axum::body::Body, answering: Answering) -> Self {
        Self { body, _answering: answering }
    }
}

impl Body for WatchedAnswer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
