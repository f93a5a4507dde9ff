//! How far work has come that others do, on standard error, when it takes long enough to be asked about.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::task::JoinHandle;

use super::status_line::StatusLine;

/// Tells of a counter that others move, until it is dropped.
pub(super) struct Ticker {
    task: JoinHandle<()>,
    line: Arc<Mutex<StatusLine>>,
}

// === impl Ticker ===

impl Ticker {
    /// `total` is `None` where nobody knows it.
    pub(super) fn start(what: &'static str, total: Option<u64>, counter: Arc<AtomicU64>) -> Self {
        let line = StatusLine::new();
        let every = line.every();
        let line = Arc::new(Mutex::new(line));
        let shown = line.clone();
        let task = tokio::spawn(async move {
            let begun = Instant::now();
            loop {
                tokio::time::sleep(every).await;
                let done = counter.load(Ordering::Relaxed);
                shown.lock().unwrap_or_else(PoisonError::into_inner).show(|| {
                    let of = total.map(|total| format!(" of {total} ({} %)", done * 100 / total.max(1)));
                    let rate = done as f64 / begun.elapsed().as_secs_f64();
                    format!("{what}: {done} inputs{}, {rate:.0}/s", of.unwrap_or_default())
                });
            }
        });
        Self { task, line }
    }

    /// Makes room for a line of somebody else's.
    pub(super) fn clear(&self) {
        self.line.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.task.abort();
        self.clear();
    }
}
