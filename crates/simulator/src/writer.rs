//! The one task that writes the ledger, by group commit: what has queued up while the disk worked becomes one write
//! and one `fdatasync`. A sync per entry was rejected: it caps the provider at the disk's few hundred syncs a second.

use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, watch};

use crate::books::Books;
use crate::error::SimulatorError;
use crate::filing::Filing;
use crate::ledger::{LedgerEntry, LedgerFile, Line};

/// Entries that may wait for the disk; callers wait for a place before anything is decided.
pub(crate) const QUEUE_ENTRIES: usize = 2_048;
const BATCH_ENTRIES: usize = 512;

/// How far the ledger is on disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Durable {
    pub(crate) seq: u64,
    /// The disk refused: nothing after `seq` may be answered, now or later.
    pub(crate) failed: bool,
}

/// The writer's side of the queue.
#[derive(Debug)]
pub(crate) struct Writer {
    /// `None` for a ledger in memory, which is durable at once.
    pub(crate) ledger: Option<(LedgerFile, Filing)>,
    pub(crate) books: Arc<Mutex<Books>>,
    pub(crate) entries: mpsc::Receiver<Arc<LedgerEntry>>,
    pub(crate) durable: watch::Sender<Durable>,
}

// === impl Writer ===

impl Writer {
    /// Writes until every sender is gone, or until the disk refuses.
    pub(crate) async fn run(mut self) -> Result<(), SimulatorError> {
        let written = self.write_all().await;
        if written.is_err() {
            // Memory is now ahead of the disk, so this process must not answer again: a restart rebuilds from what the
            // file really holds.
            self.durable.send_modify(|durable| durable.failed = true);
        }
        written
    }

    async fn write_all(&mut self) -> Result<(), SimulatorError> {
        let mut batch = Vec::with_capacity(BATCH_ENTRIES);
        loop {
            self.entries.recv_many(&mut batch, BATCH_ENTRIES).await;
            let Some(last) = batch.last().map(|entry| entry.seq) else { break };
            let lines = self.commit(&mut batch).await?;
            self.durable.send_modify(|durable| durable.seq = last);
            if let Some((ledger, filing)) = &mut self.ledger {
                filing.take(lines, ledger, &self.books).await?;
            }
        }
        // Whoever waits for the end finds neither file in use.
        match self.ledger.take() {
            Some((_, filing)) => filing.end(&self.books).await,
            None => Ok(()),
        }
    }

    async fn commit(&mut self, batch: &mut Vec<Arc<LedgerEntry>>) -> Result<Vec<Line>, SimulatorError> {
        let Some((mut ledger, filing)) = self.ledger.take() else {
            batch.clear();
            return Ok(Vec::new());
        };
        let mut entries = std::mem::take(batch);
        let work = tokio::task::spawn_blocking(move || {
            let written = ledger.append(&mut entries);
            (ledger, entries, written)
        });
        let (ledger, entries, written) =
            work.await.map_err(|error| SimulatorError::LedgerStopped { reason: error.to_string() })?;
        *batch = entries;
        let path = ledger.path.clone();
        self.ledger = Some((ledger, filing));
        written.map_err(|source| SimulatorError::LedgerIo { path, action: "writing", source })
    }
}
