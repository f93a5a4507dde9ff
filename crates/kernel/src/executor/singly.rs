//! Inputs that run alone: after a batch was undone, and after an unclean stop.

use pangaea_contracts::Timestamp;
use pangaea_journal::{JournalError, TimerRow};

use super::batch::Batch;
use super::{ATTEMPTS_MAX, BatchResult, Executor, ExecutorError, TIMERS_PER_BATCH, Work, timer_input};
use crate::{Input, InputKind};

impl Executor {
    /// Every piece of work in a transaction of its own; what fails alone becomes a dead letter.
    pub(super) async fn run_singly(
        &mut self,
        work: &[Work],
        now: Timestamp,
        record: bool,
    ) -> Result<BatchResult, ExecutorError> {
        let mut result = BatchResult::default();
        for _ in 0..TIMERS_PER_BATCH {
            if self.state.next_timer.is_none_or(|due| due > now) {
                break;
            }
            let fired = self.run_one_alone(None, now, record).await;
            let fired = self.keeping(&mut result, fired)?;
            result.absorb(BatchResult { done: Vec::new(), ..fired });
        }
        for one in work {
            let part = if one.runs_alone() {
                self.run_alone(one, now).await
            } else {
                self.run_one_alone(Some(one.clone()), now, record).await
            };
            let part = self.keeping(&mut result, part)?;
            result.absorb(part);
        }
        Ok(result)
    }

    /// When a part fails, the effects of the parts that were committed before it are told with the next batch.
    pub(super) fn keeping<T>(
        &mut self,
        before: &mut BatchResult,
        part: Result<T, ExecutorError>,
    ) -> Result<T, ExecutorError> {
        if part.is_err() {
            self.unsent.append(&mut before.effects);
        }
        part
    }

    /// `None` stands for the first timer that is due.
    async fn run_one_alone(
        &mut self,
        one: Option<Work>,
        now: Timestamp,
        record: bool,
    ) -> Result<BatchResult, ExecutorError> {
        let work: Vec<Work> = one.into_iter().collect();
        let input = match work.first() {
            Some(Work::Input(input)) => Some(input.clone()),
            Some(_) => None,
            None => match self.first_timer_due(now).await? {
                Some(timer) => Some(timer_input(&timer)),
                None => {
                    // The one that was awaited has been cancelled or moved.
                    let next = self.cx.writer.database().next_timer().await;
                    self.state.next_timer = next.map_err(ExecutorError::Transient)?;
                    return Ok(BatchResult::default());
                }
            },
        };
        let mut attempts = 0;
        if let (true, Some(input)) = (record, &input) {
            attempts = self.note_attempt(input).await?;
            if attempts >= ATTEMPTS_MAX {
                let reason = "the process was killed each time while this input ran";
                return self.bury(input, reason, attempts, now).await;
            }
        }
        loop {
            attempts += 1;
            let reason = match self.attempt(&work, now, usize::from(work.is_empty())).await {
                Ok(result) => return Ok(result),
                Err(abort) if abort.is_an_inputs_own() => abort.into_reason(),
                Err(abort) => return Err(self.give_back(abort.into_error()).await),
            };
            self.undo().await?;
            match &input {
                Some(input) if attempts >= ATTEMPTS_MAX => return self.bury(input, &reason, attempts, now).await,
                Some(_) => {}
                // Not an input: a cursor, a try, a sweep. It cannot be put aside, so it is tried again until it works.
                None => return Err(ExecutorError::Transient(JournalError::Statement(reason))),
            }
        }
    }

    /// Tries of an input before this one, this process's own first try recorded. What will not reach its handler, or was
    /// recorded by this process already, is not charged: only a death of the process is.
    async fn note_attempt(&mut self, input: &Input) -> Result<u32, ExecutorError> {
        if self.attempted.contains(&input.id) || !self.reaches_its_handler(input).await? {
            return Ok(0);
        }
        match self.cx.writer.record_attempt(&input.id).await {
            Ok(attempts) => {
                self.attempted.insert(input.id.clone());
                Ok(attempts.saturating_sub(1))
            }
            Err(error) => Err(self.give_back(error).await),
        }
    }

    async fn reaches_its_handler(&mut self, input: &Input) -> Result<bool, ExecutorError> {
        Ok(match &input.kind {
            InputKind::Command { .. } => {
                let database = self.cx.writer.database();
                !database.is_recorded(&input.id).await.map_err(ExecutorError::Transient)?
            }
            InputKind::Delivery { .. } => self
                .moves_cursor(input)
                .is_some_and(|(moved, after)| self.follows(&Batch::default(), &moved, after).is_none()),
            InputKind::EffectResult { effect_id } => self.state.effects.contains_key(effect_id),
            InputKind::Timer | InputKind::Settings => true,
        })
    }

    async fn first_timer_due(&mut self, now: Timestamp) -> Result<Option<TimerRow>, ExecutorError> {
        let due = self.cx.writer.database().timers_due(now, 1).await.map_err(ExecutorError::Transient)?;
        Ok(due.into_iter().next())
    }
}
