use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::{Counts, Options, Outcome, Simulation};

/// Which seeds to run, and in how many threads.
#[derive(Clone, Copy, Debug)]
pub struct Seeds {
    pub first: u64,
    pub count: u64,
    pub jobs: usize,
    /// Whether the seeds behind one that failed are run as well.
    pub keep_going: bool,
}

/// What many runs have shown.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Runs that have ended.
    pub runs: u64,
    pub steps: u64,
    pub counts: Counts,
    /// Of the runs that failed, by seed.
    pub failures: Vec<Outcome>,
    pub elapsed: Duration,
}

// === impl Seeds ===

impl Seeds {
    /// Runs them all, or up to the first failures: `each` is told of every run as it ends.
    ///
    /// # Errors
    /// When a run cannot be made.
    pub fn run(self, simulation: &Simulation, options: Options, each: impl Fn(&Outcome) + Sync) -> Result<Summary> {
        let started = Instant::now();
        let (next, failed) = (AtomicU64::new(0), AtomicBool::new(false));
        let summary = Mutex::new(Summary::default());
        let work = || -> Result<()> {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= self.count || failed.load(Ordering::Relaxed) {
                    return Ok(());
                }
                let outcome = simulation.run(self.first + number, options)?;
                each(&outcome);
                failed.fetch_or(outcome.failure.is_some() && !self.keep_going, Ordering::Relaxed);
                summary.lock().map_err(|_| anyhow!("a thread has panicked"))?.add(outcome);
            }
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.jobs.max(1)).map(|_| scope.spawn(work)).collect();
            threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow!("a thread has panicked"))?)
        })?;
        let mut summary = summary.into_inner().map_err(|_| anyhow!("a thread has panicked"))?;
        summary.failures.sort_by_key(|outcome| outcome.seed);
        summary.elapsed = started.elapsed();
        Ok(summary)
    }
}

// === impl Summary ===

impl Summary {
    fn add(&mut self, outcome: Outcome) {
        self.runs += 1;
        self.steps += outcome.steps;
        self.counts.add(&outcome.counts);
        if outcome.failure.is_some() {
            self.failures.push(outcome);
        }
    }
}

// === impl Counts ===

impl Counts {
    pub(crate) fn add(&mut self, other: &Self) {
        let Self { faults, provider, orders, .. } = other;
        self.faults.add(faults);
        for (state, count) in orders {
            *self.orders.entry(state).or_insert(0) += count;
        }
        self.provider.calls += provider.calls;
        self.provider.replies_lost += provider.replies_lost;
        self.provider.lost += provider.lost;
        self.provider.late += provider.late;
        self.provider.refused += provider.refused;
        self.refunds += other.refunds;
        self.deaths_with_work += other.deaths_with_work;
        self.requests_cut += other.requests_cut;
        self.repeats += other.repeats;
        self.duplicates += other.duplicates;
        self.gaps += other.gaps;
        self.messages_lost += other.messages_lost;
        self.timers += other.timers;
        self.restarts += other.restarts;
        self.reviews += other.reviews;
        self.looks += other.looks;
    }
}
