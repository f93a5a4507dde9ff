//! What one input brings about, told.

use pangaea_contracts::Actor;
use pangaea_journal::RowChange;
use pangaea_kernel::Said;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::compare::{Change, InputFacts, Utterance, all_said, compare};
use crate::ignore::Ignore;
use crate::recording::{Entry, EntryKind, to_json};

/// One input: what it was, and what handling it does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Happened {
    pub module: String,
    pub input: InputFacts,
    pub kind: EntryKind,
    pub actor: Actor,
    pub causation_id: String,
    /// Messages, timers, effects, and the answer to a command, as this program says them.
    pub said: Vec<Utterance>,
    pub rows: Vec<RowHistory>,
    /// How that differs from what was recorded; empty where it does not.
    pub changes: Vec<Change>,
}

/// What happened to one row: columns by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowHistory {
    pub table: String,
    /// Its primary key.
    pub key: Map<String, Value>,
    /// `None`: there was no such row, or none is known to have been.
    pub before: Option<Map<String, Value>>,
    /// `None`: it was removed.
    pub after: Option<Map<String, Value>>,
}

// === impl Happened ===

impl Happened {
    pub(crate) fn new(
        module: &str,
        entry: &Entry,
        said: &Said,
        ignore: &Ignore,
        key_of: impl Fn(&str) -> Vec<String>,
    ) -> Self {
        Self {
            module: module.to_owned(),
            input: InputFacts::of(entry),
            kind: entry.kind.clone(),
            actor: entry.actor.clone(),
            causation_id: entry.causation_id.clone(),
            said: all_said(entry, said),
            rows: said.changes.iter().map(|change| RowHistory::new(change, &key_of(change.table))).collect(),
            changes: compare(entry, said, ignore).map(|difference| difference.changes).unwrap_or_default(),
        }
    }

    /// Whether this program does what was recorded.
    pub fn is_as_recorded(&self) -> bool {
        self.changes.is_empty()
    }
}

// === impl RowHistory ===

impl RowHistory {
    fn new(change: &RowChange, key_columns: &[String]) -> Self {
        let named = |values: &Vec<pangaea_journal::Value>| -> Map<String, Value> {
            change.columns.iter().map(|column| (*column).to_owned()).zip(values.iter().map(to_json)).collect()
        };
        let (before, after) = (change.before.as_ref().map(named), change.after.as_ref().map(named));
        let mut key = after.clone().or_else(|| before.clone()).unwrap_or_default();
        key.retain(|column, _| key_columns.contains(column));
        Self { table: change.table.to_owned(), key, before, after }
    }

    /// The columns that differ, with their values before and after.
    pub fn changed(&self) -> impl Iterator<Item = (&str, Option<&Value>, Option<&Value>)> {
        let (before, after) = (self.before.as_ref(), self.after.as_ref());
        let names = before.or(after).into_iter().flat_map(Map::keys);
        let values = names.map(move |name| {
            (name.as_str(), before.and_then(|row| row.get(name)), after.and_then(|row| row.get(name)))
        });
        values.filter(|(_, before, after)| before != after)
    }
}
