use std::sync::Arc;
use std::time::Instant;

use pangaea_bus::{BoxFuture, BusError, LogRing, LogSource};
use pangaea_contracts::Envelope;
use pangaea_journal::Database;
use tokio::sync::watch;

use crate::admission::Lags;

/// A module's outbox as readers see it: a ring of the newest rows, and the table behind it.
pub(crate) struct ModuleLog {
    log_id: String,
    database: Database,
    ring: LogRing,
    end: watch::Sender<u64>,
    /// How far its readers are.
    readers: Arc<Lags>,
}

// === impl ModuleLog ===

impl ModuleLog {
    pub(crate) fn new(database: Database, log_id: String, end: u64, ring_rows: usize) -> Self {
        let readers = Arc::new(Lags::default());
        Self { log_id, database, ring: LogRing::new(ring_rows), end: watch::Sender::new(end), readers }
    }

    /// Takes in what the writer has committed, and wakes the readers. `end` may lie beyond it: a commit whose answer was
    /// lost is read from the table.
    pub(crate) fn push(&self, committed: Vec<Arc<Envelope>>, end: u64) {
        self.ring.push(committed);
        if self.last() != end {
            self.end.send_replace(end);
        }
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
