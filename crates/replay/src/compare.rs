//! What an input said when it was recorded, beside what it says now.

use std::collections::{BTreeMap, VecDeque};

use pangaea_contracts::{Envelope, Timestamp};
use pangaea_kernel::{Answer, Asked, Said};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::ignore::Ignore;
use crate::recording::{Entry, Output};

/// Fields of one output that are told apart, at most; the rest is counted as one more.
const FIELDS_MAX: usize = 50;

/// An input that no longer brings about what it did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    pub input: InputFacts,
    pub changes: Vec<Change>,
}

/// Which input it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputFacts {
    /// Its place in the module's inbox.
    pub position: u64,
    pub admitted_at: Timestamp,
    pub id: String,
    pub subject: String,
    pub key: String,
    pub correlation_id: String,
    /// As recorded.
    pub payload: Value,
}

/// One thing that is said, asked for or answered otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "change")]
pub enum Change {
    /// Recorded, and no longer said.
    Missing(Utterance),
    /// Said now, and not recorded.
    Added(Utterance),
    Changed {
        kind: UtteranceKind,
        subject: String,
        key: String,
        fields: Vec<FieldChange>,
    },
    /// The input can no longer be handled.
    Failed {
        reason: String,
    },
}

/// Something that an input brought about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Utterance {
    pub kind: UtteranceKind,
    /// Of an answer: empty, as its key.
    pub subject: String,
    pub key: String,
    /// Its payload; of an answer the body.
    pub payload: Value,
    /// What else is known of it, by name: `@id`, `@due_at` …
    pub about: BTreeMap<String, Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UtteranceKind {
    Message,
    Timer,
    /// A timer taken back.
    Cancel,
    Effect,
    Answer,
}

/// A value that differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FieldChange {
    /// A JSON pointer (RFC 6901) into the payload, or `@` and a name for what is known beside it.
    pub path: String,
    /// `None`: not there, as in `replayed`.
    pub recorded: Option<Value>,
    pub replayed: Option<Value>,
}

/// How an input's recorded outputs differ from those that it has now; `None` when they do not.
pub(crate) fn compare(entry: &Entry, said: &Said, ignore: &Ignore) -> Option<Difference> {
    if is_same(entry, said) {
        return None;
    }
    let changes = match &said.failure {
        Some(reason) => vec![Change::Failed { reason: reason.clone() }],
        None => changes(recorded(entry), replayed(entry, said), ignore),
    };
    (!changes.is_empty()).then(|| Difference { input: InputFacts::of(entry), changes })
}

/// How what one replay says of an input differs from what another says.
pub(crate) fn compare_replays(entry: &Entry, one: &Said, other: &Said) -> Option<Difference> {
    if one.messages == other.messages
        && one.asked == other.asked
        && one.answer == other.answer
        && one.failure == other.failure
    {
        return None;
    }
    let entry = Entry { asked: Some(Vec::new()), ..entry.clone() };
    let changes = match (&one.failure, &other.failure) {
        (None, None) => changes(replayed(&entry, one), replayed(&entry, other), &Ignore::default()),
        (_, Some(reason)) | (Some(reason), None) => vec![Change::Failed { reason: reason.clone() }],
    };
    Some(Difference { input: InputFacts::of(&entry), changes })
}

/// All that an input brings about now, also where nobody wrote down which timers and effects it once asked for.
pub(crate) fn all_said(entry: &Entry, said: &Said) -> Vec<Utterance> {
    let messages = said.messages.iter().map(|message| Utterance::of_message(entry, message));
    messages
        .chain(said.asked.iter().map(Utterance::of_asked))
        .chain(said.answer.iter().map(Utterance::of_answer))
        .collect()
}

/// The way that is taken by millions of inputs: no JSON is parsed where the texts are equal.
fn is_same(entry: &Entry, said: &Said) -> bool {
    said.failure.is_none()
        && entry.answer == said.answer
        && entry.asked.as_ref().is_none_or(|asked| *asked == said.asked)
        && entry.messages.len() == said.messages.len()
        && entry.messages.iter().zip(&said.messages).all(|(output, message)| output.is(entry, message))
}

fn changes(recorded: Vec<Utterance>, replayed: Vec<Utterance>, ignore: &Ignore) -> Vec<Change> {
    let mut waiting: BTreeMap<(UtteranceKind, String, String), VecDeque<Utterance>> = BTreeMap::new();
    for one in replayed {
        waiting.entry(one.name()).or_default().push_back(one);
    }
    let mut changes = Vec::new();
    for was in recorded {
        match waiting.get_mut(&was.name()).and_then(VecDeque::pop_front) {
            None => changes.push(Change::Missing(was)),
            Some(is) => changes.extend(changed(was, is, ignore)),
        }
    }
    changes.extend(waiting.into_values().flatten().map(Change::Added));
    changes.retain(|change| !ignore.takes(change));
    changes
}

fn changed(was: Utterance, is: Utterance, ignore: &Ignore) -> Option<Change> {
    let mut fields = Vec::new();
    for name in was.about.keys().chain(is.about.keys().filter(|name| !was.about.contains_key(*name))) {
        let (was, is) = (was.about.get(name), is.about.get(name));
        if was != is {
            fields.push(FieldChange { path: name.clone(), recorded: was.cloned(), replayed: is.cloned() });
        }
    }
    differing(&mut fields, String::new(), Some(&was.payload), Some(&is.payload));
    fields.retain(|field| !ignore.takes_field(was.kind, &was.subject, &field.path));
    let Utterance { kind, subject, key, .. } = was;
    (!fields.is_empty()).then_some(Change::Changed { kind, subject, key, fields })
}

fn differing(fields: &mut Vec<FieldChange>, path: String, was: Option<&Value>, is: Option<&Value>) {
    if was == is || fields.len() > FIELDS_MAX {
        return;
    }
    match (was, is) {
        (Some(Value::Object(was)), Some(Value::Object(is))) => {
            let added: Map<String, Value> =
                is.iter().filter(|(name, _)| !was.contains_key(*name)).map(|(n, v)| (n.clone(), v.clone())).collect();
            for name in was.keys().chain(added.keys()) {
                let name_in_path = name.replace('~', "~0").replace('/', "~1");
                differing(fields, format!("{path}/{name_in_path}"), was.get(name), is.get(name));
            }
        }
        (Some(Value::Array(was)), Some(Value::Array(is))) => {
            for index in 0..was.len().max(is.len()) {
                differing(fields, format!("{path}/{index}"), was.get(index), is.get(index));
            }
        }
        _ => fields.push(FieldChange { path, recorded: was.cloned(), replayed: is.cloned() }),
    }
}

// === impl Utterance ===

impl Utterance {
    fn name(&self) -> (UtteranceKind, String, String) {
        (self.kind, self.subject.clone(), self.key.clone())
    }

    fn of_message(entry: &Entry, message: &Envelope) -> Self {
        let mut about =
            BTreeMap::from([("@id".to_owned(), json!(message.id)), ("@time".to_owned(), json!(message.time))]);
        // What an output has from its input is not said again for each.
        if message.correlation_id != entry.correlation_id {
            about.insert("@correlation_id".to_owned(), json!(message.correlation_id));
        }
        if message.actor != entry.actor {
            about.insert("@actor".to_owned(), json!(message.actor));
        }
        if let Some(traceparent) = &message.traceparent {
            about.insert("@traceparent".to_owned(), json!(traceparent));
        }
        let payload = parsed(&message.payload);
        Self {
            kind: UtteranceKind::Message,
            subject: message.subject.clone(),
            key: message.key.clone(),
            payload,
            about,
        }
    }

    fn of_asked(asked: &Asked) -> Self {
        let (kind, subject, key, payload, about) = match asked {
            Asked::Timer { id, subject, key, due_at, payload } => (
                UtteranceKind::Timer,
                subject,
                key,
                parsed(payload),
                vec![("@id", json!(id)), ("@due_at", json!(due_at))],
            ),
            Asked::Cancel { subject, key } => (UtteranceKind::Cancel, subject, key, Value::Null, Vec::new()),
            Asked::Effect { id, subject, key, deadline_at, payload } => {
                let about = vec![("@id", json!(id)), ("@deadline_at", json!(deadline_at))];
                (UtteranceKind::Effect, subject, key, parsed(payload), about)
            }
        };
        let about = about.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { kind, subject: subject.clone(), key: key.clone(), payload, about }
    }

    fn of_answer(answer: &Answer) -> Self {
        let about = [("@status", json!(answer.status)), ("@headers", json!(answer.headers))];
        let about = about.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let payload = answer.body.clone();
        Self { kind: UtteranceKind::Answer, subject: String::new(), key: String::new(), payload, about }
    }
}

fn recorded(entry: &Entry) -> Vec<Utterance> {
    let messages = entry.messages.iter().map(|output| Utterance::of_message(entry, &output.to_envelope(entry)));
    let asked = entry.asked.iter().flatten().map(Utterance::of_asked);
    messages.chain(asked).chain(entry.answer.iter().map(Utterance::of_answer)).collect()
}

fn replayed(entry: &Entry, said: &Said) -> Vec<Utterance> {
    let messages = said.messages.iter().map(|message| Utterance::of_message(entry, message));
    // What was asked for is compared only where it was written down.
    let asked = said.asked.iter().filter(|_| entry.asked.is_some()).map(Utterance::of_asked);
    messages.chain(asked).chain(said.answer.iter().map(Utterance::of_answer)).collect()
}

pub(crate) fn parsed(payload: &str) -> Value {
    serde_json::from_str(payload).unwrap_or_else(|_| Value::from(payload))
}

// === impl InputFacts ===

impl InputFacts {
    pub(crate) fn of(entry: &Entry) -> Self {
        Self {
            position: entry.position,
            admitted_at: entry.admitted_at,
            id: entry.id.clone(),
            subject: entry.subject.clone(),
            key: entry.key.clone(),
            correlation_id: entry.correlation_id.clone(),
            payload: parsed(&entry.payload),
        }
    }
}

// === impl Output ===

impl Output {
    /// What a message says that its input does not say already.
    pub(crate) fn of(entry: &Entry, message: &Envelope) -> Self {
        Self {
            id: message.id.clone(),
            subject: message.subject.clone(),
            key: message.key.clone(),
            correlation_id: (message.correlation_id != entry.correlation_id).then(|| message.correlation_id.clone()),
            actor: (message.actor != entry.actor).then(|| message.actor.clone()),
            time: (message.time != entry.admitted_at).then_some(message.time),
            traceparent: message.traceparent.clone(),
            payload: message.payload.clone(),
        }
    }

    fn is(&self, entry: &Entry, message: &Envelope) -> bool {
        self.id == message.id
            && self.subject == message.subject
            && self.key == message.key
            && self.payload == message.payload
            && self.traceparent == message.traceparent
            && *self.correlation_id.as_ref().unwrap_or(&entry.correlation_id) == message.correlation_id
            && *self.actor.as_ref().unwrap_or(&entry.actor) == message.actor
            && self.time.unwrap_or(entry.admitted_at) == message.time
    }

    fn to_envelope(&self, entry: &Entry) -> Envelope {
        Envelope {
            id: self.id.clone(),
            subject: self.subject.clone(),
            source: String::new(),
            log_id: String::new(),
            position: 0,
            key: self.key.clone(),
            causation_id: entry.id.clone(),
            correlation_id: self.correlation_id.clone().unwrap_or_else(|| entry.correlation_id.clone()),
            actor: self.actor.clone().unwrap_or_else(|| entry.actor.clone()),
            time: self.time.unwrap_or(entry.admitted_at),
            traceparent: self.traceparent.clone(),
            payload: self.payload.clone(),
        }
    }
}
