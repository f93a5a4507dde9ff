use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use pangaea_journal::{Database, DatabaseOptions};
use pangaea_kernel::Definition;
use pangaea_runtime::config::Config;

use super::check::Check;
use crate::catalogue::Catalogue;

/// The databases to look at, opened for reading.
pub(super) struct Stores {
    pub(super) all: Vec<Store>,
    /// The provider's ledger, when it is known.
    pub(super) ledger: Option<PathBuf>,
    pub(super) allow_dead_letters: bool,
}

/// One module's database.
pub(super) struct Store {
    pub(super) definition: Arc<Definition>,
    pub(super) database: Database,
}

// === impl Stores ===

impl Stores {
    /// Opens what `config` names. A database that is not there is an error and is not made.
    ///
    /// # Errors
    /// When a database or the ledger is missing, or a module is not known.
    pub(super) async fn open(
        config: &Config,
        catalogue: &Catalogue,
        ledger: Option<PathBuf>,
        allow_dead_letters: bool,
    ) -> Result<Self> {
        let ledger = match ledger {
            Some(path) if !path.is_file() => bail!("there is no ledger at {} (--ledger)", path.display()),
            Some(path) => Some(path),
            None => configured_ledger(config),
        };
        let mut all = Vec::new();
        for definition in catalogue.wanted(config)? {
            let database = open(definition.name(), config).await?;
            all.push(Store { definition, database });
        }
        Ok(Self { all, ledger, allow_dead_letters })
    }

    pub(super) fn of(&self, module: &str) -> Option<&Database> {
        self.all.iter().find(|store| store.module() == module).map(|store| &store.database)
    }

    pub(super) async fn close(&self) {
        for store in &self.all {
            store.database.close().await;
        }
    }
}

// === impl Store ===

impl Store {
    pub(super) fn module(&self) -> &'static str {
        self.definition.name()
    }

    /// What the module says is true of its tables, a check each.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(super) async fn own_invariants(&self) -> Result<Vec<Check>> {
        let mut checks = Vec::new();
        for invariant in self.definition.invariants() {
            let mut check = Check::new(format!("{}: {}", self.module(), invariant.what));
            let breaches = invariant.breaches(&self.database).await;
            for breach in breaches.with_context(|| format!("reading the database of {}", self.module()))? {
                check.breach(breach);
            }
            checks.push(check);
        }
        Ok(checks)
    }
}

/// Opens a module's database for reading. One that is not there is an error and is not made.
pub(in crate::commands) async fn open(module: &'static str, config: &Config) -> Result<Database> {
    let url = &config.database.url;
    if let Some(rest) = url.strip_prefix("sqlite:") {
        let file = sqlite_file(module, rest.strip_prefix("//").unwrap_or(rest))?;
        if !file.is_file() {
            bail!(
                "{module} has no database at {}: start the store once, or say with --config, --set database.url=… or \
                 --modules where it is and which modules are meant",
                file.display()
            );
        }
    }
    let options = DatabaseOptions {
        url: url.clone(),
        read_connections_max: 2,
        synchronous_full: config.database.synchronous_full,
    };
    let database = Database::open(module, &options).await?;
    if database.head().await?.is_none() {
        bail!("the database of {module} has no journal: no store has ever run on it (database.url)");
    }
    Ok(database)
}

/// Where the journal keeps the module's file. Looked at before anything is opened, because opening would make it.
fn sqlite_file(module: &str, template: &str) -> Result<PathBuf> {
    if template == ":memory:" {
        bail!("a store in memory (database.url) ends with its process: there is nothing to look at");
    }
    let name = template.replace("{module}", module);
    let path = PathBuf::from(&name);
    Ok(if path.is_dir() || name.ends_with('/') { path.join(format!("{module}.db")) } else { path })
}

/// The embedded simulator's ledger. A provider elsewhere keeps its ledger to itself.
fn configured_ledger(config: &Config) -> Option<PathBuf> {
    let provider = config.modules.get("payment")?.options.get("provider")?;
    let embedded = provider.get("url").and_then(|url| url.as_str()).is_none_or(str::is_empty);
    let path = Path::new(provider.get("ledger")?.as_str()?);
    (embedded && path.is_file()).then(|| path.to_owned())
}
