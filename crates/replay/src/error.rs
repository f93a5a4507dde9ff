use std::path::{Path, PathBuf};

use pangaea_journal::JournalError;
use pangaea_kernel::HistoryError;

/// Why something could not be recorded or replayed. A replay that *differs* is no error: see [`Report`](crate::Report).
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("{file}: {reason}")]
    File { file: PathBuf, reason: String },
    #[error("{file} is no recording: it does not begin as one; `pangaea record` makes them")]
    Foreign { file: PathBuf },
    #[error(
        "{file} is a recording of format {found}, and this program reads formats up to {newest}: use the release that made it, or a newer one"
    )]
    Newer { file: PathBuf, found: u16, newest: u16 },
    #[error("{file} is cut off after {bytes} bytes: copy it again, or record again")]
    Truncated { file: PathBuf, bytes: u64 },
    #[error("{file} is damaged at byte {offset}: {reason}; copy it again, or record again")]
    Damaged { file: PathBuf, offset: u64, reason: String },
    #[error("{file} exists already; name another file, or remove it first (--force)")]
    Exists { file: PathBuf },
    #[error("module {module}: {reason}")]
    Module { module: String, reason: String },
    /// A recomputed recording would not be whole without it.
    #[error("module {module}: the input at {position} cannot be handled: {reason}")]
    Unhandled { module: String, position: u64, reason: String },
    #[error("module {module}: {source}")]
    Journal { module: String, source: JournalError },
}

// === impl ReplayError ===

impl ReplayError {
    pub(crate) fn file(file: &Path, reason: impl std::fmt::Display) -> Self {
        Self::File { file: file.to_owned(), reason: reason.to_string() }
    }

    pub(crate) fn module(module: &str, reason: impl Into<String>) -> Self {
        Self::Module { module: module.to_owned(), reason: reason.into() }
    }

    pub(crate) fn history(module: &str) -> impl FnOnce(HistoryError) -> Self + '_ {
        move |error| match error {
            HistoryError::Database(source) => Self::Journal { module: module.to_owned(), source },
            HistoryError::Torn(reason) => Self::module(module, reason),
        }
    }

    pub(crate) fn journal(module: &str) -> impl FnOnce(JournalError) -> Self + '_ {
        move |source| Self::Journal { module: module.to_owned(), source }
    }
}
