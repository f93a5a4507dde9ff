//! The inputs of several modules as one history, and places in it.

use std::collections::VecDeque;

use pangaea_contracts::Timestamp;
use tokio::sync::mpsc;

use crate::check::read_ahead;
use crate::recording::{Entry, ModuleRecording};
use crate::{ReplayError, Until};

/// A place in the history of several modules: they are merged by the time of admission, module by module where it is equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    pub time: Timestamp,
    /// By its number among the modules at hand.
    pub module: usize,
    pub position: u64,
}

/// The last input of a way through a recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bound {
    #[default]
    End,
    Until(Until),
    Spot(Spot),
}

/// The entries of several modules in one order, read as they are taken.
pub struct Merged {
    queues: Vec<EntryQueue>,
}

/// One module's entries, read a part at a time.
pub(crate) struct EntryQueue {
    parts: mpsc::Receiver<Result<Vec<Entry>, ReplayError>>,
    read: VecDeque<Entry>,
}

// === impl Spot ===

impl Spot {
    pub(crate) fn of(module: usize, entry: &Entry) -> Self {
        Self { time: entry.admitted_at, module, position: entry.position }
    }
}

// === impl Bound ===

impl Bound {
    pub fn includes(self, spot: Spot) -> bool {
        match self {
            Self::End => true,
            Self::Until(Until::Position(position)) => spot.position <= position,
            Self::Until(Until::Time(time)) => spot.time <= time,
            Self::Spot(last) => spot <= last,
        }
    }
}

// === impl Merged ===

impl Merged {
    pub fn new(modules: &[ModuleRecording]) -> Self {
        Self { queues: modules.iter().map(EntryQueue::new).collect() }
    }

    /// The next entry of all; `None` at the end.
    ///
    /// # Errors
    /// When the file has changed since it was opened.
    pub async fn next(&mut self) -> Result<Option<(Spot, Entry)>, ReplayError> {
        let mut first: Option<Spot> = None;
        for (module, queue) in self.queues.iter_mut().enumerate() {
            let spot = queue.peek().await?.map(|entry| Spot::of(module, entry));
            first = first.into_iter().chain(spot).min();
        }
        let Some(spot) = first else { return Ok(None) };
        Ok(self.queues[spot.module].take().map(|entry| (spot, entry)))
    }
}

// === impl EntryQueue ===

impl EntryQueue {
    pub(crate) fn new(module: &ModuleRecording) -> Self {
        Self { parts: read_ahead(module), read: VecDeque::new() }
    }

    pub(crate) async fn peek(&mut self) -> Result<Option<&Entry>, ReplayError> {
        if self.read.is_empty() {
            match self.parts.recv().await {
                Some(part) => self.read.extend(part?),
                None => return Ok(None),
            }
        }
        Ok(self.read.front())
    }

    /// What [`peek`](EntryQueue::peek) has shown.
    pub(crate) fn take(&mut self) -> Option<Entry> {
        self.read.pop_front()
    }
}
