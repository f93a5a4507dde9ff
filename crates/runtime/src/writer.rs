use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pangaea_faults::{Failpoint, reach};
use pangaea_journal::Kind;
use pangaea_kernel::{BatchResult, Clock, Done, Executor, ExecutorError, Input, InputKind, LetterOutcome, Work};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::admission::{Admission, BatchDone};
use crate::effects::EffectInbox;
use crate::handling::Waits;
use crate::module_log::ModuleLog;
use crate::queue::{Job, Lanes, Wake};
use crate::telemetry::spans::{Spans, now};

const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const SWEEP_EVERY: Duration = Duration::from_secs(600);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
const HEARTBEAT_EVERY: Duration = Duration::from_millis(250);

/// Drives a module's executor: takes what waits, runs it as one batch, then answers and wakes.
pub(crate) struct WriterTask {
    pub(crate) module: &'static str,
    pub(crate) executor: Executor,
    pub(crate) lanes: Lanes,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) log: Arc<ModuleLog>,
    pub(crate) effects: EffectInbox,
    /// Is told how the work gets on.
    pub(crate) admission: Arc<Admission>,
    /// The end of the inbox, for those who wait for a change.
    pub(crate) changes: Changes,
    pub(crate) spans: Spans,
    /// What the executor's observer is told of a batch before it runs.
    pub(crate) waits: Waits,
    /// When expired secrets were last removed: along with a batch, because nobody waits for it.
    pub(crate) swept: Option<Instant>,
    /// Ends with this token: what waits then is still handled.
    pub(crate) drain: CancellationToken,
}

// === impl WriterTask ===

impl WriterTask {
    /// Runs until it is drained, or until another leader has taken over.
    ///
    /// # Errors
    /// When this writer must not write any more.
    pub(crate) async fn run(mut self) -> Result<(), ExecutorError> {
        let mut draining = false;
        let outcome = loop {
            if let Err(injected) = reach(Failpoint::TakeBefore).await {
                break Err(ExecutorError::Fatal(injected.into()));
            }
            let next_timer = self.executor.next_timer().filter(|_| !draining);
            let drain = self.drain.clone();
            let wake = tokio::select! {
                biased;
                () = drain.cancelled(), if !draining => {
                    draining = true;
                    self.lanes.close();
                    continue;
                }
                wake = self.lanes.take(&*self.clock, next_timer) => wake,
                () = tokio::time::sleep(HEARTBEAT_EVERY), if self.has_heartbeat() => {
                    if let Err(error) = self.heartbeat().await {
                        break Err(error);
                    }
                    continue;
                }
            };
            if let Err(injected) = reach(Failpoint::TakeAfter).await {
                break Err(ExecutorError::Fatal(injected.into()));
            }
            let jobs = match wake {
                Wake::Jobs(jobs) => jobs,
                Wake::TimerDue if next_timer.is_some_and(|due| due <= self.clock.now()) => Vec::new(),
                Wake::TimerDue => continue,
                Wake::Closed => break Ok(()),
            };
            if let Err(error) = self.batch(jobs).await {
                break Err(error);
            }
        };
        match outcome {
            Ok(()) => {
                // Everything taken is committed; without the note the next start only takes more care than it had to.
                if let Err(error) = self.executor.stop().await {
                    tracing::warn!(module = self.module, %error, "the clean stop could not be noted");
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn has_heartbeat(&self) -> bool {
        self.executor.writer().database().kind() == Kind::Postgres
    }

    /// A word to the server, which would else take this leader for dead. A server that is away is waited for.
    async fn heartbeat(&mut self) -> Result<(), ExecutorError> {
        match self.executor.heartbeat().await {
            Err(ExecutorError::Transient(error)) => {
                tracing::warn!(module = self.module, %error, "the writing connection");
                Ok(())
            }
            other => other,
        }
    }

    /// Runs jobs to their commit, however long the database is away, then tells everybody.
    async fn batch(&mut self, mut jobs: Vec<Job>) -> Result<(), ExecutorError> {
        if self.spans.is_on() {
            jobs.iter().for_each(|job| self.waits.begin(&self.spans, &job.work, job.queued_at));
        }
        let replies: Vec<_> = jobs.iter_mut().map(|job| (job.work.len(), job.reply.take())).collect();
        let mut work: Vec<Work> = jobs.into_iter().flat_map(|job| job.work).collect();
        if self.swept.is_none_or(|swept| swept.elapsed() > SWEEP_EVERY) {
            work.push(Work::SweepSecrets);
            self.swept = Some(Instant::now());
        }
        let mut backoff = BACKOFF_FIRST;
        let mut started = Instant::now();
        let result = loop {
            match self.executor.run(&work, self.clock.now()).await {
                Ok(result) => break result,
                Err(ExecutorError::Transient(error)) => {
                    tracing::warn!(module = self.module, %error, retry_in_ms = backoff.as_millis() as u64, "a batch could not be committed");
                    metrics::counter!("pangaea_batch_retries_total", "module" => self.module).increment(1);
                    let paused = now();
                    tokio::time::sleep(backoff).await;
                    self.waits.backed_off(paused);
                    // A session that is silent for longer is ended by the server.
                    backoff = (backoff * 2).min(if self.has_heartbeat() { HEARTBEAT_EVERY } else { BACKOFF_MAX });
                    // A database that was away says nothing about how long a batch takes.
                    started = Instant::now();
                }
                Err(fatal) => return Err(fatal),
            }
        };
        self.waits.end();
        self.observe(&work, &result, started.elapsed());
        self.tell(replies, result);
        Ok(())
    }

    fn tell(&self, replies: Vec<(usize, Option<oneshot::Sender<Vec<Done>>>)>, result: BatchResult) {
        let head = self.executor.writer().head();
        self.log.push(result.log, head.outbox_end);
        self.changes.tell(head.inbox_end);
        self.effects.push(result.effects);
        let mut done = result.done.into_iter();
        for (count, reply) in replies {
            let part = done.by_ref().take(count).collect();
            if let Some(reply) = reply {
                // Whoever went away does not undo the work.
                let _ = reply.send(part);
            }
        }
    }

    fn observe(&self, work: &[Work], result: &BatchResult, elapsed: Duration) {
        let module = self.module;
        self.admission.batch_done(batch_done(work, elapsed, self.executor.effects_pending()));
        metrics::histogram!("pangaea_batch_size", "module" => module).record(work.len() as f64);
        metrics::histogram!("pangaea_batch_duration_seconds", "module" => module).record(elapsed.as_secs_f64());
        metrics::counter!("pangaea_timers_fired_total", "module" => module).increment(u64::from(result.timers_fired));
        metrics::counter!("pangaea_refusals_after_write_total", "module" => module)
            .increment(u64::from(result.refusals_after_write));
        for (kind, count) in count_done(&result.done) {
            metrics::counter!("pangaea_inputs_total", "module" => module, "outcome" => kind).increment(count);
        }
        let head = self.executor.writer().head();
        metrics::gauge!("pangaea_inbox_end", "module" => module).set(head.inbox_end as f64);
        metrics::gauge!("pangaea_outbox_end", "module" => module).set(head.outbox_end as f64);
        metrics::gauge!("pangaea_dead_letters", "module" => module).set(f64::from(self.executor.dead_letters()));
        metrics::gauge!("pangaea_parked_keys", "module" => module).set(self.executor.parked_keys() as f64);
        for cursor in self.executor.cursors() {
            let (reader, source) = (cursor.reader.clone(), cursor.source.clone());
            let gauge = metrics::gauge!("pangaea_cursor", "module" => module, "reader" => reader, "source" => source);
            gauge.set(cursor.position as f64);
        }
    }
}

/// Wakes those who wait for a commit. Closing it at the drain ends their waits, so that an event stream or a
/// `Prefer: wait` does not hold the stop up.
#[derive(Clone)]
pub(crate) struct Changes(Arc<Mutex<Option<watch::Sender<u64>>>>);

// === impl Changes ===

impl Changes {
    pub(crate) fn new(inbox_end: u64) -> (Self, watch::Receiver<u64>) {
        let (sender, receiver) = watch::channel(inbox_end);
        (Self(Arc::new(Mutex::new(Some(sender)))), receiver)
    }

    pub(crate) fn close(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// A standby tells what it reads, which may come late: the end never goes back.
    pub(crate) fn tell(&self, inbox_end: u64) {
        if let Some(sender) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            sender.send_if_modified(|end| inbox_end > std::mem::replace(end, inbox_end.max(*end)));
        }
    }
}

fn batch_done(work: &[Work], elapsed: Duration, effects_pending: usize) -> BatchDone {
    let mut done = BatchDone { elapsed, effects_pending, ..BatchDone::default() };
    for one in work {
        match one {
            Work::Input(Input { kind: InputKind::Command { .. }, .. }) => done.commands += 1,
            Work::Input(Input { kind: InputKind::EffectResult { .. }, .. }) => done.results += 1,
            _ => done.others += 1,
        }
    }
    done
}

fn count_done(done: &[Done]) -> [(&'static str, u64); 4] {
    let mut counts = [("answered", 0), ("handled", 0), ("duplicate", 0), ("dead", 0)];
    for one in done {
        let index = match one {
            Done::Answered(_) => 0,
            // A step of a rebuild is no input.
            Done::Rebuild(_) => continue,
            Done::Handled | Done::Tried(_) | Done::Letter(LetterOutcome::Redriven | LetterOutcome::Abandoned) => 1,
            Done::Dead | Done::Letter(LetterOutcome::FailedAgain { .. }) => 3,
            Done::Duplicate | Done::Gap { .. } | Done::LogReset { .. } | Done::Letter(_) => 2,
        };
        counts[index].1 += 1;
    }
    counts
}
