use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::Cursor;
use crate::nats::link::Link;
use crate::protocol::{ReaderPlace, reader_subject};

/// Between two reports of a reader that moves.
const REPORT_PAUSE: Duration = Duration::from_millis(250);
/// Between two reports of one that does not: that it lives is worth telling too.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// How far a reader has committed, and the task that tells the log's owner. In a task of its own, because a reader whose
/// module is slow to commit is just the one of which the owner must hear. It ends with this value.
pub(super) struct Progress(watch::Sender<(String, u64)>);

// === impl Progress ===

impl Progress {
    pub(super) fn start(link: &Arc<Link>, reader: &str, source: &str, after: &Cursor) -> Self {
        let (sender, places) = watch::channel((after.log_id.clone(), after.position));
        tokio::spawn(report(link.clone(), reader.to_owned(), reader_subject(source), places));
        Self(sender)
    }

    pub(super) fn committed(&self) -> u64 {
        self.0.borrow().1
    }

    pub(super) fn commit(&self, log_id: &str, position: u64) {
        self.0.send_if_modified(|place| {
            let moved = position > place.1;
            if moved {
                *place = (log_id.to_owned(), position);
            }
            moved
        });
    }
}

async fn report(link: Arc<Link>, reader: String, subject: String, mut places: watch::Receiver<(String, u64)>) {
    loop {
        let (log_id, committed) = places.borrow_and_update().clone();
        let place = ReaderPlace { reader: reader.clone(), log_id, committed };
        if let Ok(payload) = serde_json::to_vec(&place) {
            // A broker that is away hears it later.
            let _ = link.publish(&subject, payload.into()).await;
        }
        tokio::time::sleep(REPORT_PAUSE).await;
        if let Ok(Err(_gone)) = tokio::time::timeout(REPORT_EVERY - REPORT_PAUSE, places.changed()).await {
            return;
        }
    }
}
