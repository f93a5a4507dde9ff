//! What a batch reads before its handlers run, all inputs at once.

use std::panic::AssertUnwindSafe;

use pangaea_journal::JournalError;

use super::abort::Abort;
use super::batch::{Batch, panic_text};
use super::{Executor, Work, inputs_of};
use crate::{Answer, Input, InputKind, Keys};

impl Executor {
    /// Answers that were given before, to commands that come again.
    pub(super) async fn look_up_commands(&mut self, batch: &mut Batch, work: &[Work]) -> Result<(), Abort> {
        let has_answer = |input: &&Input| input.is_command() || input.kind == InputKind::Settings;
        let ids: Vec<String> = inputs_of(work).filter(has_answer).map(|input| input.id.clone()).collect();
        if ids.is_empty() {
            return Ok(());
        }
        for recorded in self.cx.writer.recorded(&ids).await? {
            let answer = recorded.answer.as_deref().map(serde_json::from_str).transpose();
            let answer = answer.map_err(|error| JournalError::Decode(error.to_string()))?;
            let answer = answer.unwrap_or_else(|| Answer::empty(200));
            batch.answers.insert(recorded.id, (recorded.fingerprint.unwrap_or_default(), answer));
        }
        Ok(())
    }

    /// The rows that handlers name in advance.
    pub(super) async fn prefetch<'a>(&mut self, inputs: impl Iterator<Item = &'a Input>) -> Result<(), Abort> {
        let mut keys = Keys::default();
        for input in inputs {
            if let Some(wants) = self.cx.definition.handler(&input.subject).and_then(|handler| handler.wants.clone()) {
                // What it would have named is read when the handler asks for it; a real fault shows there again.
                let named = std::panic::catch_unwind(AssertUnwindSafe(|| wants(&input.payload, &mut keys)));
                if let Err(panic) = named {
                    tracing::error!(subject = %input.subject, panic = panic_text(&*panic), "naming rows ahead panicked");
                }
            }
        }
        Ok(keys.load(&mut self.cx.writer).await?)
    }
}
