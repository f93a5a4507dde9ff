use pangaea_journal::JournalError;

/// Why a batch did not commit.
pub(super) enum Abort {
    /// The transaction did not even begin: nothing of the batch is to blame.
    Unready(JournalError),
    Journal(JournalError),
    /// An input failed by itself.
    Poison(String),
}

// === impl Abort ===

impl Abort {
    /// Whether one input is to blame: then each runs alone, so that the others go on.
    pub(super) fn is_an_inputs_own(&self) -> bool {
        match self {
            Self::Unready(_) => false,
            Self::Poison(_) => true,
            Self::Journal(error) => {
                matches!(
                    error,
                    JournalError::Constraint(_)
                        | JournalError::Decode(_)
                        | JournalError::Statement(_)
                        | JournalError::Torn(_)
                )
            }
        }
    }

    pub(super) fn into_reason(self) -> String {
        match self {
            Self::Poison(reason) => reason,
            Self::Unready(error) | Self::Journal(error) => error.to_string(),
        }
    }

    pub(super) fn into_error(self) -> JournalError {
        match self {
            Self::Unready(error) | Self::Journal(error) => error,
            Self::Poison(reason) => JournalError::Decode(reason),
        }
    }
}

impl From<pangaea_faults::Injected> for Abort {
    fn from(injected: pangaea_faults::Injected) -> Self {
        Self::Journal(injected.into())
    }
}

impl From<JournalError> for Abort {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}
