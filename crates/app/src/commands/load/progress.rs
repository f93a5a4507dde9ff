//! Progress on standard error: a line that moves on a terminal, plain lines now and then elsewhere.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::task::JoinHandle;
use tokio::time::Instant;

const ON_TERMINAL: Duration = Duration::from_millis(200);
const ELSEWHERE: Duration = Duration::from_secs(5);

/// What has happened so far, counted where it happens.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) sent: AtomicU64,
    pub(crate) accepted: AtomicU64,
    pub(crate) not_accepted: AtomicU64,
}

/// Shows [`Counters`] until it is dropped.
pub(crate) struct Progress(Option<JoinHandle<()>>);

// === impl Progress ===

impl Progress {
    pub(crate) fn start(counters: Arc<Counters>, wanted: bool) -> Self {
        Self(wanted.then(|| tokio::spawn(show(counters))))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

async fn show(counters: Arc<Counters>) {
    let begun = Instant::now();
    let bar = std::io::stderr().is_terminal().then(|| {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_style(
            ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        // Whatever ends the task, the line does not stay.
        ClearedBar(bar)
    });
    loop {
        tokio::time::sleep(if bar.is_some() { ON_TERMINAL } else { ELSEWHERE }).await;
        let [sent, accepted, not_accepted] =
            [&counters.sent, &counters.accepted, &counters.not_accepted].map(|counter| counter.load(Ordering::Relaxed));
        let seconds = begun.elapsed().as_secs_f64();
        let text = format!(
            "{seconds:.0} s: {sent} sent, {accepted} accepted ({:.0}/s), {not_accepted} not",
            accepted as f64 / seconds.max(0.001)
        );
        match &bar {
            Some(ClearedBar(bar)) => {
                bar.set_message(text);
                bar.tick();
            }
            None => eprintln!("load: {text}"),
        }
    }
}

struct ClearedBar(ProgressBar);

impl Drop for ClearedBar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
