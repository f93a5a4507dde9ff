//! What a shadow says while it runs: differences on standard output as they come, everything else on standard error.

use std::io::Write;
use std::time::Instant;

use anyhow::Result;
use pangaea_replay::{Difference, Progress};
use serde_json::json;

use super::metrics::seconds_since;
use super::summary::Summary;
use crate::commands::has_colours;
use crate::commands::ticker::Ticker;

pub(super) struct Teller {
    is_json: bool,
    /// Differences that are still told one by one.
    left: u64,
    away_since: Option<Instant>,
    progress: Progress,
    ticker: Ticker,
}

// === impl Teller ===

impl Teller {
    pub(super) fn start(is_json: bool, keep: u64) -> Self {
        let progress = Progress::default();
        let ticker = Ticker::start("shadowing", None, progress.clone());
        Self { is_json, left: keep, away_since: None, progress, ticker }
    }

    pub(super) fn note(&self, text: &str) {
        self.ticker.clear();
        eprintln!("{text}");
    }

    pub(super) fn progress(&self, inputs: u64) {
        self.progress.fetch_add(inputs, std::sync::atomic::Ordering::Relaxed);
    }

    /// Said once, however often it is tried.
    pub(super) fn is_away(&mut self, reason: &str) {
        if self.away_since.is_none() {
            self.away_since = Some(Instant::now());
            self.note(&format!("waiting for the leader's database: {reason}"));
        }
    }

    pub(super) fn is_there(&mut self) {
        if let Some(since) = self.away_since.take() {
            self.note(&format!("the leader's database is back after {:.1} s", since.elapsed().as_secs_f64()));
        }
    }

    /// # Errors
    /// When standard output is closed: nobody would hear of what differs.
    pub(super) fn difference(&mut self, difference: &Difference) -> Result<()> {
        if self.left == 0 {
            return Ok(());
        }
        self.left -= 1;
        self.ticker.clear();
        let seen_after_s = seconds_since(difference.input.admitted_at);
        let mut out = std::io::stdout().lock();
        if self.is_json {
            writeln!(out, "{}", json!({ "difference": difference, "seen_after_s": seen_after_s }))?;
        } else {
            write!(out, "{}", difference.text(has_colours()))?;
            writeln!(out, "    seen {seen_after_s:.1} s after it was admitted")?;
            if self.left == 0 {
                writeln!(out, "  … more inputs that differ are only counted (--keep)")?;
            }
        }
        Ok(out.flush()?)
    }

    /// # Errors
    /// When standard output is closed.
    pub(super) fn summary(self, summary: &Summary) -> Result<()> {
        drop(self.ticker);
        let mut out = std::io::stdout().lock();
        if self.is_json {
            writeln!(out, "{}", json!({ "summary": summary }))?;
        } else {
            write!(out, "{}", summary.text())?;
        }
        Ok(out.flush()?)
    }
}
