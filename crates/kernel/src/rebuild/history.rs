//! A module's inputs as they were handled, each with what was said, and what is said of it now.

use std::collections::VecDeque;

use pangaea_contracts::{Envelope, Kind, Subject};
use pangaea_journal::{Handled, JournalError, Snapshot, Writer};
use serde::{Deserialize, Serialize};

use super::RebuildError;
use crate::{AdmittedInput, Answer, Asked, Input, InputKind, Said};

/// Messages read at once.
const PAGE: usize = 256;

/// How far a history has been read.
#[derive(Default)]
pub(super) struct History {
    /// Of the last input.
    pub(super) position: u64,
    messages: VecDeque<Envelope>,
    after: u64,
    /// A page was broken off: its messages are with no input.
    is_broken: bool,
}

/// An input as it was handled.
pub(super) struct Recorded {
    pub(super) position: u64,
    pub(super) input: AdmittedInput,
    messages: Vec<Envelope>,
    /// `None`: the release that handled it did not write it down.
    asked: Option<Vec<Asked>>,
    answer: Option<Answer>,
    handled_by: String,
}

/// Where a history is read: as of a moment, or as the open transaction of the writer sees it.
pub(crate) enum Source<'a> {
    Snapshot(&'a mut Snapshot),
    Writer(&'a mut Writer),
}

/// An input of which something else is said now than was said when it was handled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputDifference {
    pub position: u64,
    pub id: String,
    pub subject: String,
    pub key: String,
    /// The release that handled it.
    pub handled_by: String,
    /// In a sentence, without what the messages hold.
    pub what: String,
}

// === impl History ===

impl History {
    /// The next inputs, in order, at most `limit`.
    pub(super) async fn page(&mut self, source: &mut Source<'_>, limit: usize) -> Result<Vec<Recorded>, RebuildError> {
        let first = self.position + 1;
        let handled = source.inbox_from(first, limit).await.map_err(RebuildError::Database)?;
        let dense = (first..).zip(&handled).all(|(position, one)| one.admitted.position == position);
        if !dense || handled.is_empty() {
            let reason = format!("the inbox is torn: not every input from {first} on is there (`pangaea verify`)");
            return Err(RebuildError::History(reason));
        }
        if std::mem::replace(&mut self.is_broken, true) {
            return Err(RebuildError::History("reading the history was broken off".to_owned()));
        }
        let mut is_drained = false;
        let mut page = Vec::with_capacity(handled.len());
        for one in handled {
            let messages = self.caused_by(source, &one.admitted.input.id, &mut is_drained).await?;
            page.push(Recorded::of(one, messages).map_err(RebuildError::History)?);
        }
        self.position = page.last().map_or(self.position, |last| last.position);
        self.is_broken = false;
        Ok(page)
    }

    /// At the newest input: whether a message is left that no input has said.
    pub(super) async fn ends(&mut self, source: &mut Source<'_>) -> Result<(), RebuildError> {
        self.fill(source, &mut false).await?;
        let Some(next) = self.messages.front() else { return Ok(()) };
        Err(RebuildError::History(format!(
            "the log is torn: the message at {} is not said where its input {} is handled (`pangaea verify`)",
            next.position, next.causation_id
        )))
    }

    async fn caused_by(
        &mut self,
        source: &mut Source<'_>,
        input_id: &str,
        is_drained: &mut bool,
    ) -> Result<Vec<Envelope>, RebuildError> {
        let mut caused = Vec::new();
        loop {
            self.fill(source, is_drained).await?;
            match self.messages.front() {
                Some(next) if next.causation_id == input_id => caused.extend(self.messages.pop_front()),
                _ => return Ok(caused),
            }
        }
    }

    async fn fill(&mut self, source: &mut Source<'_>, is_drained: &mut bool) -> Result<(), RebuildError> {
        if !self.messages.is_empty() || *is_drained {
            return Ok(());
        }
        let page = source.outbox_after(self.after, PAGE).await.map_err(RebuildError::Database)?;
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
        let (position, row) = (admitted.position, admitted.input);
        let json = |what: &str, error: serde_json::Error| format!("{what} of input {position}: {error}");
        let answer = row.answer.as_deref().map(serde_json::from_str).transpose();
        let answer = answer.map_err(|error| json("the answer", error))?;
        let asked = asked.as_deref().map(Asked::decode).transpose();
        let asked = asked.map_err(|error| json("the timers and effects", error))?;
        // That of a change of settings is no subject of a message.
        let kind = Subject::parse(&row.subject).map(|subject| subject.kind).ok();
        let kind = match (row.source, kind) {
            (Some((source, position)), _) => {
                InputKind::Delivery { source, log_id: String::new(), after: position.saturating_sub(1), position }
            }
            (None, Some(Kind::Timer)) => InputKind::Timer,
            (None, Some(Kind::Effect)) => {
                InputKind::EffectResult { effect_id: row.id.strip_suffix(":result").unwrap_or(&row.id).to_owned() }
            }
            // A fingerprint tells repeats apart, and an inbox holds none.
            (None, Some(_)) => InputKind::Command { fingerprint: String::new() },
            (None, None) => InputKind::Settings,
        };
        let input = Input {
            id: row.id,
            kind,
            subject: row.subject,
            key: row.key,
            causation_id: row.causation_id,
            correlation_id: row.correlation_id,
            actor: row.actor,
            traceparent: row.traceparent,
            payload: row.payload,
            secrets: Vec::new(),
        };
        let input = AdmittedInput { admitted_at: row.admitted_at, input };
        Ok(Self { position, input, messages, asked, answer, handled_by: row.code_version })
    }

    /// How what is said of it now is another thing; `None` where it is not.
    pub(super) fn difference(&self, said: &Said) -> Option<InputDifference> {
        let what = self.what_differs(said)?;
        let Input { id, subject, key, .. } = self.input.input.clone();
        Some(InputDifference { position: self.position, id, subject, key, handled_by: self.handled_by.clone(), what })
    }

    fn what_differs(&self, said: &Said) -> Option<String> {
        if let Some(reason) = &said.failure {
            return Some(format!("it can no longer be handled: {reason}"));
        }
        for (was, is) in self.messages.iter().zip(&said.messages) {
            if was.subject != is.subject {
                return Some(format!("it said {}, and now says {}", was.subject, is.subject));
            }
            if !is_same_message(was, is) {
                return Some(format!("it says {} otherwise now", was.subject));
            }
        }
        if let Some(lost) = self.messages.get(said.messages.len()) {
            return Some(format!("it no longer says {}", lost.subject));
        }
        if let Some(more) = said.messages.get(self.messages.len()) {
            return Some(format!("it says {} now", more.subject));
        }
        if self.answer != said.answer {
            return Some("it is answered otherwise now".to_owned());
        }
        let asks_the_same = self.asked.as_ref().is_none_or(|asked| *asked == said.asked);
        (!asks_the_same).then(|| "it asks for other timers or effects now".to_owned())
    }
}

/// What a message says of its trace is no part of what it says: it changed between releases, and no state depends on it.
fn is_same_message(was: &Envelope, is: &Envelope) -> bool {
    was.id == is.id
        && was.key == is.key
        && was.payload == is.payload
        && was.correlation_id == is.correlation_id
        && was.actor == is.actor
        && was.time == is.time
}
