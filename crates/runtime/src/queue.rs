use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use pangaea_contracts::Timestamp;
use pangaea_kernel::{Clock, Done, Work};
use tokio::sync::{mpsc, oneshot};

use crate::admission::{Admission, Shed, ShedReason};
use crate::telemetry::spans::now;
use crate::waiting::wait_until;

/// Payloads of commands that may wait, together: their number alone would let a few thousand large ones fill the memory.
const COMMAND_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What waits for the writer, in three lanes: what has been accepted is finished before more is taken in.
///
/// Results of effects and deliveries go first; commands from HTTP get at least an eighth of every batch.
#[derive(Clone)]
pub(crate) struct Queue {
    results: mpsc::Sender<Job>,
    deliveries: mpsc::Sender<Job>,
    commands: mpsc::Sender<Job>,
    command_bytes: Arc<AtomicUsize>,
    admission: Arc<Admission>,
}

/// Work that belongs together, and who waits for it.
pub(crate) struct Job {
    pub(crate) work: Vec<Work>,
    pub(crate) reply: Option<oneshot::Sender<Vec<Done>>>,
    pub(crate) queued_at: SystemTime,
}

/// The writer's end of the queue.
pub(crate) struct Lanes {
    results: mpsc::Receiver<Job>,
    deliveries: mpsc::Receiver<Job>,
    commands: mpsc::Receiver<Job>,
    command_bytes: Arc<AtomicUsize>,
    batch_max: usize,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum QueueError {
    #[error("too much is waiting already")]
    Shed(Shed),
    #[error("the writer has stopped")]
    Stopped,
}

/// Why the wait for work ended.
pub(crate) enum Wake {
    Jobs(Vec<Job>),
    TimerDue,
    /// All senders are gone.
    Closed,
}

// === impl Queue ===

impl Queue {
    pub(crate) fn new(admission: Arc<Admission>) -> (Self, Lanes) {
        let (queue_max, batch_max) = (admission.bounds().queue_max, admission.bounds().batch_max);
        let (results, results_end) = mpsc::channel(queue_max);
        // A source has one batch under way, so a small lane is enough for any number of them.
        let (deliveries, deliveries_end) = mpsc::channel(64);
        let (commands, commands_end) = mpsc::channel(queue_max);
        let command_bytes = Arc::new(AtomicUsize::new(0));
        let lanes = Lanes {
            results: results_end,
            deliveries: deliveries_end,
            commands: commands_end,
            command_bytes: command_bytes.clone(),
            batch_max,
        };
        (Self { results, deliveries, commands, command_bytes, admission }, lanes)
    }

    /// Admits a command, or sheds it at once.
    ///
    /// # Errors
    /// What is in its way.
    pub(crate) fn command(&self, work: Work) -> Result<oneshot::Receiver<Vec<Done>>, QueueError> {
        self.admission.admit(self.commands_waiting()).map_err(QueueError::Shed)?;
        let bytes = bytes_of(&work);
        let (job, reply) = Job::with_reply(vec![work]);
        let full = || {
            let done_in = self.admission.estimated_wait(self.commands_waiting());
            QueueError::Shed(Shed { reason: ShedReason::QueueFull, done_in })
        };
        let waiting = self.command_bytes.fetch_add(bytes, Ordering::Relaxed);
        let sent = if waiting + bytes > COMMAND_BYTES_MAX && waiting > 0 {
            Err(full())
        } else {
            self.commands.try_send(job).map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => full(),
                mpsc::error::TrySendError::Closed(_) => QueueError::Stopped,
            })
        };
        if let Err(error) = sent {
            self.command_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(error);
        }
        Ok(reply)
    }

    pub(crate) fn admission(&self) -> &Arc<Admission> {
        &self.admission
    }

    pub(crate) async fn delivery(&self, work: Vec<Work>) -> Result<Vec<Done>, QueueError> {
        Self::send(&self.deliveries, work).await
    }

    pub(crate) async fn result(&self, work: Work) -> Result<Vec<Done>, QueueError> {
        Self::send(&self.results, vec![work]).await
    }

    pub(crate) fn commands_waiting(&self) -> usize {
        self.commands.max_capacity() - self.commands.capacity()
    }

    async fn send(lane: &mpsc::Sender<Job>, work: Vec<Work>) -> Result<Vec<Done>, QueueError> {
        let (job, reply) = Job::with_reply(work);
        lane.send(job).await.map_err(|_| QueueError::Stopped)?;
        reply.await.map_err(|_| QueueError::Stopped)
    }
}

// === impl Job ===

impl Job {
    fn with_reply(work: Vec<Work>) -> (Self, oneshot::Receiver<Vec<Done>>) {
        let (reply, receiver) = oneshot::channel();
        (Self { work, reply: Some(reply), queued_at: now() }, receiver)
    }
}

fn bytes_of(work: &Work) -> usize {
    match work {
        Work::Input(input) => input.payload.len(),
        _ => 0,
    }
}

// === impl Lanes ===

impl Lanes {
    /// Waits for work, or until the next timer is due, and takes what is waiting, up to the batch's bound.
    pub(crate) async fn take(&mut self, clock: &dyn Clock, next_timer: Option<Timestamp>) -> Wake {
        let timer = async {
            match next_timer {
                Some(due) => wait_until(clock, due).await,
                None => std::future::pending().await,
            }
        };
        let first = tokio::select! {
            biased;
            Some(job) = self.results.recv() => job,
            Some(job) = self.deliveries.recv() => job,
            Some(job) = self.commands.recv() => {
                self.taken(&job);
                job
            }
            () = timer, if next_timer.is_some() => return Wake::TimerDue,
            else => return Wake::Closed,
        };
        Wake::Jobs(self.fill(first))
    }

    fn fill(&mut self, first: Job) -> Vec<Job> {
        let mut taken = first.work.len();
        let mut jobs = vec![first];
        let commands_share = (self.batch_max / 8).max(1);
        let before_commands = self.batch_max.saturating_sub(commands_share);
        for lane in [&mut self.results, &mut self.deliveries] {
            while taken < before_commands {
                let Ok(job) = lane.try_recv() else { break };
                taken += job.work.len();
                jobs.push(job);
            }
        }
        let mut commands = 0;
        while taken < self.batch_max || commands < commands_share {
            let Ok(job) = self.commands.try_recv() else { break };
            self.taken(&job);
            taken += job.work.len();
            commands += 1;
            jobs.push(job);
        }
        jobs
    }

    fn taken(&self, command: &Job) {
        self.command_bytes.fetch_sub(command.work.iter().map(bytes_of).sum(), Ordering::Relaxed);
    }

    /// No more work is admitted; what waits is still handled.
    pub(crate) fn close(&mut self) {
        self.results.close();
        self.deliveries.close();
        self.commands.close();
    }
}

#[cfg(test)]
mod tests {
    use pangaea_contracts::Actor;
    use pangaea_kernel::{Input, InputKind, ManualClock};
    use tokio::sync::watch;

    use super::*;
    use crate::admission::Bounds;

    fn work() -> Work {
        Work::SweepSecrets
    }

    fn command(bytes: usize) -> Work {
        Work::Input(Input {
            id: "cmd_1".to_owned(),
            kind: InputKind::Command { fingerprint: String::new() },
            subject: "order.rpc.place.v1".to_owned(),
            key: "ord_1".to_owned(),
            causation_id: "cmd_1".to_owned(),
            correlation_id: "cmd_1".to_owned(),
            actor: Actor::system(),
            traceparent: None,
            payload: " ".repeat(bytes),
            secrets: Vec::new(),
        })
    }

    fn queue(queue_max: usize) -> (Queue, Lanes) {
        let bounds = Bounds {
            batch_max: 64,
            queue_max,
            wait_ms_max: 1_000,
            reader_lag_max: 5_000,
            reader_lag_ms_max: 5_000,
            effects_pending_max: 100,
        };
        Queue::new(Arc::new(Admission::new(bounds, Arc::default(), watch::channel(0).1)))
    }

    fn is_full(outcome: Result<oneshot::Receiver<Vec<Done>>, QueueError>) -> bool {
        matches!(outcome, Err(QueueError::Shed(Shed { reason: ShedReason::QueueFull, .. })))
    }

    #[tokio::test]
    async fn commands_get_their_eighth_and_the_rest_goes_first() {
        let (queue, mut lanes) = queue(1_000);
        for _ in 0..200 {
            let (results, commands) = (queue.results.clone(), queue.commands.clone());
            results.try_send(Job { work: vec![work()], reply: None, queued_at: now() }).map_err(drop).unwrap();
            commands.try_send(Job { work: vec![work(), work()], reply: None, queued_at: now() }).map_err(drop).unwrap();
        }
        let Wake::Jobs(jobs) = lanes.take(&ManualClock::default(), None).await else { panic!("there is work") };
        let commands = jobs.iter().filter(|job| job.work.len() == 2).count();
        assert_eq!((jobs.len() - commands, commands), (56, 8));
    }

    #[tokio::test]
    async fn a_full_lane_refuses_commands_at_once() {
        let (queue, _lanes) = queue(2);
        let _first = queue.command(work()).unwrap();
        let _second = queue.command(work()).unwrap();
        assert!(is_full(queue.command(work())));
        assert_eq!(queue.commands_waiting(), 2);
    }

    #[tokio::test]
    async fn large_commands_fill_the_lane_by_their_bytes_until_they_are_taken() {
        let (queue, mut lanes) = queue(1_000);
        let large = COMMAND_BYTES_MAX / 2;
        let _first = queue.command(command(large)).unwrap();
        let _second = queue.command(command(large)).unwrap();
        assert!(is_full(queue.command(command(1))));
        let Wake::Jobs(jobs) = lanes.take(&ManualClock::default(), None).await else { panic!("there is work") };
        assert_eq!(jobs.len(), 2);
        let _third = queue.command(command(COMMAND_BYTES_MAX + 1)).expect("one alone is bounded by its request");
        assert!(is_full(queue.command(command(1))));
    }
}
