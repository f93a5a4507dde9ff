//! Progress on standard error: a bar on a terminal, a plain line now and then elsewhere.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Plain lines in all, whatever the length of the work.
const PLAIN_LINES: u64 = 10;

/// Counts steps towards a known total.
pub(crate) struct Progress {
    what: &'static str,
    total: u64,
    done: u64,
    bar: Option<ProgressBar>,
}

// === impl Progress ===

impl Progress {
    pub(crate) fn new(what: &'static str, total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{msg} {wide_bar} {human_pos}/{human_len} {per_sec} eta {eta}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.with_message(what)
        });
        Self { what, total, done: 0, bar }
    }

    pub(crate) fn advance(&mut self, steps: u64) {
        let before = self.done;
        self.done += steps;
        match &self.bar {
            Some(bar) => bar.inc(steps),
            None => {
                let share = |done: u64| done * PLAIN_LINES / self.total.max(1);
                if share(self.done) > share(before) {
                    eprintln!("{}: {} of {}", self.what, self.done, self.total);
                }
            }
        }
    }

    /// Says something without tearing the bar.
    pub(crate) fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    pub(crate) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
