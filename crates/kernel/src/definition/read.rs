use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pangaea_contracts::{Kind, Subject};
use pangaea_journal::Migration;

use super::{Definition, Reading, Registered, Serve, Start, reader};
use crate::ErasedPerformer;

// === impl Definition ===

impl Definition {
    pub fn name(&self) -> &'static str {
        self.name
    }

    pub fn all_migrations(&self) -> &[Migration] {
        &self.migrations
    }

    pub fn handler(&self, subject: &str) -> Option<&Registered> {
        self.handlers.get(subject)
    }

    pub fn performs_effects(&self) -> bool {
        !self.performers.is_empty()
    }

    pub fn performer(&self, subject: &str) -> Option<&ErasedPerformer> {
        self.performers.get(subject)
    }

    pub fn server(&self, subject: &str) -> Option<&Serve> {
        self.servers.get(subject)
    }

    /// Requests that this module answers by reading.
    pub fn served(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.servers.keys().copied()
    }

    pub fn says(&self, subject: &str) -> bool {
        self.says.contains(subject)
    }

    /// Subjects read from logs, by the module that speaks them.
    pub fn consumed(&self) -> BTreeMap<String, BTreeSet<&'static str>> {
        let mut sources: BTreeMap<String, BTreeSet<&'static str>> = BTreeMap::new();
        for subject in self.handlers.keys() {
            if let Ok(parsed) = Subject::parse(subject)
                && matches!(parsed.kind, Kind::Event | Kind::Command)
            {
                sources.entry(parsed.owner).or_default().insert(subject);
            }
        }
        sources
    }

    /// What each reader of this module reads of each source, every subject of [`consumed`](Definition::consumed) once.
    pub fn readings(&self) -> Vec<Reading> {
        let mut readings: BTreeMap<(String, String), Reading> = BTreeMap::new();
        for (source, subjects) in self.consumed() {
            for subject in subjects {
                let reader = self.reader_of(subject);
                let start = self.handlers.get(subject).and_then(|handler| self.readers.get(handler.reader?));
                let reading = Reading {
                    reader: reader.clone(),
                    source: source.clone(),
                    start: start.map_or(Start::History, |reader| reader.start),
                    subjects: BTreeSet::new(),
                };
                readings.entry((reader, source.clone())).or_insert(reading).subjects.insert(subject);
            }
        }
        readings.into_values().collect()
    }

    /// The reader of a subject, by the name that its cursors have.
    pub fn reader_of(&self, subject: &str) -> String {
        let own = self.handlers.get(subject).and_then(|handler| handler.reader);
        own.map_or_else(|| self.name.to_owned(), |own| reader::full_name(self.name, own))
    }

    /// Every subject this module handles.
    pub fn handled(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.handlers.keys().copied()
    }

    /// Every subject this module may say, timers and effects included.
    pub fn said(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.says.iter().copied()
    }

    pub fn default_settings(&self) -> &serde_json::Value {
        &self.settings.default
    }

    /// # Errors
    /// Says which field is wrong.
    pub fn parse_settings(&self, value: &serde_json::Value) -> Result<Arc<dyn Any + Send + Sync>, String> {
        (self.settings.parse)(value)
    }

    /// What is wrong with this declaration; the host refuses to start with any.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }
}
