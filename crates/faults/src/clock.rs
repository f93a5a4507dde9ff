//! A clock that a test moves, one for all processes of a store: it is no bug, and nobody may notice it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::plan;

/// The time as a small file says it, in milliseconds since 1970. Whoever moves it replaces the file in one step.
#[derive(Debug)]
pub struct DrivenClock {
    file: PathBuf,
    /// What was read last: a file that cannot be read for once leaves the time as it was, and it never goes back.
    last_ms: AtomicI64,
}

/// The clock that drives this process: none, unless it was started with `clock:<file>`.
pub fn driven_clock() -> Option<Arc<DrivenClock>> {
    plan()?.clock.clone()
}

// === impl DrivenClock ===

impl DrivenClock {
    /// # Errors
    /// When the file holds no time.
    pub(crate) fn open(file: &Path) -> Result<Self, String> {
        let now = read(file).ok_or_else(|| format!("{} holds no time in milliseconds", file.display()))?;
        Ok(Self { file: file.to_owned(), last_ms: AtomicI64::new(now) })
    }

    pub fn now_ms(&self) -> i64 {
        let read = read(&self.file).unwrap_or(i64::MIN);
        self.last_ms.fetch_max(read, Ordering::SeqCst).max(read)
    }
}

fn read(file: &Path) -> Option<i64> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_its_file_and_never_goes_back() {
        let file = std::env::temp_dir().join(format!("pangaea-driven-clock-{}", std::process::id()));
        assert!(DrivenClock::open(&file).unwrap_err().contains("holds no time"), "there is no file yet");
        std::fs::write(&file, "1000\n").unwrap();
        let clock = DrivenClock::open(&file).unwrap();
        assert_eq!(clock.now_ms(), 1_000);
        for (text, expected) in [("5000", 5_000), ("4000", 5_000), ("soon", 5_000), ("5001", 5_001)] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(clock.now_ms(), expected, "{text}");
        }
        std::fs::remove_file(&file).unwrap();
        assert_eq!(clock.now_ms(), 5_001, "the last time that was read");
    }
}
