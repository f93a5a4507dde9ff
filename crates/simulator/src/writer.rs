//! The one task that writes the ledger, by group commit: what has queued up while the disk worked becomes one write
//! and one `fdatasync`. A sync per entry was rejected: it caps the provider at the disk's few hundred syncs a second.

use std::io::Write;

use tokio::sync::{mpsc, watch};

use crate::error::SimulatorError;
use crate::ledger::{LedgerEntry, LedgerFile};

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
    pub(crate) ledger: Option<LedgerFile>,
    pub(crate) entries: mpsc::Receiver<LedgerEntry>,
    pub(crate) durable: watch::Sender<Durable>,
}

// === impl Writer ===

impl Writer {
    /// Writes until every sender is gone, or until the disk refuses.
    pub(crate) async fn run(mut self) -> Result<(), SimulatorError> {
        let mut batch = Vec::with_capacity(BATCH_ENTRIES);
        loop {
            self.entries.recv_many(&mut batch, BATCH_ENTRIES).await;
            let Some(last) = batch.last().map(|entry| entry.seq) else {
                return Ok(());
            };
            if let Err(error) = self.commit(&mut batch).await {
                // Memory is now ahead of the disk, so this process must not answer again: a restart rebuilds from
                // what the file really holds.
                self.durable.send_modify(|durable| durable.failed = true);
                return Err(error);
            }
            self.durable.send_modify(|durable| durable.seq = last);
        }
    }

    async fn commit(&mut self, batch: &mut Vec<LedgerEntry>) -> Result<(), SimulatorError> {
        let Some(mut ledger) = self.ledger.take() else {
            batch.clear();
            return Ok(());
        };
        let mut entries = std::mem::take(batch);
        let work = tokio::task::spawn_blocking(move || {
            let written = append(&mut ledger, &entries);
            entries.clear();
            (ledger, entries, written)
        });
        let (ledger, entries, written) =
            work.await.map_err(|error| SimulatorError::LedgerStopped { reason: error.to_string() })?;
        *batch = entries;
        let path = ledger.path.clone();
        self.ledger = Some(ledger);
        written.map_err(|source| SimulatorError::LedgerIo { path, action: "writing", source })
    }
}

fn append(ledger: &mut LedgerFile, entries: &[LedgerEntry]) -> std::io::Result<()> {
    let mut lines = Vec::with_capacity(entries.len() * 640);
    for entry in entries {
        serde_json::to_writer(&mut lines, entry)?;
        lines.push(b'\n');
    }
    ledger.file.write_all(&lines)?;
    ledger.file.sync_data()
}
