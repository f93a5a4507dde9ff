use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::{Context, Result, ensure};
use pangaea_contracts::Timestamp;

/// The time of a store whose clock is driven: every process of it that hosts modules reads it, and it moves when it is told.
#[derive(Debug)]
pub struct DrivenClock {
    file: PathBuf,
    now_ms: AtomicI64,
}

// === impl DrivenClock ===

impl DrivenClock {
    /// # Errors
    /// When the folder cannot be written to.
    pub fn new(folder: &Path, now: Timestamp) -> Result<Self> {
        let clock = Self { file: folder.join("now"), now_ms: AtomicI64::new(now.as_millis()) };
        clock.write()?;
        Ok(clock)
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now_ms.load(Ordering::SeqCst))
    }

    /// Moves it for all processes at once.
    ///
    /// # Errors
    /// When it would go back, or cannot be written.
    pub fn set(&self, now: Timestamp) -> Result<()> {
        let before = self.now_ms.fetch_max(now.as_millis(), Ordering::SeqCst);
        ensure!(now.as_millis() >= before, "a clock does not go back");
        self.write()
    }

    /// What tells a process of it, in `PANGAEA_FAULTS`.
    pub(crate) fn fault(&self) -> String {
        format!("clock:{}", self.file.display())
    }

    /// By another file that takes its place, so that nobody reads half a number.
    fn write(&self) -> Result<()> {
        let new = self.file.with_extension("new");
        std::fs::write(&new, self.now().as_millis().to_string())
            .and_then(|()| std::fs::rename(&new, &self.file))
            .with_context(|| format!("the clock in {}", self.file.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Folder;

    #[test]
    fn is_read_as_it_was_set_and_does_not_go_back() {
        let folder = Folder::new("clock").unwrap();
        let at = Timestamp::from_millis;
        let clock = DrivenClock::new(folder.path(), at(1_000)).unwrap();
        let read = || std::fs::read_to_string(folder.path().join("now")).unwrap();
        assert_eq!((read().as_str(), clock.fault()), ("1000", format!("clock:{}", folder.join("now"))));
        clock.set(at(2_500)).unwrap();
        assert_eq!((read().as_str(), clock.now()), ("2500", at(2_500)));
        assert!(clock.set(at(2_499)).is_err());
        assert_eq!(read(), "2500");
        folder.set_clean();
    }
}
