//! A line on standard error that says how far long work has come.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

const ON_TERMINAL: Duration = Duration::from_millis(500);
const ELSEWHERE: Duration = Duration::from_secs(5);

/// On a terminal one line that changes twice a second; elsewhere a new line every five seconds. Work that is done sooner says
/// nothing.
pub(super) struct StatusLine {
    is_terminal: bool,
    shown_at: Instant,
    /// Whether a line on the terminal is to be wiped out.
    is_dirty: bool,
}

// === impl StatusLine ===

impl StatusLine {
    pub(super) fn new() -> Self {
        Self { is_terminal: std::io::stderr().is_terminal(), shown_at: Instant::now(), is_dirty: false }
    }

    pub(super) fn every(&self) -> Duration {
        if self.is_terminal { ON_TERMINAL } else { ELSEWHERE }
    }

    /// Shows what `line` makes, where it is time for it.
    pub(super) fn show(&mut self, line: impl FnOnce() -> String) {
        if self.shown_at.elapsed() < self.every() {
            return;
        }
        self.shown_at = Instant::now();
        if self.is_terminal {
            self.is_dirty = true;
            eprint!("\r\x1b[K{}", line());
        } else {
            eprintln!("{}", line());
        }
    }

    /// Makes room for a line of somebody else's.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.is_dirty) {
            eprint!("\r\x1b[K");
        }
    }
}

impl Drop for StatusLine {
    fn drop(&mut self) {
        self.clear();
    }
}
