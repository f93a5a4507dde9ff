//! Recorded inputs, run again.

use std::sync::Arc;

use pangaea_contracts::{Envelope, Timestamp};
use pangaea_journal::{Database, JournalError, RowChange, Writer};
use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;

use super::Executor;
use super::abort::Abort;
use crate::outputs::Asked;
use crate::{Answer, Definition, Input};

/// Runs a module's recorded inputs through its handlers again, each at the time at which it was admitted, on a database of
/// its own. Nothing leaves it: what a handler says is given back, timers fire only as the inputs that they became, and
/// effects are not performed, because their results are inputs too. Inbox and outbox of that database stay empty.
///
/// How many inputs are given at once decides speed and nothing else.
pub struct Replayer {
    executor: Executor,
    shows_changes: bool,
}

/// An input, and when it was admitted.
#[derive(Clone, Debug, PartialEq)]
pub struct AdmittedInput {
    pub admitted_at: Timestamp,
    pub input: Input,
}

/// What handling one input brought about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    /// In the order in which they were said; without source, log id and position.
    pub messages: Vec<Envelope>,
    pub asked: Vec<Asked>,
    /// Of a command.
    pub answer: Option<Answer>,
    /// Why it could not be handled: then it changed nothing and said nothing.
    pub failure: Option<String>,
    /// What it did to rows by key, where [`Replayer::showing_changes`] asks for that.
    pub changes: Vec<RowChange>,
}

// === impl Replayer ===

impl Replayer {
    /// # Errors
    /// When the database cannot be read, or holds settings that are not of the module's type.
    pub async fn new(writer: Writer, definition: Arc<Definition>) -> Result<Self, JournalError> {
        // No row of an inbox will name the version.
        Ok(Self { executor: Executor::new(writer, definition, "").await?, shows_changes: false })
    }

    /// Tells of every input from now on what it did to rows.
    #[must_use]
    pub fn showing_changes(self) -> Self {
        Self { shows_changes: true, ..self }
    }

    pub fn database(&self) -> &Database {
        self.executor.writer().database()
    }

    pub(crate) fn writer_mut(&mut self) -> &mut Writer {
        &mut self.executor.cx.writer
    }

    /// Runs inputs in one transaction, or one by one where that fails, and says what each said. What handlers log is not
    /// logged again: they did so when it happened.
    ///
    /// # Errors
    /// When the database fails. An input that fails by itself is no error: see [`Said::failure`].
    pub async fn run(&mut self, inputs: &[AdmittedInput]) -> Result<Vec<Said>, JournalError> {
        self.run_unheard(inputs).with_subscriber(NoSubscriber::default()).await
    }

    async fn run_unheard(&mut self, inputs: &[AdmittedInput]) -> Result<Vec<Said>, JournalError> {
        match self.executor.replay(inputs, self.shows_changes).await {
            Ok(said) => return Ok(said),
            Err(abort) if abort.is_an_inputs_own() => self.executor.cx.writer.rollback().await?,
            Err(abort) => return Err(abort.into_error()),
        }
        let mut said = Vec::with_capacity(inputs.len());
        for input in inputs {
            match self.executor.replay(std::slice::from_ref(input), self.shows_changes).await {
                Ok(one) => said.extend(one),
                Err(abort) if abort.is_an_inputs_own() => {
                    self.executor.cx.writer.rollback().await?;
                    said.push(Said { failure: Some(abort.into_reason()), ..Said::default() });
                }
                Err(abort) => return Err(abort.into_error()),
            }
        }
        Ok(said)
    }

    /// Gives the database back.
    ///
    /// # Errors
    /// When it cannot be closed in order.
    pub async fn stop(self) -> Result<(), JournalError> {
        self.executor.stop().await
    }
}

// === impl Executor ===

impl Executor {
    /// One transaction over all of `inputs`.
    async fn replay(&mut self, inputs: &[AdmittedInput], shows_changes: bool) -> Result<Vec<Said>, Abort> {
        self.cx.settings = self.settings.clone();
        self.cx.writer.begin().await.map_err(Abort::Unready)?;
        self.prefetch(inputs.iter().map(|one| &one.input)).await?;
        let mut said = Vec::with_capacity(inputs.len());
        for one in inputs {
            said.push(self.replay_one(one, shows_changes).await?);
        }
        self.cx.writer.commit().await?;
        self.settings = self.cx.settings.clone();
        Ok(said)
    }

    async fn replay_one(&mut self, one: &AdmittedInput, shows_changes: bool) -> Result<Said, Abort> {
        let mark = self.cx.writer.mark();
        self.cx.begin(&one.input, one.admitted_at);
        let handled = self.handle(&one.input).await;
        match handled {
            Ok(answer) => {
                let changes = if shows_changes { self.cx.writer.changes_since(mark) } else { Vec::new() };
                let outputs = std::mem::take(&mut self.cx.outputs);
                let asked = outputs.asked();
                Ok(Said { messages: outputs.messages, asked, answer, failure: None, changes })
            }
            Err(failure) => {
                let answer = self.refused(&one.input, failure, mark)?.answer;
                Ok(Said { answer: Some(answer), ..Said::default() })
            }
        }
    }
}
