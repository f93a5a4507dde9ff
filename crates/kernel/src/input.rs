use pangaea_contracts::trace::trace_id;
use pangaea_contracts::{Actor, Envelope, Kind, Subject};
use pangaea_journal::{InboxRow, SecretRow};
use serde::{Deserialize, Serialize};

/// Something that may change a module's state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// Unique: of a command derived from its idempotency key, of a delivery the message's id.
    pub id: String,
    pub kind: InputKind,
    pub subject: String,
    pub key: String,
    pub causation_id: String,
    pub correlation_id: String,
    pub actor: Actor,
    pub traceparent: Option<String>,
    /// JSON.
    pub payload: String,
    /// Written in the input's transaction, outside the journal. Never part of a dead letter.
    #[serde(skip)]
    pub secrets: Vec<SecretRow>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InputKind {
    /// From the edge. The fingerprint tells a repeat from another command under the same key.
    Command {
        fingerprint: String,
    },
    /// From a log. Everything in that log after `after` and before `position` was not for this reader.
    Delivery {
        source: String,
        log_id: String,
        after: u64,
        position: u64,
    },
    Timer,
    /// The result of the effect with this id.
    EffectResult {
        effect_id: String,
    },
    /// The module's settings, when they differ from those it last saw.
    Settings,
}

/// The id of the input that an effect's result is.
pub fn result_id(effect_id: &str) -> String {
    format!("{effect_id}{RESULT_SUFFIX}")
}

/// The effect whose result the input with this id is; `None`: it is none.
pub fn effect_of_result(input_id: &str) -> Option<&str> {
    input_id.strip_suffix(RESULT_SUFFIX)
}

const RESULT_SUFFIX: &str = ":result";

// === impl Input ===

impl Input {
    /// An input that nothing else has brought about: its cause is itself, its actor the system.
    pub fn new(kind: InputKind, id: String, subject: &str, key: &str, payload: String) -> Self {
        Self {
            kind,
            subject: subject.to_owned(),
            key: key.to_owned(),
            causation_id: id.clone(),
            correlation_id: id.clone(),
            actor: Actor::system(),
            traceparent: None,
            payload,
            secrets: Vec::new(),
            id,
        }
    }

    /// The input that a message is to the module which reads it.
    pub fn from_envelope(envelope: &Envelope, after: u64) -> Self {
        Self {
            id: envelope.id.clone(),
            kind: InputKind::Delivery {
                source: envelope.source.clone(),
                log_id: envelope.log_id.clone(),
                after,
                position: envelope.position,
            },
            subject: envelope.subject.clone(),
            key: envelope.key.clone(),
            causation_id: envelope.causation_id.clone(),
            correlation_id: envelope.correlation_id.clone(),
            actor: envelope.actor.clone(),
            traceparent: envelope.traceparent.clone(),
            payload: envelope.payload.clone(),
            secrets: Vec::new(),
        }
    }

    /// The input that a row of the inbox tells of. What no row holds is left out: a command's fingerprint tells repeats apart,
    /// and there are none; which log a message stood in does not matter behind its cursor.
    pub fn of_row(row: InboxRow) -> Self {
        // That of a change of settings is no subject of a message.
        let kind = match (row.source, Subject::parse(&row.subject).map(|subject| subject.kind)) {
            (Some((source, position)), _) => {
                InputKind::Delivery { source, log_id: String::new(), after: position.saturating_sub(1), position }
            }
            (None, Ok(Kind::Timer)) => InputKind::Timer,
            (None, Ok(Kind::Effect)) => {
                InputKind::EffectResult { effect_id: effect_of_result(&row.id).unwrap_or(&row.id).to_owned() }
            }
            (None, Ok(_)) => InputKind::Command { fingerprint: String::new() },
            (None, Err(_)) => InputKind::Settings,
        };
        Self {
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
        }
    }

    /// The input of a [`Cx`](crate::Cx) that has not been given one yet.
    pub(crate) fn nothing() -> Self {
        Self {
            id: String::new(),
            kind: InputKind::Settings,
            subject: String::new(),
            key: String::new(),
            causation_id: String::new(),
            correlation_id: String::new(),
            actor: Actor::system(),
            traceparent: None,
            payload: String::new(),
            secrets: Vec::new(),
        }
    }

    /// The trace that it belongs to: 32 hexadecimal digits.
    pub fn trace_id(&self) -> Option<&str> {
        self.traceparent.as_deref().and_then(trace_id)
    }

    pub fn is_command(&self) -> bool {
        matches!(self.kind, InputKind::Command { .. })
    }
}
