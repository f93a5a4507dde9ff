use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::link::Link;
use super::service;
use crate::protocol::{EndAnnouncement, answer_log_read, end_subject, log_read_subject};
use crate::{BusError, LogSource, RequestHandler, ServiceHandle, ServiceSpec};

const ANNOUNCE_EVERY: Duration = Duration::from_secs(1);

/// What an attached log says on the bus: its answers to `log_read`, and its end every second. Dropping it ends both.
pub(super) struct Owner {
    /// Held for its drop.
    _log_read: ServiceHandle,
    announcer: JoinHandle<()>,
}

// === impl Owner ===

impl Owner {
    pub(super) async fn start(link: &Arc<Link>, log: Arc<dyn LogSource>) -> Result<Self, BusError> {
        let source = log.source().to_owned();
        let spec = ServiceSpec {
            name: format!("{source}-log"),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: format!("Reads the log of {source} from any position"),
            subjects: vec![log_read_subject(&source)],
        };
        let answers = log.clone();
        let handler: RequestHandler = Arc::new(move |request| {
            let log = answers.clone();
            Box::pin(async move { answer_log_read(log.as_ref(), &request.payload).await })
        });
        let log_read = service::serve(link, spec, handler).await?;
        let announcer = tokio::spawn(announce(link.clone(), log));
        Ok(Self { _log_read: log_read, announcer })
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.announcer.abort();
    }
}

/// On core NATS, not in the stream: an end that is missed is said again a second later.
async fn announce(link: Arc<Link>, log: Arc<dyn LogSource>) {
    let subject = end_subject(log.source());
    let end = log.end();
    let mut ticks = tokio::time::interval(ANNOUNCE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let announcement = EndAnnouncement { log_id: log.log_id(), end: *end.borrow() };
        if let Ok(payload) = serde_json::to_vec(&announcement) {
            // A broker that is away hears it later.
            let _ = link.publish(&subject, payload.into()).await;
        }
    }
}
