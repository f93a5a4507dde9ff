use std::sync::Arc;
use std::time::Instant;

use pangaea_bus::{BoxFuture, BusError, LogRing, LogSource};
use pangaea_contracts::{Envelope, Timestamp};
use pangaea_journal::Database;
use tokio::sync::watch;

use crate::admission::Lags;
use crate::appends::Appends;

/// A module's outbox as readers see it: a ring of the newest rows, and the table behind it.
pub(crate) struct ModuleLog {
    log_id: String,
    database: Database,
    ring: LogRing,
    end: watch::Sender<u64>,
    /// How far its readers are.
    readers: Arc<Lags>,
    /// What is on its way to the broker; none where readers read the log itself.
    appends: Option<Appends>,
}

// === impl ModuleLog ===

impl ModuleLog {
    pub(crate) fn new(
        database: Database,
        log_id: String,
        end: u64,
        ring_rows: usize,
        appends: Option<Appends>,
    ) -> Self {
        let readers = Arc::new(Lags::default());
        let (ring, end) = (LogRing::new(ring_rows), watch::Sender::new(end));
        Self { log_id, database, ring, end, readers, appends }
    }

    /// Takes in what the writer has committed, and wakes the readers. `end` may lie beyond it: a commit whose answer was
    /// lost is read from the table.
    pub(crate) fn push(&self, committed: Vec<Arc<Envelope>>, end: u64) {
        if let Some(appends) = &self.appends {
            appends.begin(&committed);
        }
        self.ring.push(committed);
        if self.last() != end {
            self.end.send_replace(end);
        }
    }

    /// The broker has everything up to here.
    pub(crate) fn relayed(&self, position: u64) {
        if let Some(appends) = &self.appends {
            appends.end(position);
        }
    }

    /// When the first row behind `position` was written; none when there is none, or it cannot be read now.
    pub(crate) async fn next_written_at(&self, position: u64) -> Option<Timestamp> {
        self.read(position, 1).await.ok()?.first().map(|row| row.time)
    }

    pub(crate) fn last(&self) -> u64 {
        *self.end.borrow()
    }

    pub(crate) fn readers(&self) -> &Arc<Lags> {
        &self.readers
    }
}

impl LogSource for ModuleLog {
    fn source(&self) -> &str {
        self.database.module()
    }

    fn log_id(&self) -> String {
        self.log_id.clone()
    }

    fn end(&self) -> watch::Receiver<u64> {
        self.end.subscribe()
    }

    fn read(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Arc<Envelope>>, BusError>> {
        Box::pin(async move {
            // The table may be ahead of what has been told: a reader or relay that went there would know too much.
            let told = usize::try_from(self.last().saturating_sub(after)).unwrap_or(usize::MAX);
            let limit = limit.min(told);
            if limit == 0 {
                return Ok(Vec::new());
            }
            if let Some(rows) = self.ring.read(after, limit) {
                return Ok(rows);
            }
            self.database.outbox_after(&self.log_id, after, limit).await.map_err(|error| BusError::Source {
                source_name: self.database.module().to_owned(),
                detail: error.to_string(),
            })
        })
    }

    fn reader_at(&self, reader: &str, committed: u64) {
        self.readers.note(reader, committed, 0, Instant::now());
    }
}
