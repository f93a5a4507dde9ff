//! A recording: one file that holds what modules were given and what they said, and how their state began and ended.
//!
//! Per module: [`ModuleStart`], the rows of its tables where it does not begin with the module's first input, its inputs with
//! their outputs as [`Entry`]s in the order of the inbox, and [`ModuleEnd`]. The bytes are described in `frame.rs`; what is in
//! the frames is JSON, entries and rows a line each.

mod frame;
mod reader;
mod writer;

use std::collections::BTreeMap;

use pangaea_contracts::{Actor, Timestamp};
use pangaea_journal::Value;
use pangaea_kernel::{AdmittedInput, Answer, Asked, Input, InputKind, Recorded, effect_of_result};
use serde::{Deserialize, Serialize};

pub use self::reader::{Entries, ModuleRecording, Recording, Rows};
pub use self::writer::RecordingWriter;
use crate::state::TableDigest;

/// What a recording as a whole says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// The release that made it.
    pub made_by: String,
    pub made_at: Timestamp,
    /// Whether what contracts mark as secret or personal was replaced, by the same text for the same value.
    pub redacted: bool,
}

/// What a recording says of a module before its inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModuleStart {
    pub module: String,
    /// Names the history that it was taken from.
    pub log_id: String,
    /// The position of the first input; 1 where it begins with an empty state.
    pub first: u64,
    /// The settings in force before the first input; `None`: those that the code begins with.
    pub settings: Option<serde_json::Value>,
    /// JSON Schemas of what the module handled and said, by subject.
    pub schemas: BTreeMap<String, serde_json::Value>,
    /// The exact digest before the first input.
    pub state: BTreeMap<String, TableDigest>,
}

/// What a recording says of a module after its inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModuleEnd {
    /// The position of the last input; one before the first where there is none.
    pub last: u64,
    pub inputs: u64,
    /// Messages; timers and effects are not counted.
    pub outputs: u64,
    /// When the first and the last input were admitted.
    pub times: Option<(Timestamp, Timestamp)>,
    /// The releases that handled the inputs, with how many each.
    pub handled_by: BTreeMap<String, u64>,
    /// Inputs of which it is not known which timers and effects they asked for: an older release handled them.
    pub asked_unknown: u64,
    pub end: EndState,
}

/// The exact digest after the last input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndState {
    /// As it stood in the store's tables.
    Stored(BTreeMap<String, TableDigest>),
    /// Of a recording that is redacted or ends before the newest input: from a rerun of its inputs when it was made, which
    /// said all that had been said.
    Rerun(BTreeMap<String, TableDigest>),
    /// Not known, and why: then only what is said is compared.
    Unknown(String),
}

/// An input as it was handled, with all that it brought about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub position: u64,
    #[serde(rename = "at")]
    pub admitted_at: Timestamp,
    pub id: String,
    pub kind: EntryKind,
    pub subject: String,
    pub key: String,
    #[serde(rename = "cause")]
    pub causation_id: String,
    #[serde(rename = "correlation")]
    pub correlation_id: String,
    pub actor: Actor,
    #[serde(rename = "trace", default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    pub payload: String,
    /// The release that handled it.
    #[serde(rename = "by")]
    pub handled_by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<Output>,
    /// Timers and effects. `None`: not written down by the release that handled it.
    pub asked: Option<Vec<Asked>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    Command,
    Delivery { source: String, position: u64 },
    Timer,
    EffectResult,
    Settings,
}

/// A message that an input brought about. What is `None` is as the input has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output {
    pub id: String,
    pub subject: String,
    pub key: String,
    #[serde(rename = "correlation", default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<Actor>,
    #[serde(rename = "at", default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
    #[serde(rename = "trace", default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    pub payload: String,
}

/// Some rows of one table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableRows {
    pub table: String,
    pub columns: Vec<String>,
    pub rows: Vec<Vec<serde_json::Value>>,
}

// === impl Entry ===

impl Entry {
    pub(crate) fn of(recorded: Recorded) -> Self {
        let Recorded { position, input, messages, asked, answer, handled_by } = recorded;
        let AdmittedInput { admitted_at, input } = input;
        let kind = match input.kind {
            InputKind::Command { .. } => EntryKind::Command,
            InputKind::Delivery { source, position, .. } => EntryKind::Delivery { source, position },
            InputKind::Timer => EntryKind::Timer,
            InputKind::EffectResult { .. } => EntryKind::EffectResult,
            InputKind::Settings => EntryKind::Settings,
        };
        let mut entry = Self {
            position,
            admitted_at,
            id: input.id,
            kind,
            subject: input.subject,
            key: input.key,
            causation_id: input.causation_id,
            correlation_id: input.correlation_id,
            actor: input.actor,
            traceparent: input.traceparent,
            payload: input.payload,
            handled_by,
            answer,
            messages: Vec::new(),
            asked,
        };
        entry.messages = messages.iter().map(|message| Output::of(&entry, message)).collect();
        entry
    }

    /// The input, to be handled again.
    pub fn to_input(&self) -> AdmittedInput {
        let kind = match &self.kind {
            // A fingerprint tells repeats apart, and an inbox holds none.
            EntryKind::Command => InputKind::Command { fingerprint: String::new() },
            EntryKind::Delivery { source, position } => InputKind::Delivery {
                source: source.clone(),
                log_id: String::new(),
                after: position.saturating_sub(1),
                position: *position,
            },
            EntryKind::Timer => InputKind::Timer,
            EntryKind::EffectResult => {
                InputKind::EffectResult { effect_id: effect_of_result(&self.id).unwrap_or(&self.id).to_owned() }
            }
            EntryKind::Settings => InputKind::Settings,
        };
        let input = Input {
            id: self.id.clone(),
            kind,
            subject: self.subject.clone(),
            key: self.key.clone(),
            causation_id: self.causation_id.clone(),
            correlation_id: self.correlation_id.clone(),
            actor: self.actor.clone(),
            traceparent: self.traceparent.clone(),
            payload: self.payload.clone(),
            secrets: Vec::new(),
        };
        AdmittedInput { admitted_at: self.admitted_at, input }
    }
}

// === impl ModuleEnd ===

impl ModuleEnd {
    /// Of nothing yet.
    pub(crate) fn before(first: u64) -> Self {
        Self {
            last: first.saturating_sub(1),
            inputs: 0,
            outputs: 0,
            times: None,
            handled_by: BTreeMap::new(),
            asked_unknown: 0,
            end: EndState::Unknown(String::new()),
        }
    }

    pub(crate) fn count(&mut self, entry: &Entry) {
        self.last = self.last.max(entry.position);
        self.inputs += 1;
        self.outputs += entry.messages.len() as u64;
        self.asked_unknown += u64::from(entry.asked.is_none());
        *self.handled_by.entry(entry.handled_by.clone()).or_default() += 1;
        let first = self.times.map_or(entry.admitted_at, |(first, _)| first);
        self.times = Some((first, entry.admitted_at));
    }
}

// === impl TableRows ===

impl TableRows {
    pub(crate) fn new(table: &str, columns: &[String], rows: &[Vec<Value>]) -> Self {
        let rows = rows.iter().map(|row| row.iter().map(to_json).collect()).collect();
        Self { table: table.to_owned(), columns: columns.to_vec(), rows }
    }

    pub(crate) fn values(&self) -> Vec<Vec<Value>> {
        self.rows.iter().map(|row| row.iter().map(from_json).collect()).collect()
    }
}

/// A column's value as JSON: a number, a text, or null.
pub(crate) fn to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Int(number) => serde_json::Value::from(*number),
        Value::Text(text) => serde_json::Value::from(text.clone()),
    }
}

fn from_json(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Text(None),
        serde_json::Value::Number(number) => Value::Int(number.as_i64()),
        serde_json::Value::String(text) => Value::from(text.as_str()),
        other => Value::from(other.to_string()),
    }
}
