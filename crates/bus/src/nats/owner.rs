use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::link::{Link, broker};
use super::{service, stream};
use crate::protocol::{EndAnnouncement, ReaderPlace, answer_log_read, end_subject, log_read_subject, reader_subject};
use crate::{BusError, LogSource, RequestHandler, ServiceHandle, ServiceSpec};

const ANNOUNCE_EVERY: Duration = Duration::from_secs(1);
/// How long a stream that was deleted is missed, at most, by its owner.
const PROVIDE_EVERY: Duration = Duration::from_secs(1);
/// After a failure: the broker may be just coming back.
const PROVIDE_AGAIN: Duration = Duration::from_millis(250);

/// What an attached log does on the bus: it answers `log_read`, announces its end, hears how far its readers are, and makes
/// its stream where that is missing. Dropping it ends all of it.
pub(super) struct Owner {
    /// Held for its drop, as the tasks are.
    _log_read: ServiceHandle,
    _tasks: JoinSet<()>,
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
        let places = link.client.subscribe(link.subject(&reader_subject(&source))).await;
        let places = places.map_err(|error| broker("subscribe", error))?;
        let log_read = service::serve(link, spec, handler).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(provide(link.clone(), source));
        tasks.spawn(hear_readers(places, log.clone()));
        tasks.spawn(announce(link.clone(), log));
        Ok(Self { _log_read: log_read, _tasks: tasks })
    }
}

/// Looks on every connect, because another store may be behind it, and every second, because a stream can be deleted.
async fn provide(link: Arc<Link>, source: String) {
    let mut told = None;
    loop {
        let turn = link.turn();
        let failure = match link.config.provides_streams {
            true => link.in_one_turn(stream::provide(&link, &source)).await.err(),
            false => link.in_one_turn(stream::find(&link, &source)).await.err(),
        };
        let pause = if failure.is_none() { PROVIDE_EVERY } else { PROVIDE_AGAIN };
        if let Some(error) = failure.as_ref().filter(|error| Some(*error) != told.as_ref()) {
            // Said once: what an operator has to mend is looked at until it is mended.
            tracing::warn!(source, %error, "the stream is not provided");
        }
        told = failure;
        let _ = tokio::time::timeout(pause, link.turned(turn)).await;
    }
}

/// On core NATS: what is missed is said again.
async fn hear_readers(mut places: async_nats::Subscriber, log: Arc<dyn LogSource>) {
    while let Some(message) = places.next().await {
        let Ok(place) = serde_json::from_slice::<ReaderPlace>(&message.payload) else { continue };
        if place.log_id.is_empty() || place.log_id == log.log_id() {
            log.reader_at(&place.reader, place.committed);
        }
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
