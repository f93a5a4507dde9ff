//! Dead letters: what cannot be handled is taken out of the way, and nothing of it is lost.

use pangaea_contracts::Timestamp;
use pangaea_journal::{DeadLetterRow, DeadLetterState, JournalError};

use super::abort::Abort;
use super::batch::Batch;
use super::{BatchResult, Done, Executor, ExecutorError};
use crate::{Answer, Input, InputKind, Problem, ProblemKind};

// === impl Executor: dead letters ===

impl Executor {
    /// Takes a failing input out of the way: a dead letter, in the transaction that moves the cursor behind it.
    pub(super) async fn bury(
        &mut self,
        input: &Input,
        reason: &str,
        attempts: u32,
        now: Timestamp,
    ) -> Result<BatchResult, ExecutorError> {
        tracing::error!(
            module = self.cx.definition.name(), subject = %input.subject, key = %input.key, id = %input.id, attempts, reason,
            correlation_id = input.correlation_id, trace_id = input.trace_id(),
            "dead letter"
        );
        match self.bury_in_transaction(input, reason, attempts, now).await {
            Ok(result) => Ok(result),
            Err(abort) => Err(self.give_back(abort.into_error()).await),
        }
    }

    async fn bury_in_transaction(
        &mut self,
        input: &Input,
        reason: &str,
        attempts: u32,
        now: Timestamp,
    ) -> Result<BatchResult, Abort> {
        self.cx.writer.begin().await.map_err(Abort::Unready)?;
        let mut batch = Batch { next_timer: self.state.next_timer, ..Batch::default() };
        match &input.kind {
            InputKind::Delivery { .. } => {
                if let Some((moved, _)) = self.moves_cursor(input) {
                    self.move_cursor(&mut batch, moved);
                }
            }
            InputKind::EffectResult { effect_id } => {
                self.cx.writer.end_effect(effect_id);
                batch.effects_ended.push(effect_id.clone());
            }
            InputKind::Timer => self.cx.writer.cancel_timer(&input.key, &input.subject),
            InputKind::Command { .. } | InputKind::Settings => {}
        }
        let done = if input.is_command() {
            // A caller is there to be told; nothing is lost by forgetting the command, and a repeat may succeed.
            Done::Answered(Answer::from(Problem::new(
                ProblemKind::Internal,
                "this request could not be handled; it has been logged",
            )))
        } else {
            let letter = self.dead_letter(&batch, input, DeadLetterState::Dead, reason, attempts, now)?;
            self.cx.writer.write_dead_letter(letter);
            batch.parked.push(input.key.clone());
            Done::Dead
        };
        self.cx.writer.end_attempts(&input.id);
        batch.attempts_ended.push(input.id.clone());
        batch.done.push(done);
        let log = self.commit().await?;
        Ok(self.committed(batch, log))
    }

    pub(super) fn dead_letter(
        &self,
        batch: &Batch,
        input: &Input,
        state: DeadLetterState,
        error: &str,
        attempts: u32,
        now: Timestamp,
    ) -> Result<DeadLetterRow, Abort> {
        let text = serde_json::to_string(input).map_err(|error| JournalError::Decode(error.to_string()))?;
        Ok(DeadLetterRow {
            id: input.id.clone(),
            position: self.state.letters_end + batch.parked.len() as u64 + 1,
            state,
            subject: input.subject.clone(),
            key: input.key.clone(),
            input: text,
            error: error.to_owned(),
            fingerprint: fingerprint(&input.subject, error),
            attempts,
            died_at: now,
        })
    }
}

/// The same for failures of one cause: without the digits, which are ids, places and amounts.
pub(super) fn fingerprint(subject: &str, error: &str) -> String {
    let cause: String = error.chars().filter(|character| !character.is_ascii_digit()).collect();
    pangaea_contracts::digest_text(&[subject.as_bytes(), cause.as_bytes()], 12)
}
