//! Planted bugs: what belongs into one transaction is committed in two. A crash between them shows it.

use pangaea_contracts::Envelope;
use pangaea_faults::{Plant, planted};

use crate::pending::Pending;
use crate::{JournalError, Writer};

/// Which part goes apart from the rest, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tear {
    CursorsFirst,
    CursorsLast,
    OutboxLast,
}

// === impl Tear ===

impl Tear {
    pub(crate) fn planted() -> Option<Self> {
        if planted(Plant::CursorBeforeWork) {
            Some(Self::CursorsFirst)
        } else if planted(Plant::CursorInAnotherTransaction) {
            Some(Self::CursorsLast)
        } else if planted(Plant::OutboxInAnotherTransaction) {
            Some(Self::OutboxLast)
        } else {
            None
        }
    }

    /// Takes the part away from the rest.
    fn take(self, pending: &mut Pending) -> Pending {
        match self {
            Self::CursorsFirst | Self::CursorsLast => Pending {
                cursors: std::mem::take(&mut pending.cursors),
                skips: std::mem::take(&mut pending.skips),
                ..Pending::default()
            },
            Self::OutboxLast => Pending { outbox: std::mem::take(&mut pending.outbox), ..Pending::default() },
        }
    }

    fn give_back(self, pending: &mut Pending, part: Pending) {
        match self {
            Self::CursorsFirst | Self::CursorsLast => (pending.cursors, pending.skips) = (part.cursors, part.skips),
            Self::OutboxLast => pending.outbox = part.outbox,
        }
    }
}

// === impl Writer ===

impl Writer {
    /// Commits in two transactions, unless the guard refuses a part: then in one.
    pub(crate) async fn commit_torn(&mut self, tear: Tear) -> Result<Vec<Envelope>, JournalError> {
        let part = tear.take(&mut self.pending);
        if let Err(refusal) = part.check_whole().and_then(|()| self.pending.check_whole()) {
            tracing::error!(%refusal, ?tear, "a torn transaction was refused; it is committed whole");
            tear.give_back(&mut self.pending, part);
            return self.commit_in_one().await;
        }
        match tear {
            Tear::CursorsFirst => {
                self.commit_cursors(part).await?;
                self.begin().await?;
                self.commit_in_one().await
            }
            Tear::CursorsLast => {
                let log = self.commit_in_one().await?;
                self.begin().await?;
                self.commit_cursors(part).await?;
                Ok(log)
            }
            Tear::OutboxLast => {
                self.commit_in_one().await?;
                self.begin().await?;
                self.pending = part;
                self.commit_in_one().await
            }
        }
    }

    /// The cursors alone: rows and head stay as they are.
    async fn commit_cursors(&mut self, cursors: Pending) -> Result<(), JournalError> {
        let mut statements = Vec::new();
        cursors.into_statements(self.head.inbox_end + 1, &mut statements);
        let written = self.write_and_commit(statements, None).await;
        self.note_failure(written)?;
        self.in_transaction = false;
        Ok(())
    }
}
