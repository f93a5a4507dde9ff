//! How what is in memory gets to the index: in batches, after it is in the ledger.

use std::sync::{Arc, Mutex};

use tokio::task::JoinHandle;

use crate::archive::{Archive, Shelf};
use crate::books::Books;
use crate::error::SimulatorError;
use crate::ledger::{End, LedgerFile, Line};

/// The index, and the lines of the ledger that it lacks.
#[derive(Debug)]
pub(crate) struct Filing {
    /// So many lines go to the index together; until then, what they did is in memory.
    keep: usize,
    waiting: Vec<Line>,
    archive: Place,
}

#[derive(Debug)]
enum Place {
    Here(Box<Archive>),
    /// A batch is being taken in.
    Away(JoinHandle<Result<(Box<Archive>, Shelf), SimulatorError>>),
    /// Only after an error, which ends the writer.
    Lost,
}

/// A ledger that is read from its beginning.
struct CatchUp<'a> {
    filing: Filing,
    books: Books,
    archive: &'a mut Archive,
    /// The last entry of the index before.
    indexed: u64,
    /// The ledger begins with what the index stands for, as far as it was read.
    is_same: bool,
}

// === impl Filing ===

impl Filing {
    /// Opens the ledger's index and brings the books to the ledger's end: by the lines that the index lacks, or by all of
    /// them if the ledger does not begin with what the index stands for.
    pub(crate) fn catch_up(ledger: &mut LedgerFile, seed: u64, keep: usize) -> Result<(Self, Books), SimulatorError> {
        let mut archive = Archive::open(&ledger.path, Arc::clone(&ledger.file))?;
        loop {
            let mut reading = CatchUp::new(&mut archive, seed, keep.max(1))?;
            let path = ledger.path.clone();
            ledger.replay(|line, end| {
                let seq = line.entry.seq;
                let corrupt = |reason| SimulatorError::LedgerCorrupt { path: path.clone(), line: seq, reason };
                reading.read(line, end, corrupt)
            })?;
            let CatchUp { filing, books, is_same, .. } = reading;
            if is_same {
                return Ok((Self { archive: Place::Here(Box::new(archive)), ..filing }, books));
            }
            // Not twice: nothing is what every ledger begins with.
            tracing::warn!(path = %ledger.path.display(), "the index is of another ledger and is made again");
            drop(books);
            archive = archive.emptied()?;
        }
    }

    /// Takes lines that are in the ledger now. When there are enough of them they go to the index, beside the writing of
    /// the ledger; and when there are twice as many before that is done, it is waited for, which bounds the memory.
    pub(crate) async fn take(
        &mut self,
        lines: Vec<Line>,
        ledger: &LedgerFile,
        books: &Mutex<Books>,
    ) -> Result<(), SimulatorError> {
        self.waiting.extend(lines);
        if self.waiting.len() >= 2 * self.keep || matches!(&self.archive, Place::Away(batch) if batch.is_finished()) {
            self.settle(books).await?;
        }
        if self.waiting.len() >= self.keep && matches!(self.archive, Place::Here(_)) {
            self.send(ledger);
        }
        Ok(())
    }

    /// Waits until no batch is being taken in, and drops what was from the books' memory.
    pub(crate) async fn settle(&mut self, books: &Mutex<Books>) -> Result<(), SimulatorError> {
        let stopped = |reason: String| SimulatorError::LedgerStopped { reason };
        let (archive, shelf) = match std::mem::replace(&mut self.archive, Place::Lost) {
            Place::Away(batch) => batch.await.map_err(|error| stopped(error.to_string()))??,
            other => {
                self.archive = other;
                return Ok(());
            }
        };
        let mut books = books.lock().map_err(|_| stopped("the books are inconsistent after a panic".to_owned()))?;
        books.shelve(shelf, archive.mark().seq);
        self.archive = Place::Here(archive);
        Ok(())
    }

    fn send(&mut self, ledger: &LedgerFile) {
        let Place::Here(mut archive) = std::mem::replace(&mut self.archive, Place::Lost) else { return };
        let (lines, reached) = (std::mem::take(&mut self.waiting), ledger.reached());
        self.archive = Place::Away(tokio::task::spawn_blocking(move || {
            let shelf = archive.take(&lines, reached)?;
            Ok((archive, shelf))
        }));
    }
}

// === impl CatchUp ===

impl<'a> CatchUp<'a> {
    fn new(archive: &'a mut Archive, seed: u64, keep: usize) -> Result<Self, SimulatorError> {
        let (indexed, created) = (archive.mark().seq, archive.mark().created);
        let books = Books::with_shelf(seed, archive.shelf()?, indexed, created);
        let filing = Filing { keep, waiting: Vec::new(), archive: Place::Lost };
        Ok(Self { filing, books, archive, indexed, is_same: indexed == 0 })
    }

    fn read(
        &mut self,
        line: Line,
        end: &End,
        corrupt: impl Fn(String) -> SimulatorError,
    ) -> Result<(), SimulatorError> {
        let seq = line.entry.seq;
        if seq == self.indexed {
            self.is_same = end.reached() == self.archive.mark().reached;
        }
        if seq <= self.indexed || !self.is_same {
            return Ok(());
        }
        self.books.book(&line.entry).map_err(corrupt)?;
        self.filing.waiting.push(line);
        if self.filing.waiting.len() >= self.filing.keep {
            let shelf = self.archive.take(&self.filing.waiting, end.reached())?;
            self.books.shelve(shelf, seq);
            self.filing.waiting.clear();
        }
        Ok(())
    }
}
