use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

/// A request's body that must be there, whole, in time.
///
/// tower-http's `TimeoutBody` was rejected: it measures from one piece to the next, so that a client which sends a byte now
/// and then would hold its request open for as long as it likes.
pub(super) struct TimelyBody {
    body: Incoming,
    until: Instant,
    /// Made when the body is first read: most requests have none.
    sleep: Option<Pin<Box<Sleep>>>,
}

// === impl TimelyBody ===

impl TimelyBody {
    /// `limit` is counted from now.
    pub(super) fn new(body: Incoming, limit: Duration) -> Self {
        Self { body, until: Instant::now() + limit, sleep: None }
    }
}

impl Body for TimelyBody {
    type Data = Bytes;
    /// `TimedOut` is what extractors tell from every other failure: it is answered with 408.
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let until = self.until;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if sleep.as_mut().poll(cx).is_ready() {
            let error = io::Error::new(io::ErrorKind::TimedOut, "the body took too long to arrive");
            return Poll::Ready(Some(Err(error)));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map_err(io::Error::other)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
