//! The databases that can be reached, and who reads whose messages.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Result, bail};
use futures_util::future::join_all;
use pangaea_journal::{CursorRow, Database};
use pangaea_kernel::Definition;
use pangaea_runtime::config::Config;
use serde::Serialize;

use crate::catalogue::{Catalogue, wanted};
use crate::commands::verify::stores::open;

/// The journals that are read, and those that cannot be.
pub(super) struct Stores {
    read: BTreeMap<&'static str, Store>,
    missing: Vec<Missing>,
    definitions: Vec<Arc<Definition>>,
}

struct Store {
    database: Database,
    /// As they stood before anything else was read: what one had passed then is in the inbox now, or will never be.
    cursors: Vec<CursorRow>,
}

/// A module whose journal is not read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Missing {
    pub(super) module: String,
    pub(super) reason: String,
}

// === impl Stores ===

impl Stores {
    /// Opens what `config` names, for reading.
    ///
    /// # Errors
    /// When not one database can be read: then there is nothing to say.
    pub(super) async fn open(config: &Config, catalogue: &Catalogue) -> Result<Self> {
        let definitions = catalogue.definitions(config)?;
        let wanted: Vec<&'static str> = wanted(config, &definitions)?.iter().map(|one| one.name()).collect();
        let opened = join_all(wanted.iter().map(|module| Store::open(module, config))).await;
        let (mut read, mut missing) = (BTreeMap::new(), Vec::new());
        for (module, opened) in wanted.into_iter().zip(opened) {
            match opened {
                Ok(store) => drop(read.insert(module, store)),
                Err(error) => missing.push(Missing { module: module.to_owned(), reason: format!("{error:#}") }),
            }
        }
        if read.is_empty() {
            let reasons: Vec<_> = missing.iter().map(|one| format!("\n  {}: {}", one.module, one.reason)).collect();
            bail!("no database can be read:{}", reasons.concat());
        }
        for definition in &definitions {
            let name = definition.name();
            if !read.contains_key(name) && !missing.iter().any(|one| one.module == name) {
                let reason = "not among the modules to look at (runtime.modules, --modules)".to_owned();
                missing.push(Missing { module: name.to_owned(), reason });
            }
        }
        Ok(Self { read, missing, definitions })
    }

    /// The module's database, where it is read.
    pub(super) fn of(&self, module: &str) -> Option<&Database> {
        self.read.get(module).map(|store| &store.database)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&'static str, &Database)> {
        self.read.iter().map(|(module, store)| (*module, &store.database))
    }

    pub(super) fn missing(&self) -> &[Missing] {
        &self.missing
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.read.keys().map(|module| (*module).to_owned()).collect()
    }

    /// The modules that read this message of `source`, and whether each has gone past this position of its log.
    pub(super) fn readers(&self, source: &str, subject: &str, position: u64) -> Vec<(&'static str, bool)> {
        let reads = |definition: &&Arc<Definition>| {
            definition.consumed().get(source).is_some_and(|subjects| subjects.contains(subject))
        };
        let readers = self.definitions.iter().filter(reads).map(|definition| {
            let reader = definition.reader_of(subject);
            let cursors = self.read.get(definition.name()).map_or(&[][..], |store| &store.cursors);
            let cursor = cursors.iter().find(|cursor| cursor.reader == reader && cursor.source == source);
            (definition.name(), cursor.is_some_and(|cursor| cursor.position >= position))
        });
        readers.collect()
    }

    /// How long one try of an effect may take.
    pub(super) fn try_timeout_ms(&self, module: &str, subject: &str) -> i64 {
        let definition = self.definitions.iter().find(|definition| definition.name() == module);
        definition.and_then(|definition| definition.performer(subject)).map_or(0, |performer| performer.try_timeout_ms)
    }

    pub(super) async fn close(&self) {
        for store in self.read.values() {
            store.database.close().await;
        }
    }
}

// === impl Store ===

impl Store {
    async fn open(module: &'static str, config: &Config) -> Result<Self> {
        let database = open(module, config).await?;
        let cursors = database.cursors().await?;
        Ok(Self { database, cursors })
    }
}
