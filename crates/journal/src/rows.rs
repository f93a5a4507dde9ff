//! The journal's own rows, as values. Which statement writes each is in `writer.rs`.

use pangaea_contracts::{Actor, Envelope, Timestamp};

use crate::{JournalError, Row, Value};

/// An input as it was admitted, and what was answered. A command's row is its idempotency record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxRow {
    pub id: String,
    pub subject: String,
    pub key: String,
    /// Where it came from, when it came from a log: the source and its position there.
    pub source: Option<(String, u64)>,
    pub causation_id: String,
    pub correlation_id: String,
    pub actor: Actor,
    pub admitted_at: Timestamp,
    pub traceparent: Option<String>,
    pub payload: String,
    /// Of a command: a digest of its body, to tell a repeat from another command under the same key.
    pub fingerprint: Option<String>,
    /// Of a command: the stored answer, as JSON.
    pub answer: Option<String>,
    pub code_version: String,
}

/// What is known of a command that was handled before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    pub id: String,
    pub fingerprint: Option<String>,
    pub answer: Option<String>,
}

/// How far `reader` has read the log of `source`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CursorRow {
    pub reader: String,
    pub source: String,
    pub log_id: String,
    pub position: u64,
    pub message_id: String,
}

/// Something to be told later. There is one timer per key and subject: setting it again moves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimerRow {
    pub key: String,
    pub subject: String,
    /// The id of the input that it becomes when due.
    pub id: String,
    pub due_at: Timestamp,
    pub causation_id: String,
    pub correlation_id: String,
    pub traceparent: Option<String>,
    pub payload: String,
}

/// Something to be done in the world outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectRow {
    /// The operation's id: the idempotency key given to the other side, the same for every try.
    pub id: String,
    pub subject: String,
    pub key: String,
    pub state: EffectState,
    /// No try starts after it.
    pub deadline_at: Timestamp,
    pub causation_id: String,
    pub correlation_id: String,
    pub actor: Actor,
    pub traceparent: Option<String>,
    pub payload: String,
    /// Tries begun so far; each is written before its call.
    pub tries: u32,
    /// When the newest try can no longer be under way: a later one asks for the outcome first.
    pub try_expires_at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EffectState {
    Pending,
    Done,
}

/// An input that could not be handled, or that waits behind one with the same key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetterRow {
    pub id: String,
    /// Orders the dead letters: one that died later stands higher.
    pub position: u64,
    pub state: DeadLetterState,
    pub subject: String,
    pub key: String,
    /// The whole input, as JSON, so that a redrive needs nothing else.
    pub input: String,
    pub error: String,
    /// Groups failures of one cause.
    pub fingerprint: String,
    pub attempts: u32,
    pub died_at: Timestamp,
}

/// Which dead letters are looked for; what is `None` chooses nothing out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterChoice {
    pub id: Option<String>,
    pub key: Option<String>,
    pub fingerprint: Option<String>,
    /// Only those behind this position and id: the last of the page before.
    pub after: Option<(u64, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadLetterState {
    /// Failed by itself.
    Dead,
    /// Waits behind a dead one of its key.
    Parked,
}

/// A value outside journal, digest and recording.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SecretRow {
    pub name: String,
    /// `None` removes it.
    pub value: Option<String>,
    pub expires_at: Option<Timestamp>,
}

// === how each is written and read ===

pub(crate) const INBOX_INSERT: &str = "INSERT INTO inbox (position, id, subject, key, source, source_position, \
    causation_id, correlation_id, actor, admitted_at, traceparent, payload, fingerprint, answer, code_version, \
    asked)";
pub(crate) const INBOX_COLUMNS: usize = 16;
pub(crate) const INBOX_SELECT: &str = "SELECT position, id, subject, key, source, source_position, causation_id, \
    correlation_id, actor, admitted_at, traceparent, payload, fingerprint, answer, code_version FROM inbox";
pub(crate) const OUTBOX_COLUMNS: usize = 10;
pub(crate) const OUTBOX_INSERT: &str = "INSERT INTO outbox (position, id, subject, key, causation_id, correlation_id, \
    actor, created_at, traceparent, payload)";
pub(crate) const OUTBOX_SELECT: &str = "SELECT position, id, subject, key, causation_id, correlation_id, actor, \
    created_at, traceparent, payload FROM outbox";
pub(crate) const TIMER_COLUMNS: usize = 8;
pub(crate) const TIMER_LIST: &str = "key, subject, id, due_at, causation_id, correlation_id, traceparent, payload";
pub(crate) const EFFECT_COLUMNS: usize = 12;
pub(crate) const EFFECT_LIST: &str = "id, subject, key, state, deadline_at, causation_id, correlation_id, actor, \
    traceparent, payload, tries, try_expires_at";
pub(crate) const DEAD_LETTER_COLUMNS: usize = 10;
pub(crate) const DEAD_LETTER_LIST: &str =
    "id, position, state, subject, key, input, error, fingerprint, attempts, died_at";

impl InboxRow {
    pub(crate) fn into_values(self, position: u64, asked: String) -> Vec<Value> {
        let (source, source_position) = self.source.unzip();
        vec![
            position.into(),
            self.id.into(),
            self.subject.into(),
            self.key.into(),
            source.into(),
            source_position.map(|position| position as i64).into(),
            self.causation_id.into(),
            self.correlation_id.into(),
            self.actor.to_string().into(),
            self.admitted_at.into(),
            self.traceparent.into(),
            self.payload.into(),
            self.fingerprint.into(),
            self.answer.into(),
            self.code_version.into(),
            asked.into(),
        ]
    }
}

pub(crate) fn outbox_values(envelope: &Envelope) -> Vec<Value> {
    vec![
        envelope.position.into(),
        envelope.id.as_str().into(),
        envelope.subject.as_str().into(),
        envelope.key.as_str().into(),
        envelope.causation_id.as_str().into(),
        envelope.correlation_id.as_str().into(),
        envelope.actor.to_string().into(),
        envelope.time.into(),
        envelope.traceparent.clone().into(),
        envelope.payload.as_str().into(),
    ]
}

fn actor(row: &Row, column: usize) -> Result<Actor, JournalError> {
    row.get::<String>(column)?.parse().map_err(JournalError::Decode)
}

/// Its position is the first column.
pub(crate) fn inbox_row(row: &Row) -> Result<InboxRow, JournalError> {
    let source: Option<String> = row.get(4)?;
    let source_position: Option<u64> = row.get(5)?;
    Ok(InboxRow {
        id: row.get(1)?,
        subject: row.get(2)?,
        key: row.get(3)?,
        source: source.zip(source_position),
        causation_id: row.get(6)?,
        correlation_id: row.get(7)?,
        actor: actor(row, 8)?,
        admitted_at: row.get(9)?,
        traceparent: row.get(10)?,
        payload: row.get(11)?,
        fingerprint: row.get(12)?,
        answer: row.get(13)?,
        code_version: row.get(14)?,
    })
}

pub(crate) fn outbox_envelope(row: &Row, source: &str, log_id: &str) -> Result<Envelope, JournalError> {
    Ok(Envelope {
        source: source.to_owned(),
        log_id: log_id.to_owned(),
        position: row.get(0)?,
        id: row.get(1)?,
        subject: row.get(2)?,
        key: row.get(3)?,
        causation_id: row.get(4)?,
        correlation_id: row.get(5)?,
        actor: actor(row, 6)?,
        time: row.get(7)?,
        traceparent: row.get(8)?,
        payload: row.get(9)?,
    })
}

impl TimerRow {
    pub(crate) fn into_values(self) -> Vec<Value> {
        vec![
            self.key.into(),
            self.subject.into(),
            self.id.into(),
            self.due_at.into(),
            self.causation_id.into(),
            self.correlation_id.into(),
            self.traceparent.into(),
            self.payload.into(),
        ]
    }

    pub(crate) fn from_row(row: &Row) -> Result<Self, JournalError> {
        Ok(Self {
            key: row.get(0)?,
            subject: row.get(1)?,
            id: row.get(2)?,
            due_at: row.get(3)?,
            causation_id: row.get(4)?,
            correlation_id: row.get(5)?,
            traceparent: row.get(6)?,
            payload: row.get(7)?,
        })
    }
}

impl EffectRow {
    pub(crate) fn into_values(self) -> Vec<Value> {
        vec![
            self.id.into(),
            self.subject.into(),
            self.key.into(),
            self.state.as_str().into(),
            self.deadline_at.into(),
            self.causation_id.into(),
            self.correlation_id.into(),
            self.actor.to_string().into(),
            self.traceparent.into(),
            self.payload.into(),
            i64::from(self.tries).into(),
            self.try_expires_at.into(),
        ]
    }

    pub(crate) fn from_row(row: &Row) -> Result<Self, JournalError> {
        Ok(Self {
            id: row.get(0)?,
            subject: row.get(1)?,
            key: row.get(2)?,
            state: if row.get::<String>(3)? == EffectState::Pending.as_str() {
                EffectState::Pending
            } else {
                EffectState::Done
            },
            deadline_at: row.get(4)?,
            causation_id: row.get(5)?,
            correlation_id: row.get(6)?,
            actor: actor(row, 7)?,
            traceparent: row.get(8)?,
            payload: row.get(9)?,
            tries: row.get(10)?,
            try_expires_at: row.get(11)?,
        })
    }
}

impl EffectState {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Done => "done",
        }
    }
}

impl DeadLetterRow {
    pub(crate) fn into_values(self) -> Vec<Value> {
        vec![
            self.id.into(),
            self.position.into(),
            self.state.as_str().into(),
            self.subject.into(),
            self.key.into(),
            self.input.into(),
            self.error.into(),
            self.fingerprint.into(),
            i64::from(self.attempts).into(),
            self.died_at.into(),
        ]
    }

    pub(crate) fn from_row(row: &Row) -> Result<Self, JournalError> {
        Ok(Self {
            id: row.get(0)?,
            position: row.get(1)?,
            state: if row.get::<String>(2)? == DeadLetterState::Dead.as_str() {
                DeadLetterState::Dead
            } else {
                DeadLetterState::Parked
            },
            subject: row.get(3)?,
            key: row.get(4)?,
            input: row.get(5)?,
            error: row.get(6)?,
            fingerprint: row.get(7)?,
            attempts: row.get(8)?,
            died_at: row.get(9)?,
        })
    }
}

impl DeadLetterState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Parked => "parked",
        }
    }
}
