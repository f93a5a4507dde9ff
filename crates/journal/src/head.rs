use pangaea_contracts::Timestamp;
use pangaea_faults::{Plant, planted, unguarded};

use crate::{JournalError, Row};

/// The one row that every write transaction moves: what this writer believes it left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Grows with every leader.
    pub epoch: i64,
    /// Names this database's log; made anew with the database.
    pub log_id: String,
    pub inbox_end: u64,
    pub outbox_end: u64,
    /// The time of the newest input: admission time never goes back behind it.
    pub last_time: Timestamp,
    /// Whether the previous leader drained before it went.
    pub previous_stop_clean: bool,
}

pub(crate) const SELECT_HEAD: &str = "SELECT epoch, log_id, inbox_end, outbox_end, last_time, clean_stop FROM head";

// === impl Head ===

impl Head {
    pub(crate) fn from_row(row: &Row) -> Result<Self, JournalError> {
        Ok(Self {
            epoch: row.get(0)?,
            log_id: row.get(1)?,
            inbox_end: row.get(2)?,
            outbox_end: row.get(3)?,
            last_time: row.get(4)?,
            previous_stop_clean: row.get(5)?,
        })
    }

    /// Whether a row read inside a transaction is the one this head left.
    pub(crate) fn holds(&self, row: &Row) -> Result<(), JournalError> {
        let found = Self::from_row(row)?;
        if !is_checked() {
            return Ok(());
        }
        let same =
            found.epoch == self.epoch && found.inbox_end == self.inbox_end && found.outbox_end == self.outbox_end;
        if same { Ok(()) } else { Err(JournalError::Superseded { ours: self.epoch, found: found.epoch }) }
    }
}

/// Whether a transaction begins by looking at the head row.
pub(crate) fn is_checked() -> bool {
    !planted(Plant::HeadRowNotChecked) && !unguarded(Plant::TimerFiredByTwoReplicas)
}

/// Whether a transaction that moves the head row must find it as it was left.
pub(crate) fn is_guarded() -> bool {
    !unguarded(Plant::HeadRowNotChecked) && !unguarded(Plant::TimerFiredByTwoReplicas)
}
