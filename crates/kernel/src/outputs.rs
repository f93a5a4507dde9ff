use pangaea_contracts::{Envelope, Timestamp};
use pangaea_journal::{EffectRow, TimerRow};
use serde::{Deserialize, Serialize};

use crate::Observation;

/// What one input has said so far. It reaches the writer only when the handler has succeeded.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    pub(crate) messages: Vec<Envelope>,
    pub(crate) timers: Vec<TimerChange>,
    pub(crate) effects: Vec<EffectRow>,
    /// For the operator alone: no part of what the input has said.
    pub(crate) observations: Vec<Observation>,
    /// The first thing that the handler said but may not say.
    pub(crate) fault: Option<String>,
    /// Ids derived so far.
    pub(crate) ids: u32,
    /// Whether the handler used SQL of its own: then its changes cannot be taken back in memory.
    pub(crate) used_sql: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum TimerChange {
    Set(TimerRow),
    Cancel { key: String, subject: String },
}

/// What an input asked for beside messages, as it stands in the inbox: the rows of timers and effects move and go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    Timer { id: String, subject: String, key: String, due_at: Timestamp, payload: String },
    Cancel { subject: String, key: String },
    Effect { id: String, subject: String, key: String, deadline_at: Timestamp, payload: String },
}

// === impl Outputs ===

impl Outputs {
    /// Timers in the order in which they were asked for, then effects likewise.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.timers.iter().map(Asked::from).chain(self.effects.iter().map(Asked::from)).collect()
    }
}

// === impl Asked ===

impl Asked {
    /// As it is kept beside an input: JSON, and nothing where nothing was asked for.
    ///
    /// # Errors
    /// Never in practice: these are plain texts.
    pub fn encode(all: &[Asked]) -> Result<String, serde_json::Error> {
        if all.is_empty() { Ok(String::new()) } else { serde_json::to_string(all) }
    }

    /// The reverse of [`Asked::encode`].
    ///
    /// # Errors
    /// When the text is none of this or an older release.
    pub fn decode(text: &str) -> Result<Vec<Asked>, serde_json::Error> {
        if text.is_empty() { Ok(Vec::new()) } else { serde_json::from_str(text) }
    }
}

impl From<&TimerChange> for Asked {
    fn from(change: &TimerChange) -> Self {
        match change {
            TimerChange::Set(row) => Self::Timer {
                id: row.id.clone(),
                subject: row.subject.clone(),
                key: row.key.clone(),
                due_at: row.due_at,
                payload: row.payload.clone(),
            },
            TimerChange::Cancel { key, subject } => Self::Cancel { subject: subject.clone(), key: key.clone() },
        }
    }
}

impl From<&EffectRow> for Asked {
    fn from(row: &EffectRow) -> Self {
        Self::Effect {
            id: row.id.clone(),
            subject: row.subject.clone(),
            key: row.key.clone(),
            deadline_at: row.deadline_at,
            payload: row.payload.clone(),
        }
    }
}
