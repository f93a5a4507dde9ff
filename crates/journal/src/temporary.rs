use std::fs::DirBuilder;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::JournalError;

/// The folder of a database "in memory"; it goes with the last handle.
///
/// Such a database is a file without any fsync, so that it behaves as every other: readers see what is committed while a
/// transaction is open. SQLite's own two ways were tried and rejected: in its shared cache readers fail at once on a table
/// that is being written; the `memdb` file system lets them wait by polling, and under a busy writer some waited for
/// seconds.
#[derive(Debug)]
pub(crate) struct TemporaryFolder(PathBuf);

// === impl TemporaryFolder ===

impl TemporaryFolder {
    pub(crate) fn create() -> Result<Self, JournalError> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("pangaea-{}-{number}", std::process::id()));
        let made = match builder().create(&folder) {
            // Our process id and a number that we have not used: a process of the same id that was killed left it.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                std::fs::remove_dir_all(&folder).and_then(|()| builder().create(&folder))
            }
            other => other,
        };
        let open_error = |error: std::io::Error| JournalError::Open {
            url: "sqlite::memory:".to_owned(),
            reason: format!("the temporary folder {} cannot be made: {error}", folder.display()),
        };
        made.map_err(open_error)?;
        Ok(Self(folder))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::debug!(folder = %self.0.display(), %error, "a temporary database stays behind");
        }
    }
}

/// Nobody else may look inside: the temporary folder of the machine is everyone's.
fn builder() -> DirBuilder {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}
