//! How far a scan has come, on standard error, when it takes long enough to be asked about.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

const ON_TERMINAL: Duration = Duration::from_millis(500);
const ELSEWHERE: Duration = Duration::from_secs(5);

/// One module's inbox being looked at.
pub(super) struct Progress {
    module: &'static str,
    first: u64,
    last: u64,
    shown: Instant,
    is_terminal: bool,
    /// Whether a line on the terminal is to be wiped out.
    is_dirty: bool,
}

// === impl Progress ===

impl Progress {
    pub(super) fn new(module: &'static str, first: u64, last: u64) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        Self { module, first, last, shown: Instant::now(), is_terminal, is_dirty: false }
    }

    pub(super) fn reached(&mut self, position: u64) {
        if self.shown.elapsed() < if self.is_terminal { ON_TERMINAL } else { ELSEWHERE } {
            return;
        }
        self.shown = Instant::now();
        let (done, all) = (position.min(self.last) - self.first + 1, self.last - self.first + 1);
        let line = format!("looking at the inbox of {}: {done} of {all} ({} %)", self.module, done * 100 / all.max(1));
        if self.is_terminal {
            self.is_dirty = true;
            eprint!("\r\x1b[K{line}");
        } else {
            eprintln!("{line}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_dirty {
            eprint!("\r\x1b[K");
        }
    }
}
