//! A module's history: every input as it was handled, with all that it brought about.

use std::collections::VecDeque;

use pangaea_contracts::Envelope;
use pangaea_journal::{Handled, JournalError, Snapshot, Writer};

use crate::{AdmittedInput, Answer, Asked, Input};

/// Messages read at once.
const PAGE: usize = 256;

/// Reads inbox and outbox side by side, and stands somewhere in both.
#[derive(Debug, Default)]
pub struct History {
    position: u64,
    messages: VecDeque<Envelope>,
    after: u64,
    /// A page was broken off: its messages are with no input.
    is_broken: bool,
}

/// An input as it was handled.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// Its place in the inbox.
    pub position: u64,
    pub input: AdmittedInput,
    /// In the order in which they were said.
    pub messages: Vec<Envelope>,
    /// `None`: the release that handled it did not write it down.
    pub asked: Option<Vec<Asked>>,
    /// Of a command.
    pub answer: Option<Answer>,
    /// The release.
    pub handled_by: String,
}

/// Where a history is read: as of a moment, or as the open transaction of the writer sees it.
pub enum Source<'a> {
    Snapshot(&'a mut Snapshot),
    Writer(&'a mut Writer),
}

/// Why a history cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("{0}")]
    Database(JournalError),
    #[error("{0}")]
    Torn(String),
}

// === impl History ===

impl History {
    /// Behind an input and a message, by their positions: nothing up to there is read.
    pub fn after(input: u64, message: u64) -> Self {
        Self { position: input, after: message, ..Self::default() }
    }

    /// The position of the last input that was read.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The position of the last message that an input was found for.
    pub fn message_position(&self) -> u64 {
        self.messages.front().map_or(self.after, |next| next.position.saturating_sub(1))
    }

    /// The next inputs, in order, at most `limit`; there must be one.
    ///
    /// # Errors
    /// When the database cannot be read, or the inbox has a gap.
    pub async fn page(&mut self, source: &mut Source<'_>, limit: usize) -> Result<Vec<Recorded>, HistoryError> {
        let first = self.position + 1;
        let handled = source.inbox_from(first, limit).await.map_err(HistoryError::Database)?;
        let dense = (first..).zip(&handled).all(|(position, one)| one.admitted.position == position);
        if !dense || handled.is_empty() {
            let reason = format!("the inbox is torn: not every input from {first} on is there (`pangaea verify`)");
            return Err(HistoryError::Torn(reason));
        }
        if std::mem::replace(&mut self.is_broken, true) {
            return Err(HistoryError::Torn("reading the history was broken off".to_owned()));
        }
        let mut is_drained = false;
        let mut page = Vec::with_capacity(handled.len());
        for one in handled {
            let messages = self.caused_by(source, &one.admitted.input.id, &mut is_drained).await?;
            page.push(Recorded::of(one, messages).map_err(HistoryError::Torn)?);
        }
        self.position = page.last().map_or(self.position, |last| last.position);
        self.is_broken = false;
        Ok(page)
    }

    /// To be asked behind the newest input.
    ///
    /// # Errors
    /// When a message is left that no input has said, or the database cannot be read.
    pub async fn ends(&mut self, source: &mut Source<'_>) -> Result<(), HistoryError> {
        self.fill(source, &mut false).await?;
        let Some(next) = self.messages.front() else { return Ok(()) };
        Err(HistoryError::Torn(format!(
            "the log is torn: the message at {} is not said where its input {} is handled (`pangaea verify`)",
            next.position, next.causation_id
        )))
    }

    async fn caused_by(
        &mut self,
        source: &mut Source<'_>,
        input_id: &str,
        is_drained: &mut bool,
    ) -> Result<Vec<Envelope>, HistoryError> {
        let mut caused = Vec::new();
        loop {
            self.fill(source, is_drained).await?;
            match self.messages.front() {
                Some(next) if next.causation_id == input_id => caused.extend(self.messages.pop_front()),
                _ => return Ok(caused),
            }
        }
    }

    async fn fill(&mut self, source: &mut Source<'_>, is_drained: &mut bool) -> Result<(), HistoryError> {
        if !self.messages.is_empty() || *is_drained {
            return Ok(());
        }
        let page = source.outbox_after(self.after, PAGE).await.map_err(HistoryError::Database)?;
        *is_drained = page.len() < PAGE;
        self.after = page.last().map_or(self.after, |last| last.position);
        self.messages.extend(page);
        Ok(())
    }
}

// === impl Source ===

impl Source<'_> {
    async fn inbox_from(&mut self, position: u64, limit: usize) -> Result<Vec<Handled>, JournalError> {
        match self {
            Self::Snapshot(snapshot) => snapshot.inbox_from(position, limit).await,
            Self::Writer(writer) => writer.inbox_from(position, limit).await,
        }
    }

    async fn outbox_after(&mut self, after: u64, limit: usize) -> Result<Vec<Envelope>, JournalError> {
        match self {
            Self::Snapshot(snapshot) => snapshot.outbox_after(after, limit).await,
            Self::Writer(writer) => writer.outbox_after(after, limit).await,
        }
    }
}

// === impl Recorded ===

impl Recorded {
    fn of(handled: Handled, messages: Vec<Envelope>) -> Result<Self, String> {
        let Handled { admitted, asked } = handled;
        let (position, mut row) = (admitted.position, admitted.input);
        let json = |what: &str, error: serde_json::Error| format!("{what} of input {position}: {error}");
        let answer = row.answer.take().map(|answer| serde_json::from_str(&answer)).transpose();
        let answer = answer.map_err(|error| json("the answer", error))?;
        let asked = asked.as_deref().map(Asked::decode).transpose();
        let asked = asked.map_err(|error| json("the timers and effects", error))?;
        let (admitted_at, handled_by) = (row.admitted_at, std::mem::take(&mut row.code_version));
        let input = AdmittedInput { admitted_at, input: Input::of_row(row) };
        Ok(Self { position, input, messages, asked, answer, handled_by })
    }
}
