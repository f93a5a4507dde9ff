use std::future::Future;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use pangaea_journal::{Database, JournalError};

use super::Definition;

/// What is true of a module's tables at any time, and how breaches of it are found.
#[derive(Clone)]
pub struct Invariant {
    /// In a sentence, e.g. "a score is the sum of its reviews".
    pub what: &'static str,
    find: Arc<dyn for<'a> FindBreaches<'a>>,
}

/// An `async fn(&Database) -> Result<Vec<String>, JournalError>`: breaches as sentences, none where all is sound.
pub trait FindBreaches<'a>: Send + Sync + 'static {
    fn find(&self, database: &'a Database) -> BoxFuture<'a, Result<Vec<String>, JournalError>>;
}

impl<'a, F, Fut> FindBreaches<'a> for F
where
    F: Fn(&'a Database) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Vec<String>, JournalError>> + Send + 'a,
{
    fn find(&self, database: &'a Database) -> BoxFuture<'a, Result<Vec<String>, JournalError>> {
        Box::pin(self(database))
    }
}

// === impl Invariant ===

impl Invariant {
    pub(super) fn new(what: &'static str, find: impl for<'a> FindBreaches<'a>) -> Self {
        Self { what, find: Arc::new(find) }
    }

    /// Breaches as sentences; none where all is sound.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn breaches(&self, database: &Database) -> Result<Vec<String>, JournalError> {
        self.find.find(database).await
    }
}

// === impl Definition: invariants ===

impl Definition {
    /// What is true of the module's tables at any time, and an `async fn(&Database)` that finds breaches of it. It reads what
    /// is committed, and writes nothing: `pangaea verify` asks it of a live store, a scenario at its end.
    #[must_use]
    pub fn invariant(mut self, what: &'static str, find: impl for<'a> FindBreaches<'a>) -> Self {
        self.invariants.push(Invariant::new(what, find));
        self
    }

    pub fn invariants(&self) -> &[Invariant] {
        &self.invariants
    }

    /// Breaches of all invariants, each after what it is against; none where all is sound.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn breaches(&self, database: &Database) -> Result<Vec<String>, JournalError> {
        let mut found = Vec::new();
        for invariant in &self.invariants {
            let breaches = invariant.breaches(database).await?;
            found.extend(breaches.into_iter().map(|breach| format!("{}: {breach}", invariant.what)));
        }
        Ok(found)
    }
}
