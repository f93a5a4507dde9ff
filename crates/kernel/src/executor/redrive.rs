//! Dead letters on an operator's word: handled again, or given up.

use pangaea_contracts::Timestamp;
use pangaea_faults::{Plant, planted};
use pangaea_journal::{DeadLetterRow, DeadLetterState, JournalError};
use serde::{Deserialize, Serialize};

use super::abort::Abort;
use super::batch::Batch;
use super::burial::fingerprint;
use super::{BatchResult, Done, Executor, ExecutorError, Work};
use crate::{Input, InputKind};

/// What became of a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LetterOutcome {
    /// Its input has been handled, and the letter is gone. Also said of one that was handled before.
    Redriven,
    /// It was given up: its input is never handled, and the letter is gone.
    Abandoned,
    /// It could not be handled this time either. It stays where it was, with one attempt more.
    FailedAgain { error: String, attempts: u32 },
    /// Nothing was done: this older letter of its key has to go first, or the key's order would be lost.
    Behind { older_id: String },
    /// Nothing was done, because it must not be handled again; it can only be abandoned.
    Unfit { reason: String },
    /// There is no such letter.
    NotFound,
}

// === impl Executor: letters ===

impl Executor {
    /// Redrives or abandons a letter in a transaction of its own.
    pub(super) async fn run_letter(&mut self, work: &Work, now: Timestamp) -> Result<BatchResult, ExecutorError> {
        let reason = match self.attempt(std::slice::from_ref(work), now, 0).await {
            Ok(result) => return Ok(result),
            Err(abort) if abort.is_an_inputs_own() => abort.into_reason(),
            Err(abort) => return Err(self.give_back(abort.into_error()).await),
        };
        self.undo().await?;
        let (Work::Redrive { letter_id } | Work::Abandon { letter_id }) = work else {
            return Err(ExecutorError::Transient(JournalError::Statement(reason)));
        };
        match self.note_failure(letter_id, reason).await {
            Ok(result) => Ok(result),
            Err(abort) => Err(self.give_back(abort.into_error()).await),
        }
    }

    /// Takes the letter away and runs its input, in one transaction. What orders inputs from outside is not asked: the
    /// cursor has passed it, its timer has fired and its effect has ended, all in the transaction that buried it.
    pub(super) async fn redrive(&mut self, batch: &mut Batch, letter_id: &str, now: Timestamp) -> Result<Done, Abort> {
        let Some(letter) = self.cx.writer.dead_letter(letter_id).await? else {
            // A commit whose answer was lost is asked for again, and has happened.
            let is_recorded = !self.cx.writer.recorded(&[letter_id.to_owned()]).await?.is_empty();
            return Ok(Done::Letter(if is_recorded { LetterOutcome::Redriven } else { LetterOutcome::NotFound }));
        };
        match self.cx.writer.first_dead_letter(&letter.key).await? {
            Some(older_id) if older_id != letter.id => return Ok(Done::Letter(LetterOutcome::Behind { older_id })),
            _ => {}
        }
        let input: Input = serde_json::from_str(&letter.input)
            .map_err(|error| JournalError::Decode(format!("the input of the letter: {error}")))?;
        if input.kind == InputKind::Settings {
            let reason = "settings are admitted again at every start, and older ones must not undo newer ones";
            return Ok(Done::Letter(LetterOutcome::Unfit { reason: reason.to_owned() }));
        }
        tracing::info!(
            module = self.cx.definition.name(), subject = %input.subject, key = %input.key, id = %input.id,
            "redriving a dead letter"
        );
        self.cx.writer.end_dead_letter(&letter.id);
        batch.letters_ended.push(letter.key);
        if planted(Plant::DeadLetterLostOnRedrive) {
            self.let_go_first().await?;
        }
        self.run_handler(batch, &input, now).await?;
        Ok(Done::Letter(LetterOutcome::Redriven))
    }

    pub(super) async fn abandon(&mut self, batch: &mut Batch, letter_id: &str) -> Result<Done, Abort> {
        let Some(letter) = self.cx.writer.dead_letter(letter_id).await? else {
            return Ok(Done::Letter(LetterOutcome::NotFound));
        };
        tracing::warn!(
            module = self.cx.definition.name(), subject = %letter.subject, key = %letter.key, id = %letter.id,
            error = letter.error, "abandoning a dead letter"
        );
        self.cx.writer.abandon_dead_letter(&letter.id);
        batch.letters_ended.push(letter.key);
        Ok(Done::Letter(LetterOutcome::Abandoned))
    }

    /// A planted bug: the letter is gone for good before its input has been handled, unless the guard refuses it.
    async fn let_go_first(&mut self) -> Result<(), Abort> {
        match self.commit().await {
            Ok(_) => Ok(self.cx.writer.begin().await?),
            Err(refusal @ JournalError::Torn(_)) => {
                tracing::error!(%refusal, "a letter is not let go of before its input is handled");
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The letter stays in its place, and tells of the newest failure.
    async fn note_failure(&mut self, letter_id: &str, reason: String) -> Result<BatchResult, Abort> {
        self.cx.writer.begin().await.map_err(Abort::Unready)?;
        let mut batch = Batch { next_timer: self.state.next_timer, ..Batch::default() };
        let outcome = match self.cx.writer.dead_letter(letter_id).await? {
            None => LetterOutcome::NotFound,
            Some(letter) => {
                let attempts = letter.attempts.saturating_add(1);
                self.cx.writer.write_dead_letter(DeadLetterRow {
                    // One that was parked has now failed by itself.
                    state: DeadLetterState::Dead,
                    fingerprint: fingerprint(&letter.subject, &reason),
                    error: reason.clone(),
                    attempts,
                    ..letter
                });
                LetterOutcome::FailedAgain { error: reason, attempts }
            }
        };
        batch.done.push(Done::Letter(outcome));
        // Nothing was said, so nothing comes out of the log.
        self.cx.writer.commit().await?;
        Ok(self.committed(batch, Vec::new()))
    }

    /// A letter of this key is gone; without any the key takes commands and deliveries again.
    pub(super) fn unpark(&mut self, key: String) {
        if let std::collections::hash_map::Entry::Occupied(mut letters) = self.state.parked.entry(key) {
            *letters.get_mut() = letters.get().saturating_sub(1);
            if *letters.get() == 0 {
                letters.remove();
            }
        }
    }
}
