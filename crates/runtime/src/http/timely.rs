use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::connections::Connection;
use crate::config::HttpConfig;

/// A connection whose client must go on with what it has begun: with a request's head, and with taking an answer. For a
/// request to begin, it has much longer.
///
/// hyper's `header_read_timeout` was rejected: it counts the time before a request as well. A proxy that keeps connections
/// for later would find them closed at the moment it sends something, and has to answer 502 or 503 then, since it cannot
/// know whether a POST was read (RFC 9112, section 9.3.1).
pub(super) struct TimelyStream<S> {
    stream: S,
    connection: Arc<Connection>,
    limits: Limits,
    head: HeadWait,
    /// Ends at the head's deadline or before it; looked at again then.
    head_timer: Option<Pin<Box<Sleep>>>,
    /// Set while the client takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

struct Limits {
    /// For a request to begin.
    idle: Duration,
    /// For its head to be there, from its first byte on.
    head: Duration,
    /// How long the client may take nothing at all while there is something to take.
    take: Duration,
}

/// The wait for a request's head. Bytes that come ahead, while the request before is being answered, do not begin it.
#[derive(Clone, Copy)]
struct HeadWait {
    /// Requests before it.
    number: u64,
    since: Instant,
    has_begun: bool,
}

// === impl TimelyStream ===

impl<S> TimelyStream<S> {
    pub(super) fn new(stream: S, connection: Arc<Connection>, config: &HttpConfig) -> Self {
        let limits = Limits {
            idle: Duration::from_millis(config.idle_timeout_ms),
            head: Duration::from_millis(config.header_timeout_ms),
            take: Duration::from_millis(config.body_timeout_ms),
        };
        let head = HeadWait { number: 0, since: Instant::now(), has_begun: false };
        Self { stream, connection, limits, head, head_timer: None, stalled: None }
    }

    /// Something was read: if a head is waited for, it has begun.
    fn note_begun(&mut self) {
        if let Some(number) = self.connection.waits_for_head()
            && !(self.head.has_begun && self.head.number == number)
        {
            self.head = HeadWait { number, since: Instant::now(), has_begun: true };
        }
    }

    /// Ready when a head has been waited for too long. Until then the task is woken when that may be so.
    fn poll_head_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(number) = self.connection.waits_for_head() else { return Poll::Pending };
        if self.head.number != number {
            self.head = HeadWait { number, since: Instant::now(), has_begun: false };
        }
        let limit = if self.head.has_begun { self.limits.head } else { self.limits.idle };
        let deadline = self.head.since + limit;
        let timer = self.head_timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        // One that ends earlier is left alone, so that a request on a busy connection moves no timer.
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }

    fn within_limit<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let limit = self.limits.take;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + limit)));
        match stalled.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(timed_out("the client takes no answer"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

fn timed_out(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

impl<S: AsyncRead + Unpin> AsyncRead for TimelyStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, into);
        match read {
            Poll::Ready(_) if into.filled().len() > before => self.note_begun(),
            Poll::Pending if self.poll_head_late(cx).is_ready() => {
                return Poll::Ready(Err(timed_out("the client sends no request")));
            }
            _ => {}
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TimelyStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.within_limit(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.within_limit(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if flushed.is_ready() {
            // An answer may be over: hyper does not read again before it is woken, and it is the timer that has to wake it.
            // What is late is told by the read that follows then.
            let _ = self.poll_head_late(cx);
        }
        self.within_limit(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.within_limit(cx, shut)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::timeout;

    use super::super::connections::{Connections, Place};
    use super::*;
    use crate::config::{Config, Sources};

    const LONG: Duration = Duration::from_secs(10);

    async fn pair(idle_ms: u64, head_ms: u64, take_ms: u64) -> (TimelyStream<DuplexStream>, DuplexStream, Place) {
        let place = Connections::new("test", 1).place().await;
        let (server, client) = duplex(8);
        let mut config = Config::load(&Sources::default()).unwrap().config.http;
        (config.idle_timeout_ms, config.header_timeout_ms, config.body_timeout_ms) = (idle_ms, head_ms, take_ms);
        (TimelyStream::new(server, place.connection().clone(), &config), client, place)
    }

    async fn is_cut(server: &mut TimelyStream<DuplexStream>) -> Duration {
        let began = Instant::now();
        let cut = timeout(LONG, server.read_u8()).await.expect("it is cut");
        assert_eq!(cut.unwrap_err().kind(), io::ErrorKind::TimedOut);
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn before_a_request_a_client_may_be_silent_for_long_and_in_its_head_it_may_not() {
        let (mut server, mut client, place) = pair(5_000, 300, 300).await;
        for _ in 0..3 {
            let silent = timeout(Duration::from_secs(4), server.read_u8()).await;
            assert!(silent.is_err(), "cut before the next request");
            // At once answered, in the same moment as the next one is waited for.
            client.write_all(b"GET").await.unwrap();
            server.read_exact(&mut [0; 3]).await.unwrap();
            assert!(place.connection().head_read(false));
            drop(place.connection().answering());
        }
        client.write_all(b"G").await.unwrap();
        assert_eq!(server.read_u8().await.unwrap(), b'G');
        assert!(is_cut(&mut server).await < Duration::from_secs(1), "a head that has begun has less time");
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_trickles_is_cut_and_a_silent_client_at_last_too() {
        let (mut server, mut client, _place) = pair(2_000, 1_000, 300).await;
        assert!(is_cut(&mut server).await >= Duration::from_millis(1_999), "silent from the start");
        let (mut trickled, mut began) = (0, None);
        let cut = loop {
            client.write_all(b"x").await.unwrap();
            if let Err(error) = server.read_u8().await {
                break error;
            }
            trickled += 1;
            let began = *began.get_or_insert_with(Instant::now);
            assert!(began.elapsed() < LONG);
            if let Ok(Err(error)) = timeout(Duration::from_millis(300), server.read_u8()).await {
                break error;
            }
        };
        assert_eq!((cut.kind(), trickled), (io::ErrorKind::TimedOut, 4));
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_server_has_the_next_word_nobody_is_cut() {
        let (mut server, _client, place) = pair(500, 300, 300).await;
        assert!(timeout(Duration::from_millis(200), server.read_u8()).await.is_err());
        let answering = place.connection().answering();
        assert!(place.connection().head_read(false));
        assert!(timeout(Duration::from_secs(5), server.read_u8()).await.is_err(), "it is answered for long");
        drop(answering);
        assert!(is_cut(&mut server).await < Duration::from_secs(1));
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_cut_and_a_slow_one_is_not() {
        let (mut server, mut client, _place) = pair(1_000, 1_000, 1_000).await;
        let reading = tokio::spawn(async move {
            let mut taken = [0; 4];
            for _ in 0..8 {
                tokio::time::sleep(Duration::from_millis(200)).await;
                client.read_exact(&mut taken).await.unwrap();
            }
            client
        });
        server.write_all(&[1; 32]).await.expect("it takes something now and then, for longer than the limit");
        let _client = reading.await.unwrap();
        let cut = timeout(LONG, server.write_all(&[1; 32])).await.expect("it is cut");
        assert_eq!(cut.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
