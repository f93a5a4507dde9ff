//! The writer's part: which work goes into a batch, and who is told what of it.

use std::collections::VecDeque;

use pangaea_contracts::Message;
use pangaea_contracts::order::Confirmed;
use pangaea_faults::{Action, Failpoint, reach};
use pangaea_kernel::{BatchResult, Done, ExecutorError, Work};

use crate::Sabotage;
use crate::effects::EffectTask;
use crate::host::{Job, Origin, Up};
use crate::world::World;

/// Jobs of one lane in one batch, at most.
const JOBS_MAX: usize = 8;
/// Tries of a batch that may fail one after the other without a fault that explains it.
const FAILURES_MAX: u32 = 6;
/// With so many deaths in the middle of a batch a module has had enough: three of one input would bury it.
const DEATHS_IN_BATCH_MAX: u32 = 2;

/// Points that a batch passes, or its commit.
const POINTS: [Failpoint; 13] = [
    Failpoint::TakeBefore,
    Failpoint::TakeAfter,
    Failpoint::HandlerBefore,
    Failpoint::HandlerAfter,
    Failpoint::OutboxBefore,
    Failpoint::OutboxAfter,
    Failpoint::CommitBefore,
    Failpoint::CommitAfter,
    Failpoint::TimerBefore,
    Failpoint::TimerAfter,
    Failpoint::AckBefore,
    Failpoint::AckAfter,
    Failpoint::TryAfter,
];

// === impl World: batches ===

impl World {
    /// Hosts whose writer has something to do.
    pub(crate) fn writers_with_work(&self) -> Vec<usize> {
        let has_work = |host: &crate::host::Host| host.up.as_ref().is_some_and(|up| up.has_work(host.now(self.now_ms)));
        self.hosts.iter().enumerate().filter(|(_, host)| has_work(host)).map(|(index, _)| index).collect()
    }

    /// Runs one batch of a module, which a fault may interrupt.
    ///
    /// # Errors
    /// When the simulation finds something wrong.
    pub(crate) async fn run_batch(&mut self, index: usize) -> Result<(), String> {
        let Some(up) = &mut self.hosts[index].up else { return Ok(()) };
        let jobs = match up.again.take() {
            Some(jobs) => jobs,
            None if self.calm => up.take(usize::MAX, usize::MAX, usize::MAX),
            None => {
                let mut lane = || self.random.index(JOBS_MAX + 1);
                up.take(lane(), lane(), lane())
            }
        };
        let jobs = self.spoil(jobs);
        self.set_a_fault(index);
        let ran = self.run(index, &jobs).await;
        self.crashes.disarm();
        if self.bury_the_dead(index, true) {
            return Ok(());
        }
        let name = self.hosts[index].name;
        match ran {
            Ok(Some(result)) => self.tell(index, jobs, result),
            Ok(None) | Err(ExecutorError::Transient(_)) => {
                let failure = self.note_failure();
                let told = failure.map_or_else(|| "again".to_owned(), |point| format!("failed at {point}"));
                self.step(&format!("batch of {name}: {told}"));
                let Some(up) = &mut self.hosts[index].up else { return Ok(()) };
                up.failures_in_a_row += 1;
                up.again = Some(jobs);
                match ran {
                    Err(error) if up.failures_in_a_row > FAILURES_MAX => Err(format!("{name} cannot commit: {error}")),
                    _ => Ok(()),
                }
            }
            Err(ExecutorError::Fatal(error)) => Err(format!("{name} stops leading: {error}")),
        }
    }

    async fn run(&mut self, index: usize, jobs: &[Job]) -> Result<Option<BatchResult>, ExecutorError> {
        let host = &mut self.hosts[index];
        let now = host.now(self.now_ms);
        let Some(up) = &mut host.up else { return Ok(None) };
        if reach(Failpoint::TakeBefore).await.is_err() || reach(Failpoint::TakeAfter).await.is_err() {
            return Ok(None);
        }
        let work: Vec<Work> = jobs.iter().flat_map(|job| job.work.iter().cloned()).collect();
        let result = up.executor.run(&work, now).await?;
        up.failures_in_a_row = 0;
        // The broker's state is a convenience: an acknowledgement that fails is made up for by the next.
        if jobs.iter().any(|job| matches!(job.from, Origin::Reader { .. })) {
            let _ = reach(Failpoint::AckBefore).await;
            let _ = reach(Failpoint::AckAfter).await;
        }
        if jobs.iter().any(|job| matches!(job.from, Origin::Try(_))) {
            let _ = reach(Failpoint::TryAfter).await;
        }
        Ok(Some(result))
    }

    /// In a quarter of the batches of a rough time something happens on the way.
    fn set_a_fault(&mut self, index: usize) {
        if self.calm || !self.random.chance(12) {
            return;
        }
        let Some(point) = self.random.pick(&POINTS).copied() else { return };
        let tired = self.hosts.iter().any(|host| host.deaths_in_batch >= DEATHS_IN_BATCH_MAX);
        let together = self.together && tired;
        let alone = !self.together && self.hosts[index].deaths_in_batch >= DEATHS_IN_BATCH_MAX;
        let dies = self.random.chance(60) && !together && !alone;
        let action = if dies { Action::Crash } else { Action::Fail };
        self.crashes.arm(point, self.random.between(1, 3) as u32, action);
    }

    /// What a planted bug of the simulation itself does to a batch before it runs.
    fn spoil(&mut self, mut jobs: Vec<Job>) -> Vec<Job> {
        if self.sabotage == Some(Sabotage::AckBeforeCommit) && !self.calm && self.random.chance(20) {
            // Acknowledged and never run: the broker will not bring it again, and the reader believes that it is done.
            for job in &mut jobs {
                if let Origin::Reader { .. } = job.from {
                    job.work.retain(|work| matches!(work, Work::Advance { .. }));
                    for work in &mut job.work {
                        if let Work::Advance { after, .. } = work {
                            *after = 0;
                        }
                    }
                }
            }
        }
        jobs
    }

    fn tell(&mut self, index: usize, jobs: Vec<Job>, result: BatchResult) -> Result<(), String> {
        let name = self.hosts[index].name;
        let BatchResult { done, log, effects, timers_fired, refusals_after_write } = result;
        let works: usize = jobs.iter().map(|job| job.work.len()).sum();
        let said: Vec<&str> = log.iter().map(|message| message.subject.as_str()).collect();
        self.step(&format!("batch of {name}: {works} works, {timers_fired} timers, says {}", said.join(" ")));
        for message in &log {
            self.trace.add(&message.id);
            self.trace.add(&message.payload);
            if message.subject == Confirmed::SUBJECT {
                self.clients.confirmed.extend(message.key.parse());
            }
        }
        self.counts.timers += u64::from(timers_fired);
        if refusals_after_write > 0 {
            return Err(format!("{name} has refused a command after it had written something"));
        }
        if done.len() != works {
            return Err(format!("{name} has answered {} of {works} pieces of work", done.len()));
        }
        if let Some(up) = &mut self.hosts[index].up {
            up.effects.extend(effects.into_iter().map(|row| (row.id.clone(), EffectTask::new(row))));
        }
        let mut done = done.into_iter();
        for job in jobs {
            let part: Vec<Done> = done.by_ref().take(job.work.len()).collect();
            self.tell_one(index, &job, part)?;
        }
        Ok(())
    }

    fn tell_one(&mut self, index: usize, job: &Job, done: Vec<Done>) -> Result<(), String> {
        let name = self.hosts[index].name;
        let told: Vec<String> = done.iter().map(|one| format!("{one:?}")).collect();
        self.trace.add(&told.join(" "));
        if let Some(work) = done.iter().position(|one| *one == Done::Dead) {
            return Err(format!("{name} has buried {:?}", job.work[work]));
        }
        let Some(up) = &mut self.hosts[index].up else { return Ok(()) };
        match &job.from {
            Origin::Client(request) => {
                let Some(Done::Answered(answer)) = done.into_iter().next() else {
                    return Err(format!("{name} has not answered a command"));
                };
                self.clients.answered(*request, answer)
            }
            Origin::Reader { source, seen } => {
                let cursor = up.executor.cursor(source).map_or(0, |row| row.position);
                let Some(reader) = up.readers.get_mut(source) else { return Ok(()) };
                let mut seen = reader.seen.max(*seen).max(cursor);
                for one in done {
                    match one {
                        Done::Gap { .. } => {
                            self.counts.gaps += 1;
                            seen = cursor;
                        }
                        Done::Duplicate => self.counts.duplicates += 1,
                        Done::LogReset { expected } => return Err(format!("{name} expects the log {expected}")),
                        _ => {}
                    }
                }
                *reader = crate::host::Reader { cursor, seen, busy: false };
                Ok(())
            }
            Origin::Try(id) => {
                match (done.into_iter().next(), up.effects.get_mut(id)) {
                    (Some(Done::Tried(Some(row))), Some(task)) => task.recorded(row),
                    _ => drop(up.effects.remove(id)),
                }
                Ok(())
            }
            Origin::Result(id) => {
                up.effects.remove(id);
                Ok(())
            }
            Origin::Settings => Ok(()),
        }
    }
}

// === impl Up: taking work ===

impl Up {
    fn take(&mut self, results: usize, deliveries: usize, commands: usize) -> Vec<Job> {
        fn first(lane: &mut VecDeque<Job>, jobs: usize) -> impl Iterator<Item = Job> + '_ {
            let jobs = jobs.min(lane.len());
            lane.drain(..jobs)
        }
        let results = first(&mut self.results, results);
        results.chain(first(&mut self.deliveries, deliveries)).chain(first(&mut self.commands, commands)).collect()
    }
}
