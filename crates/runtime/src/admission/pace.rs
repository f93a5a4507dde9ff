use std::time::{Duration, Instant};

use super::BatchDone;

/// Estimates follow what happened in about this time.
const MEMORY_S: f64 = 1.0;
/// Commands that may always wait. However slow the writer is, it must get something to be fast with again.
const ALWAYS: usize = 8;
/// What happens in less than this is one sample.
const SAMPLE: Duration = Duration::from_millis(500);
/// For what does not move at all.
const LONG: Duration = Duration::from_secs(3_600);

/// How the writer gets through its queue: by batches, whose duration depends little on what is in them. A rate of commands
/// was rejected: a quiet store commits batches of one, from which a rate would learn that it can do very little.
#[derive(Debug)]
pub(super) struct Pace {
    /// Of a batch, in seconds.
    duration_s: f64,
    /// Commands that a batch has room for, beside what goes before them.
    room: f64,
}

/// Something done a second, lately.
#[derive(Debug, Default)]
pub(super) struct Rate {
    per_second: f64,
    counted: u64,
    since: Option<Instant>,
}

/// How long `amount` takes at `per_second`.
pub(super) fn time_for(amount: f64, per_second: f64) -> Duration {
    Duration::try_from_secs_f64(amount / per_second).unwrap_or(LONG).min(LONG)
}

// === impl Pace ===

impl Pace {
    pub(super) fn new(batch_max: usize) -> Self {
        Self { duration_s: 0.0, room: batch_max as f64 }
    }

    pub(super) fn note(&mut self, batch: &BatchDone, batch_max: usize) {
        let others = batch.others + batch.results;
        // The share that commands always get, and what the others left.
        let room = batch_max.saturating_sub(others).max(batch_max / 8).max(batch.commands).max(1);
        let elapsed_s = batch.elapsed.as_secs_f64();
        // By time and not by number: one long batch tells as much as many short ones, and tells it at once.
        let weight = 1.0 - (-elapsed_s / MEMORY_S).exp();
        self.duration_s += (elapsed_s - self.duration_s) * weight;
        self.room += (room as f64 - self.room) * weight;
    }

    pub(super) fn wait(&self, waiting: usize) -> Duration {
        if waiting < ALWAYS {
            return Duration::ZERO;
        }
        // Half of the batch under way, on the average, and then those that it takes.
        let batches = 0.5 + waiting as f64 / self.room;
        Duration::try_from_secs_f64(batches * self.duration_s).unwrap_or(LONG)
    }
}

// === impl Rate ===

impl Rate {
    pub(super) fn add(&mut self, count: u64, now: Instant) {
        self.counted = self.counted.saturating_add(count);
        self.sample(now);
    }

    pub(super) fn per_second(&mut self, now: Instant) -> f64 {
        self.sample(now);
        self.per_second
    }

    fn sample(&mut self, now: Instant) {
        let since = *self.since.get_or_insert(now);
        let elapsed = now.saturating_duration_since(since);
        if elapsed < SAMPLE {
            return;
        }
        let rate = self.counted as f64 / elapsed.as_secs_f64();
        // A first sample, or one after a long silence, stands for itself.
        let weight = if self.per_second == 0.0 || elapsed > 10 * SAMPLE { 1.0 } else { 0.5 };
        self.per_second += (rate - self.per_second) * weight;
        (self.counted, self.since) = (0, Some(now));
    }
}
