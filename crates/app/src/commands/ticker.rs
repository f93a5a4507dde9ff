//! How far long work has come, on standard error, when it takes long enough to be asked about.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

const ON_TERMINAL: Duration = Duration::from_millis(500);
const ELSEWHERE: Duration = Duration::from_secs(5);

/// Tells of a counter that others move, until it is dropped.
pub(super) struct Ticker {
    task: JoinHandle<()>,
    is_terminal: bool,
}

// === impl Ticker ===

impl Ticker {
    /// `total` is `None` where nobody knows it.
    pub(super) fn start(what: &'static str, total: Option<u64>, counter: Arc<AtomicU64>) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let task = tokio::spawn(async move {
            let begun = Instant::now();
            loop {
                tokio::time::sleep(if is_terminal { ON_TERMINAL } else { ELSEWHERE }).await;
                let done = counter.load(Ordering::Relaxed);
                let of =
                    total.map(|total| format!(" of {total} ({} %)", done * 100 / total.max(1))).unwrap_or_default();
                let rate = done as f64 / begun.elapsed().as_secs_f64();
                let line = format!("{what}: {done} inputs{of}, {rate:.0}/s");
                if is_terminal { eprint!("\r\x1b[K{line}") } else { eprintln!("{line}") }
            }
        });
        Self { task, is_terminal }
    }

    /// Makes room for a line of somebody else's.
    pub(super) fn clear(&self) {
        if self.is_terminal {
            eprint!("\r\x1b[K");
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.task.abort();
        self.clear();
    }
}
