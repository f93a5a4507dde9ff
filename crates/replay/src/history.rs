//! Inbox and outbox of a module, read side by side: every input with all that it brought about.

use std::collections::VecDeque;

use pangaea_contracts::{Envelope, Kind, Subject};
use pangaea_journal::{Handled, Snapshot};
use pangaea_kernel::Asked;

use crate::ReplayError;
use crate::recording::{Entry, EntryKind, Output};

/// Rows read at once: each may be a quarter of a megabyte.
pub(crate) const PAGE: usize = 256;

/// Goes along the log as the inputs are asked for.
pub(crate) struct History {
    messages: VecDeque<Envelope>,
    after: u64,
    is_drained: bool,
}

// === impl History ===

impl History {
    /// Begins with the first message after this position of the log.
    pub(crate) fn after(position: u64) -> Self {
        Self { messages: VecDeque::new(), after: position, is_drained: false }
    }

    /// The position of the last message that an input was found for.
    pub(crate) fn position(&self) -> u64 {
        self.messages.front().map_or(self.after, |next| next.position.saturating_sub(1))
    }

    /// To be said where the snapshot is of a later moment than before: there may be more messages.
    pub(crate) fn moved_on(&mut self) {
        self.is_drained = false;
    }

    /// So many inputs from this position on, which must be there. Pages follow each other.
    pub(crate) async fn page(
        &mut self,
        snapshot: &mut Snapshot,
        position: u64,
        limit: usize,
    ) -> Result<Vec<Entry>, ReplayError> {
        let module = snapshot.module().to_owned();
        let handled = snapshot.inbox_from(position, limit).await.map_err(ReplayError::journal(&module))?;
        if handled.len() < limit || handled.first().is_some_and(|first| first.admitted.position != position) {
            let reason = format!("the inbox is torn: not every input from {position} on is there (`pangaea verify`)");
            return Err(ReplayError::module(&module, reason));
        }
        let mut entries = Vec::with_capacity(handled.len());
        for one in handled {
            let messages = self.caused_by(snapshot, &one.admitted.input.id).await?;
            entries.push(entry(one, messages).map_err(|reason| ReplayError::module(&module, reason))?);
        }
        Ok(entries)
    }

    /// To be asked behind the newest input of the snapshot.
    pub(crate) async fn expect_nothing_more(&mut self, snapshot: &mut Snapshot) -> Result<(), ReplayError> {
        self.fill(snapshot).await?;
        let Some(next) = self.messages.front() else { return Ok(()) };
        let reason = format!(
            "the log is torn: the message at {} is not said where its input {} is handled (`pangaea verify`)",
            next.position, next.causation_id
        );
        Err(ReplayError::module(snapshot.module(), reason))
    }

    /// The next messages of the log, as far as this input caused them.
    async fn caused_by(&mut self, snapshot: &mut Snapshot, input_id: &str) -> Result<Vec<Envelope>, ReplayError> {
        let mut caused = Vec::new();
        loop {
            self.fill(snapshot).await?;
            match self.messages.front() {
                Some(next) if next.causation_id == input_id => caused.extend(self.messages.pop_front()),
                _ => return Ok(caused),
            }
        }
    }

    async fn fill(&mut self, snapshot: &mut Snapshot) -> Result<(), ReplayError> {
        if !self.messages.is_empty() || self.is_drained {
            return Ok(());
        }
        let page = snapshot.outbox_after(self.after, PAGE).await;
        let page = page.map_err(ReplayError::journal(snapshot.module()))?;
        self.is_drained = page.len() < PAGE;
        self.after = page.last().map_or(self.after, |last| last.position);
        self.messages.extend(page);
        Ok(())
    }
}

fn entry(handled: Handled, messages: Vec<Envelope>) -> Result<Entry, String> {
    let Handled { admitted, asked } = handled;
    let input = admitted.input;
    // That of a change of settings is no subject of a message.
    let kind = Subject::parse(&input.subject).map(|subject| subject.kind).ok();
    let kind = match (input.source, kind) {
        (Some((source, position)), _) => EntryKind::Delivery { source, position },
        (None, Some(Kind::Timer)) => EntryKind::Timer,
        (None, Some(Kind::Effect)) => EntryKind::EffectResult,
        (None, Some(_)) => EntryKind::Command,
        (None, None) => EntryKind::Settings,
    };
    let json = |what: &str, error: serde_json::Error| format!("{what} of input {}: {error}", admitted.position);
    let answer =
        input.answer.as_deref().map(serde_json::from_str).transpose().map_err(|error| json("answer", error))?;
    let asked = asked.as_deref().map(Asked::decode).transpose().map_err(|error| json("timers and effects", error))?;
    let mut entry = Entry {
        position: admitted.position,
        admitted_at: input.admitted_at,
        id: input.id,
        kind,
        subject: input.subject,
        key: input.key,
        causation_id: input.causation_id,
        correlation_id: input.correlation_id,
        actor: input.actor,
        traceparent: input.traceparent,
        payload: input.payload,
        handled_by: input.code_version,
        answer,
        messages: Vec::new(),
        asked,
    };
    entry.messages = messages.iter().map(|message| Output::of(&entry, message)).collect();
    Ok(entry)
}
