//! What the writer is given to do, and what comes of it.

use std::sync::Arc;

use pangaea_contracts::{Envelope, Timestamp};
use pangaea_journal::{EffectRow, JournalError};

use super::{LetterOutcome, RebuildDone, RebuildStep};
use crate::{Answer, Input};

/// One thing for the writer to do.
#[derive(Clone, Debug)]
pub enum Work {
    Input(Input),
    /// Everything in a source's log up to here was not for this reader of the module's.
    Advance {
        reader: String,
        source: String,
        log_id: String,
        after: u64,
        position: u64,
        message_id: String,
    },
    /// Another try of an effect begins; it is recorded before the call.
    Try {
        effect_id: String,
        expires_at: Timestamp,
    },
    /// Handle the input of a dead letter again. Each letter has a transaction of its own.
    Redrive {
        letter_id: String,
    },
    /// Give a dead letter up: its input is never handled.
    Abandon {
        letter_id: String,
    },
    /// Remove the secrets that have expired.
    SweepSecrets,
    /// A step of a rebuild. Each has a transaction of its own.
    Rebuild(RebuildStep),
}

/// What became of one piece of work.
#[derive(Clone, Debug, PartialEq)]
pub enum Done {
    Answered(Answer),
    Handled,
    /// Seen before, or no longer wanted; nothing was done.
    Duplicate,
    /// Became a dead letter, or waits behind one.
    Dead,
    /// The delivery does not follow the cursor: read again from the cursor.
    Gap {
        expected_after: u64,
    },
    /// The source's log is another history than the one this cursor is of.
    LogReset {
        expected: String,
    },
    Tried(Option<EffectRow>),
    /// Of a redrive or an abandonment.
    Letter(LetterOutcome),
    Rebuild(RebuildDone),
}

/// What a commit brought.
#[derive(Debug, Default)]
pub struct BatchResult {
    /// In the order of the work.
    pub done: Vec<Done>,
    /// The new end of the log.
    pub log: Vec<Arc<Envelope>>,
    /// Effects to perform; their first try is already recorded.
    pub effects: Vec<EffectRow>,
    pub timers_fired: u32,
    pub refusals_after_write: u32,
}

#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// Try the same work again later.
    #[error("{0}")]
    Transient(JournalError),
    /// Stop leading.
    #[error("{0}")]
    Fatal(JournalError),
}

// === impl Work ===

impl Work {
    /// Whether it runs in a transaction of its own, so that when it fails it takes nothing else with it.
    pub(super) fn runs_alone(&self) -> bool {
        matches!(self, Self::Redrive { .. } | Self::Abandon { .. } | Self::Rebuild(_))
    }
}

// === impl BatchResult ===

impl BatchResult {
    pub(super) fn absorb(&mut self, part: BatchResult) {
        self.done.extend(part.done);
        self.log.extend(part.log);
        self.effects.extend(part.effects);
        self.timers_fired += part.timers_fired;
        self.refusals_after_write += part.refusals_after_write;
    }
}
