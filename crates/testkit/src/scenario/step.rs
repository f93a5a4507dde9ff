use std::sync::Arc;

use anyhow::{Result, bail};
use pangaea_contracts::{Envelope, Message};
use pangaea_journal::EffectRow;
use pangaea_kernel::Answer;

use crate::diff::diff;

/// What came of one input, and of all that followed from it.
#[derive(Debug, Default)]
pub struct Step {
    pub(super) answer: Option<Answer>,
    pub(super) said: Vec<Arc<Envelope>>,
    pub(super) effects: Vec<EffectRow>,
    /// The last messages, for errors.
    pub(super) tail: String,
}

// === impl Step ===

impl Step {
    /// The messages that were said, in order.
    pub fn messages(&self) -> &[Arc<Envelope>] {
        &self.said
    }

    /// The effects that were asked for.
    pub fn effects(&self) -> &[EffectRow] {
        &self.effects
    }

    /// The answer to the command.
    ///
    /// # Errors
    /// When the input was none.
    pub fn answer(&self) -> Result<&Answer> {
        let Some(answer) = &self.answer else { bail!("expected: an answer\ncame: none\n{}", self.tail) };
        Ok(answer)
    }

    /// Expects an answer of this status.
    ///
    /// # Errors
    /// When it is another one, or none.
    pub fn answered(self, status: u16) -> Result<Self> {
        let answer = self.answer()?;
        if answer.status == status {
            return Ok(self);
        }
        bail!("expected: an answer {status}\ncame: {} {}\n{}", answer.status, answer.body, self.tail)
    }

    /// Expects messages of these subjects, in this order, and no other.
    ///
    /// # Errors
    /// When others were said: line by line what differs, and the last messages.
    pub fn said(self, subjects: &[&str]) -> Result<Self> {
        let came: Vec<&str> = self.said.iter().map(|message| message.subject.as_str()).collect();
        if came == subjects {
            return Ok(self);
        }
        bail!("what was said (- expected, + came)\n{}\n{}", diff(&subjects.join("\n"), &came.join("\n")), self.tail)
    }

    /// Expects that nothing was said.
    ///
    /// # Errors
    /// When something was.
    pub fn silent(self) -> Result<Self> {
        self.said(&[])
    }

    /// The only message of this type.
    ///
    /// # Errors
    /// When there is none, or there are several.
    pub fn only<M: Message>(&self) -> Result<M> {
        let found: Vec<_> = self.said.iter().filter(|message| message.subject == M::SUBJECT).collect();
        match found.as_slice() {
            [one] => Ok(serde_json::from_str(&one.payload)?),
            found => bail!("expected: one {}\ncame: {}\n{}", M::SUBJECT, found.len(), self.tail),
        }
    }

    pub(super) fn absorb(&mut self, later: Step) {
        self.answer = self.answer.take().or(later.answer);
        self.said.extend(later.said);
        self.effects.extend(later.effects);
        self.tail = later.tail;
    }
}
