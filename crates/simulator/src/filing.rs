//! How what is in memory gets to the index: in batches, after it is in the ledger.

use std::sync::{Arc, Mutex};

use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::JoinHandle;

use crate::archive::{Archive, Shelf};
use crate::books::Books;
use crate::error::SimulatorError;
use crate::ledger::{End, LedgerFile, Line, Reached};

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
    /// Until the first batch.
    Here(Box<Archive>),
    With(Worker),
    /// Only after an error, which ends the writer.
    Lost,
}

/// The one thread that writes the index. A thread for each batch was rejected: what one of them has allocated is freed by
/// another, and the allocator gives it back to the first, which may never work again.
#[derive(Debug)]
struct Worker {
    batches: Sender<(Vec<Line>, Reached)>,
    filed: Receiver<Filed>,
    is_busy: bool,
    task: JoinHandle<Result<(), SimulatorError>>,
}

/// The index with all entries up to `seq`.
#[derive(Debug)]
struct Filed {
    shelf: Shelf,
    seq: u64,
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
        self.settle(books, self.waiting.len() >= 2 * self.keep).await?;
        if self.waiting.len() >= self.keep && !self.is_busy() {
            let batch = (std::mem::take(&mut self.waiting), ledger.reached());
            self.worker()?.send(batch).await?;
        }
        Ok(())
    }

    /// Ends the writing of the index; its files are closed then.
    pub(crate) async fn end(mut self, books: &Mutex<Books>) -> Result<(), SimulatorError> {
        self.settle(books, true).await?;
        match self.archive {
            Place::With(worker) => worker.end().await,
            Place::Here(_) | Place::Lost => Ok(()),
        }
    }

    /// Drops from the books' memory what has got to the index; waits for a batch that is under way, if told to.
    async fn settle(&mut self, books: &Mutex<Books>, wait: bool) -> Result<(), SimulatorError> {
        let Place::With(worker) = &mut self.archive else { return Ok(()) };
        let filed = match wait && worker.is_busy {
            true => worker.filed.recv().await,
            false => worker.filed.try_recv().ok(),
        };
        if let Some(Filed { shelf, seq }) = filed {
            worker.is_busy = false;
            let mut books = books.lock().map_err(|_| stopped("the books are inconsistent after a panic"))?;
            books.shelve(shelf, seq);
        } else if worker.task.is_finished() {
            return self.failed().await;
        }
        Ok(())
    }

    fn is_busy(&self) -> bool {
        matches!(&self.archive, Place::With(worker) if worker.is_busy)
    }

    fn worker(&mut self) -> Result<&mut Worker, SimulatorError> {
        self.archive = match std::mem::replace(&mut self.archive, Place::Lost) {
            Place::Here(archive) => Place::With(Worker::start(archive)),
            other => other,
        };
        match &mut self.archive {
            Place::With(worker) => Ok(worker),
            Place::Here(_) | Place::Lost => Err(stopped("the index was given up")),
        }
    }

    async fn failed(&mut self) -> Result<(), SimulatorError> {
        match std::mem::replace(&mut self.archive, Place::Lost) {
            Place::With(worker) => worker.end().await.and(Err(stopped("the index is no longer written"))),
            Place::Here(_) | Place::Lost => Ok(()),
        }
    }
}

// === impl Worker ===

impl Worker {
    fn start(mut archive: Box<Archive>) -> Self {
        let (batches, mut to_file) = mpsc::channel::<(Vec<Line>, Reached)>(1);
        let (done, filed) = mpsc::channel(1);
        let task = tokio::task::spawn_blocking(move || {
            while let Some((lines, reached)) = to_file.blocking_recv() {
                let shelf = archive.take(&lines, reached)?;
                // The writer may have ended; the batch is in the index all the same.
                let _ = done.blocking_send(Filed { shelf, seq: archive.mark().seq });
            }
            Ok(())
        });
        Self { batches, filed, is_busy: false, task }
    }

    /// With at most one batch under way, this does not wait.
    async fn send(&mut self, batch: (Vec<Line>, Reached)) -> Result<(), SimulatorError> {
        self.is_busy = true;
        self.batches.send(batch).await.map_err(|_| stopped("the index is no longer written"))
    }

    async fn end(self) -> Result<(), SimulatorError> {
        let Self { batches, filed, task, .. } = self;
        drop((batches, filed));
        task.await.map_err(|error| stopped(&error.to_string()))?
    }
}

fn stopped(reason: &str) -> SimulatorError {
    SimulatorError::LedgerStopped { reason: reason.to_owned() }
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
