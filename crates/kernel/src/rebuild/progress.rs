use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// How far a rebuild is, and the way to end it.
#[derive(Debug, Default)]
pub struct RebuildProgress {
    facts: Mutex<RebuildFacts>,
    is_cancelled: AtomicBool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebuildFacts {
    pub phase: RebuildPhase,
    /// Inputs that were run, and how many there are so far.
    pub inputs: u64,
    pub inputs_total: u64,
    /// Rows that were put into shadow tables.
    pub rows: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RebuildPhase {
    /// Inputs are run again.
    #[default]
    Running,
    Comparing,
    /// Rows are put into shadow tables.
    Copying,
    Swapping,
}

// === impl RebuildProgress ===

impl RebuildProgress {
    /// Ends it before its next step. What has been swapped by then stays.
    pub fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Relaxed);
    }

    pub fn facts(&self) -> RebuildFacts {
        self.lock().clone()
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Relaxed)
    }

    pub(super) fn phase(&self, phase: RebuildPhase) {
        self.lock().phase = phase;
    }

    pub(super) fn inputs(&self, run: u64, total: u64) {
        let mut facts = self.lock();
        (facts.inputs, facts.inputs_total) = (run, total);
    }

    pub(super) fn copied(&self, rows: u64) {
        self.lock().rows += rows;
    }

    fn lock(&self) -> MutexGuard<'_, RebuildFacts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
