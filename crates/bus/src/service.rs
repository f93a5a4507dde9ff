use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::{BoxFuture, BusError};

/// Requests of one service that are handled at once; more are answered with "busy".
pub(crate) const REQUESTS_MAX: usize = 256;
/// How long a stopping service waits for its requests in flight.
pub(crate) const STOP_WAIT: Duration = Duration::from_secs(10);

/// What a service is called and which subjects it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSpec {
    /// Letters, digits, `_` and `-`. Instances with one name share the requests.
    pub name: String,
    /// A semantic version, such as `0.1.0`.
    pub version: String,
    pub description: String,
    /// Without the namespace and without wildcards.
    pub subjects: Vec<String>,
}

/// A request as it reaches its handler.
#[derive(Clone, Debug)]
pub struct IncomingRequest {
    /// Without the namespace.
    pub subject: String,
    pub payload: Bytes,
    /// W3C Trace Context.
    pub traceparent: Option<String>,
}

/// Answers a request; the `Err` text reaches the caller as [`BusError::Remote`], so it must hold nothing internal.
pub type RequestHandler = Arc<dyn Fn(IncomingRequest) -> BoxFuture<'static, Result<Bytes, String>> + Send + Sync>;

/// A running service. Dropping it stops the service without waiting for requests in flight.
#[derive(Debug)]
pub struct ServiceHandle {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

// === impl ServiceHandle ===

impl ServiceHandle {
    /// `task` must end, requests in flight included, soon after the other half of `stop` has fired or closed.
    pub(crate) fn new(stop: oneshot::Sender<()>, task: JoinHandle<()>) -> Self {
        Self { stop, task }
    }

    /// Takes no more requests and waits, ten seconds at most, for those in flight.
    pub async fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

// === impl ServiceSpec ===

impl ServiceSpec {
    pub(crate) fn check(&self) -> Result<(), BusError> {
        let sound = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if self.name.is_empty() || !self.name.bytes().all(sound) {
            return Err(BusError::InvalidName {
                what: "service name",
                name: self.name.clone(),
                expected: "use letters, digits, _ and -",
            });
        }
        for subject in &self.subjects {
            crate::protocol::check_subject(subject)?;
        }
        Ok(())
    }
}

/// Calls the handler and turns a panic into an answer, so that the caller need not wait for its timeout.
pub(crate) async fn run_handler(handler: &RequestHandler, request: IncomingRequest) -> Result<Bytes, String> {
    let subject = request.subject.clone();
    let answer = std::panic::AssertUnwindSafe(async { handler(request).await });
    answer.catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!(subject, "the handler of a request panicked");
        Err("the handler panicked".to_owned())
    })
}
