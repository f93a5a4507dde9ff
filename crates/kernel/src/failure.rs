use pangaea_contracts::MoneyError;
use pangaea_journal::JournalError;

use crate::{Problem, ProblemKind};

/// Why a handler did not do its work. The class decides what happens next, so nothing is guessed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A business answer to a command: stored, and given again to a repeat. Decide before writing anything.
    #[error("refused: {0}")]
    Refusal(Box<Problem>),
    /// The database is away: the batch is tried again, and no attempt is charged.
    #[error("{0}")]
    Transient(JournalError),
    /// A bug, or a message that cannot be understood: it is tried alone, then becomes a dead letter.
    #[error("{0}")]
    Poison(String),
    /// Another leader writes: stop.
    #[error("{0}")]
    Superseded(JournalError),
}

// === impl Failure ===

impl Failure {
    pub fn refusal(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self::Refusal(Box::new(Problem::new(kind, detail)))
    }

    pub fn poison(reason: impl Into<String>) -> Self {
        Self::Poison(reason.into())
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Refusal(Box::new(problem))
    }
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Superseded { .. } => Self::Superseded(error),
            error if error.is_transient() => Self::Transient(error),
            error => Self::Poison(error.to_string()),
        }
    }
}

impl From<MoneyError> for Failure {
    fn from(error: MoneyError) -> Self {
        Self::Refusal(Box::new(Problem::new(ProblemKind::Invalid, error.to_string())))
    }
}
