use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use pangaea_contracts::subject_matches;
use tokio::sync::{Semaphore, broadcast, oneshot};

use crate::service::{REQUESTS_MAX, STOP_WAIT, run_handler};
use crate::{BoxStream, BusError, IncomingRequest, RequestHandler, ServiceHandle, ServiceSpec};

/// Ephemeral messages kept for a subscriber that has not taken them yet.
pub(crate) const EPHEMERAL_MAX: usize = 1024;

/// Who serves and who listens in this process.
#[derive(Default)]
pub(super) struct Hub {
    services: RwLock<Vec<Arc<Served>>>,
    subscribers: Mutex<Vec<Subscriber>>,
    turn: AtomicU64,
}

struct Served {
    spec: ServiceSpec,
    handler: RequestHandler,
    slots: Arc<Semaphore>,
}

struct Subscriber {
    pattern: String,
    sender: broadcast::Sender<(String, Bytes)>,
}

// === impl Hub ===

impl Hub {
    pub(super) fn serve(hub: &Arc<Self>, spec: ServiceSpec, handler: RequestHandler) -> ServiceHandle {
        let served = Arc::new(Served { spec, handler, slots: Arc::new(Semaphore::new(REQUESTS_MAX)) });
        hub.services.write().unwrap_or_else(PoisonError::into_inner).push(served.clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let hub: Weak<Self> = Arc::downgrade(hub);
        let task = tokio::spawn(async move {
            let _ = stopped.await;
            if let Some(hub) = hub.upgrade() {
                let mut services = hub.services.write().unwrap_or_else(PoisonError::into_inner);
                services.retain(|other| !Arc::ptr_eq(other, &served));
            }
            let _ = tokio::time::timeout(STOP_WAIT, served.slots.acquire_many(REQUESTS_MAX as u32)).await;
        });
        ServiceHandle::new(stop, task)
    }

    pub(super) async fn request(
        &self,
        subject: &str,
        payload: Bytes,
        traceparent: Option<&str>,
        timeout: Duration,
    ) -> Result<Bytes, BusError> {
        let servers = self.servers(subject);
        if servers.is_empty() {
            return Err(BusError::NoResponders(subject.to_owned()));
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) as usize % servers.len();
        let traceparent = traceparent.map(str::to_owned);
        let answer = servers[turn].answer(IncomingRequest { subject: subject.to_owned(), payload, traceparent });
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let timed_out = |_| BusError::Timeout { subject: subject.to_owned(), timeout_ms };
        tokio::time::timeout(timeout, answer).await.map_err(timed_out)?
    }

    pub(super) async fn request_many(
        &self,
        subject: &str,
        payload: Bytes,
        timeout: Duration,
        max: usize,
    ) -> Vec<Bytes> {
        let mut servers = self.servers(subject);
        servers.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
        servers.dedup_by(|a, b| a.spec.name == b.spec.name);
        let request = IncomingRequest { subject: subject.to_owned(), payload, traceparent: None };
        let mut answers: FuturesUnordered<_> = servers.iter().map(|served| served.answer(request.clone())).collect();
        let mut replies = Vec::new();
        let collect = async {
            while replies.len() < max
                && let Some(answer) = answers.next().await
            {
                replies.extend(answer.ok());
            }
        };
        let _ = tokio::time::timeout(timeout, collect).await;
        replies
    }

    pub(super) fn publish(&self, subject: &str, payload: &Bytes) {
        let mut subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        subscribers.retain(|subscriber| subscriber.sender.receiver_count() > 0);
        for subscriber in subscribers.iter().filter(|subscriber| subject_matches(&subscriber.pattern, subject)) {
            let _ = subscriber.sender.send((subject.to_owned(), payload.clone()));
        }
    }

    pub(super) fn subscribe(&self, pattern: &str) -> BoxStream<(String, Bytes)> {
        let (sender, receiver) = broadcast::channel(EPHEMERAL_MAX);
        let mut subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        subscribers.retain(|subscriber| subscriber.sender.receiver_count() > 0);
        subscribers.push(Subscriber { pattern: pattern.to_owned(), sender });
        lossy_stream(receiver)
    }

    pub(super) fn clear(&self) {
        self.services.write().unwrap_or_else(PoisonError::into_inner).clear();
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn servers(&self, subject: &str) -> Vec<Arc<Served>> {
        let services = self.services.read().unwrap_or_else(PoisonError::into_inner);
        services.iter().filter(|served| served.spec.subjects.iter().any(|own| own == subject)).cloned().collect()
    }
}

// === impl Served ===

impl Served {
    /// The handler runs in a task of its own: as on NATS, a caller that goes away does not cancel it.
    async fn answer(&self, request: IncomingRequest) -> Result<Bytes, BusError> {
        let subject = request.subject.clone();
        let Ok(slot) = self.slots.clone().try_acquire_owned() else {
            return Err(BusError::Busy(subject));
        };
        let handler = self.handler.clone();
        let answer = tokio::spawn(async move {
            let _slot = slot;
            run_handler(&handler, request).await
        });
        match answer.await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(message)) => Err(BusError::Remote { subject, status: 500, message }),
            Err(_) => Err(BusError::Closed),
        }
    }
}

/// The stream of a bounded buffer from which the oldest messages are lost when its reader lags, counted.
pub(crate) fn lossy_stream(receiver: broadcast::Receiver<(String, Bytes)>) -> BoxStream<(String, Bytes)> {
    Box::pin(futures_util::stream::unfold(receiver, |mut receiver| async move {
        loop {
            match receiver.recv().await {
                Ok(message) => return Some((message, receiver)),
                Err(broadcast::error::RecvError::Lagged(lost)) => {
                    metrics::counter!("pangaea_bus_ephemeral_lost_total").increment(lost);
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }))
}
