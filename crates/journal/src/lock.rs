use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use crate::JournalError;

/// Keeps a second process from writing the same SQLite file. The operating system lets go of it when the process ends,
/// however it ends.
#[derive(Debug)]
pub(crate) struct LockFile {
    _file: File,
}

// === impl LockFile ===

impl LockFile {
    pub(crate) fn take(database: &Path) -> Result<Self, JournalError> {
        let mut name = database.as_os_str().to_owned();
        name.push(".lock");
        let open_error = |error: std::io::Error| JournalError::Open {
            url: Path::new(&name).display().to_string(),
            reason: error.to_string(),
        };
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&name).map_err(open_error)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(JournalError::Locked { what: database.display().to_string() }),
            Err(TryLockError::Error(error)) => Err(open_error(error)),
        }
    }
}
