//! Whether a module takes another command now, and when a client that is turned away should come again.
//!
//! What has been accepted is finished before more is taken in. So a command is shed when too many wait for the writer,
//! when they would wait for too long, when the module itself is too far behind a log that it reads, when a live reader is
//! too far behind this module's log, or when too many of its effects have no result yet. The last two are one chain:
//!
//! ```text
//! provider slow ─► payment's effects pending ─► its readers pause ─► lag on order's log ─► order sheds
//! ```
//!
//! Only commands are shed. Deliveries, timers and results are what was accepted before: results always find the way in,
//! so that the chain drains by itself.

mod lag;
mod pace;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pangaea_contracts::digest_text;
use pangaea_kernel::{Problem, ProblemKind};
use tokio::sync::watch;

use self::lag::Worst;
pub(crate) use self::lag::{LAG_MIN, Lags};
use self::pace::{Pace, Rate};
use crate::config::Config;

/// Seconds that a client is told to wait, at most: beyond it the estimate says nothing.
const RETRY_AFTER_MAX: u32 = 30;

/// What bounds a module's work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) batch_max: usize,
    pub(crate) queue_max: usize,
    pub(crate) wait_ms_max: u64,
    pub(crate) reader_lag_max: u64,
    pub(crate) reader_lag_ms_max: u64,
    pub(crate) effects_pending_max: usize,
}

/// The state of one module's intake, told by its parts, asked by its queue.
pub(crate) struct Admission {
    bounds: Bounds,
    /// How the writer gets on.
    pace: Mutex<Pace>,
    /// This module as a reader, by source.
    reading: Lags,
    /// The readers of this module's log, by name.
    readers: Arc<Lags>,
    /// The end of that log.
    log_end: watch::Receiver<u64>,
    effects: watch::Sender<usize>,
    results: Mutex<Rate>,
}

/// Why a command is not taken, and how long it will take until what is in its way is done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Shed {
    pub(crate) reason: ShedReason,
    pub(crate) done_in: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShedReason {
    /// As many commands wait as may.
    QueueFull,
    /// Those that wait will take too long.
    Wait,
    /// This module is behind a log that it reads.
    OwnLag,
    /// A reader is behind this module's log.
    ReaderLag,
    /// Effects without a result.
    EffectsPending,
}

/// What the writer did in one batch, for the estimates.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BatchDone {
    pub(crate) elapsed: Duration,
    pub(crate) commands: usize,
    pub(crate) results: usize,
    pub(crate) others: usize,
    /// Of the module, after it.
    pub(crate) effects_pending: usize,
}

// === impl Bounds ===

impl From<&Config> for Bounds {
    fn from(config: &Config) -> Self {
        Self {
            batch_max: config.writer.batch_max,
            queue_max: config.writer.queue_max,
            wait_ms_max: config.writer.wait_ms_max,
            reader_lag_max: config.writer.reader_lag_max,
            reader_lag_ms_max: config.writer.reader_lag_ms_max,
            effects_pending_max: config.effects.pending_max,
        }
    }
}

impl Bounds {
    fn are_exceeded_by(&self, worst: &Worst) -> bool {
        // A few messages say nothing about time: the pace of a reader that had nothing to do is not what it can do.
        let is_late = worst.behind > LAG_MIN && worst.caught_up_in() > Duration::from_millis(self.reader_lag_ms_max);
        worst.behind > self.reader_lag_max || is_late
    }
}

// === impl Admission ===

impl Admission {
    /// `readers` are those of the module's log, as it hears of them, and `log_end` is its end.
    pub(crate) fn new(bounds: Bounds, readers: Arc<Lags>, log_end: watch::Receiver<u64>) -> Self {
        Self {
            pace: Mutex::new(Pace::new(bounds.batch_max)),
            bounds,
            reading: Lags::default(),
            readers,
            log_end,
            effects: watch::Sender::new(0),
            results: Mutex::new(Rate::default()),
        }
    }

    pub(crate) fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// Whether a command may join the `waiting` ones.
    ///
    /// # Errors
    /// What is in its way.
    pub(crate) fn admit(&self, waiting: usize) -> Result<(), Shed> {
        let wait = self.estimated_wait(waiting);
        if waiting >= self.bounds.queue_max {
            return Err(Shed { reason: ShedReason::QueueFull, done_in: wait });
        }
        if wait > Duration::from_millis(self.bounds.wait_ms_max) {
            return Err(Shed { reason: ShedReason::Wait, done_in: wait });
        }
        let now = Instant::now();
        let behind = |reason, lags: &Lags, end| {
            let worst = lags.worst(end, now).filter(|worst| self.bounds.are_exceeded_by(worst))?;
            Some(Shed { reason, done_in: worst.caught_up_in() })
        };
        if let Some(shed) = behind(ShedReason::OwnLag, &self.reading, 0)
            .or_else(|| behind(ShedReason::ReaderLag, &self.readers, *self.log_end.borrow()))
        {
            return Err(shed);
        }
        let pending = *self.effects.borrow();
        if pending >= self.bounds.effects_pending_max {
            let results = self.results.lock().unwrap_or_else(PoisonError::into_inner).per_second(now);
            return Err(Shed { reason: ShedReason::EffectsPending, done_in: pace::time_for(pending as f64, results) });
        }
        Ok(())
    }

    /// How long a command that joins the `waiting` ones will wait for the writer, as batches go at the moment.
    pub(crate) fn estimated_wait(&self, waiting: usize) -> Duration {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner).wait(waiting)
    }

    /// Tells what the writer has just done.
    pub(crate) fn batch_done(&self, batch: BatchDone) {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner).note(&batch, self.bounds.batch_max);
        self.results.lock().unwrap_or_else(PoisonError::into_inner).add(batch.results as u64, Instant::now());
        self.set_effects_pending(batch.effects_pending);
    }

    pub(crate) fn set_effects_pending(&self, pending: usize) {
        self.effects.send_if_modified(|before| std::mem::replace(before, pending) != pending);
    }

    pub(crate) fn effects_pending(&self) -> usize {
        *self.effects.borrow()
    }

    /// Waits until there is room for what deliveries may ask to be performed.
    pub(crate) async fn room_for_effects(&self) {
        let max = self.bounds.effects_pending_max;
        // The sender lives as long as this.
        let _ = self.effects.subscribe().wait_for(|pending| *pending < max).await;
    }

    pub(crate) fn has_room_for_effects(&self) -> bool {
        self.effects_pending() < self.bounds.effects_pending_max
    }

    /// Sets the gauges of what is looked at only when somebody asks.
    pub(crate) fn observe(&self, module: &'static str, waiting: usize) {
        metrics::gauge!("pangaea_commands_waiting", "module" => module).set(waiting as f64);
        let estimated = self.estimated_wait(waiting).as_secs_f64();
        metrics::gauge!("pangaea_command_wait_estimated_seconds", "module" => module).set(estimated);
        metrics::gauge!("pangaea_effects_pending", "module" => module).set(self.effects_pending() as f64);
        for (source, behind) in self.reading.all(0) {
            metrics::gauge!("pangaea_reader_lag", "module" => module, "source" => source).set(behind as f64);
        }
        for (reader, behind) in self.readers.all(*self.log_end.borrow()) {
            metrics::gauge!("pangaea_log_reader_lag", "module" => module, "reader" => reader).set(behind as f64);
        }
    }

    /// Tells that this module has committed `source`'s log up to `position`, of which `end` is the last one known.
    pub(crate) fn has_read(&self, source: &str, position: u64, end: u64) {
        self.reading.note(source, position, end, Instant::now());
    }
}

// === impl Shed ===

impl Shed {
    /// The answer to a command with this id. The id spreads the time to come again, so that those who were turned away
    /// together do not come back together.
    pub(crate) fn into_problem(self, command_id: &str) -> Problem {
        let detail = match self.reason {
            ShedReason::QueueFull | ShedReason::Wait => "too many wait already; nothing was done: come again later",
            ShedReason::OwnLag | ShedReason::ReaderLag | ShedReason::EffectsPending => {
                "what was accepted before is still being finished; nothing was done: come again later"
            }
        };
        Problem::new(ProblemKind::Overloaded, detail).with_retry_after(self.retry_after_seconds(command_id))
    }

    fn retry_after_seconds(self, command_id: &str) -> u32 {
        let seconds = (self.done_in.as_secs_f64().ceil() as u32).clamp(1, RETRY_AFTER_MAX);
        let spread = digest_text(&[command_id.as_bytes()], 8);
        let spread = spread.bytes().fold(0u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
        (seconds + spread % (seconds.div_ceil(2) + 1)).min(RETRY_AFTER_MAX)
    }
}

// === impl ShedReason ===

impl ShedReason {
    /// For the label of a metric.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Wait => "wait",
            Self::OwnLag => "own_lag",
            Self::ReaderLag => "reader_lag",
            Self::EffectsPending => "effects_pending",
        }
    }
}

#[cfg(test)]
mod tests;
