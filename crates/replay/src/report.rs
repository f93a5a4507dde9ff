//! What a replay found.

use std::collections::BTreeMap;

use pangaea_contracts::Timestamp;
use serde::{Deserialize, Serialize};

use crate::compare::Difference;
use crate::ignore::Ignore;
use crate::recording::{EndState, Recording};
use crate::state::TableDigest;

/// What became of replaying a recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub recording: RecordingFacts,
    /// The release that replayed.
    pub replayed_by: String,
    pub modules: Vec<ModuleReport>,
}

/// Which recording it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordingFacts {
    pub file: String,
    pub id: String,
    pub made_by: String,
    pub made_at: Timestamp,
    pub redacted: bool,
}

/// The same of one module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModuleReport {
    pub module: String,
    pub inputs: u64,
    /// Messages that were recorded for these inputs.
    pub outputs: u64,
    /// Inputs whose timers and effects are not compared, because nobody wrote them down.
    pub asked_unknown: u64,
    /// Inputs that brought about something else.
    pub differing: u64,
    /// The first of them.
    pub differences: Vec<Difference>,
    pub state: StateVerdict,
    pub seconds: f64,
}

/// Whether the module's tables end as they did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateVerdict {
    Equal,
    Differs(Vec<TableDifference>),
    /// And why not.
    NotCompared(String),
}

/// A table that ends otherwise, or is not there. `None`: there is no such table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableDifference {
    pub table: String,
    pub recorded: Option<TableDigest>,
    pub replayed: Option<TableDigest>,
}

// === impl Report ===

impl Report {
    pub fn new(recording: &Recording, modules: Vec<ModuleReport>) -> Self {
        let header = recording.header();
        let facts = RecordingFacts {
            file: recording.file().display().to_string(),
            id: recording.id().to_owned(),
            made_by: header.made_by.clone(),
            made_at: header.made_at,
            redacted: header.redacted,
        };
        Self { recording: facts, replayed_by: env!("CARGO_PKG_VERSION").to_owned(), modules }
    }

    /// Whether nothing differs.
    pub fn is_clean(&self) -> bool {
        self.modules.iter().all(ModuleReport::is_clean)
    }
}

// === impl ModuleReport ===

impl ModuleReport {
    pub(crate) fn new(module: &str) -> Self {
        Self {
            module: module.to_owned(),
            inputs: 0,
            outputs: 0,
            asked_unknown: 0,
            differing: 0,
            differences: Vec::new(),
            state: StateVerdict::Equal,
            seconds: 0.0,
        }
    }

    /// Counts a difference, and keeps it while there are fewer than `keep`.
    pub(crate) fn differs(&mut self, difference: Difference, keep: usize) {
        self.differing += 1;
        if self.differences.len() < keep {
            self.differences.push(difference);
        }
    }

    pub fn is_clean(&self) -> bool {
        self.differing == 0 && !matches!(self.state, StateVerdict::Differs(_))
    }

    pub fn inputs_per_second(&self) -> f64 {
        self.inputs as f64 / self.seconds.max(0.001)
    }
}

// === impl StateVerdict ===

impl StateVerdict {
    pub(crate) fn of(end: &EndState, replayed: BTreeMap<String, TableDigest>, ignore: &Ignore) -> Self {
        let recorded = match end {
            EndState::Stored(state) | EndState::Rerun(state) => state,
            EndState::Unknown(reason) => return Self::NotCompared(reason.clone()),
        };
        let names = recorded.keys().chain(replayed.keys().filter(|name| !recorded.contains_key(*name)));
        let differing = names.filter(|name| !ignore.takes_table(name)).filter_map(|name| {
            let (was, is) = (recorded.get(name), replayed.get(name));
            (was != is).then(|| TableDifference { table: name.clone(), recorded: was.cloned(), replayed: is.cloned() })
        });
        let mut differing: Vec<_> = differing.collect();
        // A table of a later release that is empty says nothing else than one that is not there.
        differing.retain(|one| {
            let rows = |digest: &Option<TableDigest>| digest.as_ref().map_or(0, |digest| digest.rows);
            one.recorded.is_some() && one.replayed.is_some() || rows(&one.recorded) + rows(&one.replayed) > 0
        });
        if differing.is_empty() { Self::Equal } else { Self::Differs(differing) }
    }
}
