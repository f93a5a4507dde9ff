//! The database in which a history is run again, and how far it has come.

use std::fmt;
use std::sync::Arc;

use pangaea_journal::{Database, DatabaseOptions, ShadowRows, Snapshot, TableChange, TableShape, Writer};
use tokio::sync::{Mutex, MutexGuard};

use super::RebuildError;
use super::difference::InputDifference;
use crate::{Definition, History, Replayer, Source};

/// In a temporary folder, without any fsync.
const PLACE: &str = "sqlite::memory:";

/// What a rebuild builds in. The last inputs are run by the writer's own step, so that it is shared with the executor.
#[derive(Clone)]
pub struct LastInputs(Arc<Mutex<Scratch>>);

pub(crate) struct Scratch {
    replayer: Replayer,
    history: History,
    /// Inputs of which something else is said now, and the first of them.
    pub(crate) differing: u64,
    pub(crate) first_difference: Option<InputDifference>,
    /// The tables that are rebuilt, once they are known.
    pub(crate) shapes: Vec<Arc<TableShape>>,
    /// What the swap found, kept in case that the answer to its commit is lost.
    pub(crate) swapped: Option<Vec<TableChange>>,
    /// Whether inputs that differ keep the tables from being swapped.
    pub(crate) must_not_differ: bool,
}

// === impl LastInputs ===

impl LastInputs {
    pub(super) fn new(scratch: Scratch) -> Self {
        Self(Arc::new(Mutex::new(scratch)))
    }

    pub(crate) async fn lock(&self) -> MutexGuard<'_, Scratch> {
        self.0.lock().await
    }
}

impl fmt::Debug for LastInputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LastInputs")
    }
}

// === impl Scratch ===

impl Scratch {
    /// Empty tables, as this program makes them.
    pub(super) async fn new(definition: Arc<Definition>, must_not_differ: bool) -> Result<Self, RebuildError> {
        let options = DatabaseOptions { url: PLACE.to_owned(), read_connections_max: 1, synchronous_full: false };
        let made = async {
            let database = Database::open(definition.name(), &options).await?;
            let writer = database.writer(definition.all_migrations(), env!("CARGO_PKG_VERSION")).await?;
            Replayer::new(writer, definition).await
        };
        Ok(Self {
            replayer: made.await.map_err(RebuildError::Scratch)?,
            history: History::default(),
            differing: 0,
            first_difference: None,
            shapes: Vec::new(),
            swapped: None,
            must_not_differ,
        })
    }

    /// Of the last input that was run.
    pub(crate) fn position(&self) -> u64 {
        self.history.position()
    }

    /// Runs the next inputs in one transaction, as many as there are and at most `limit`.
    pub(crate) async fn run(&mut self, source: &mut Source<'_>, limit: usize) -> Result<(), RebuildError> {
        let page = self.history.page(source, limit).await?;
        let inputs: Vec<_> = page.iter().map(|recorded| recorded.input.clone()).collect();
        let said = self.replayer.run(&inputs).await.map_err(RebuildError::Scratch)?;
        for (recorded, said) in page.iter().zip(&said) {
            if let Some(difference) = InputDifference::between(recorded, said) {
                self.differing += 1;
                self.first_difference.get_or_insert(difference);
            }
        }
        Ok(())
    }

    /// # Errors
    /// When all inputs have been run, and there is a message that none of them has said.
    pub(crate) async fn ends(&mut self, source: &mut Source<'_>) -> Result<(), RebuildError> {
        Ok(self.history.ends(source).await?)
    }

    /// Why it goes no further, where inputs differ and must not.
    pub(crate) fn refusal(&self) -> Option<RebuildError> {
        let first = self.first_difference.as_ref().filter(|_| self.must_not_differ)?;
        Some(RebuildError::Differs(first.clone().into()))
    }

    pub(super) async fn snapshot(&self) -> Result<Snapshot, RebuildError> {
        self.replayer.database().snapshot().await.map_err(RebuildError::Scratch)
    }

    /// From now on, what changes in these tables is noted.
    pub(super) async fn note_changes(&mut self) -> Result<(), RebuildError> {
        let shapes = self.shapes.clone();
        self.writer().note_changes(&shapes).await.map_err(RebuildError::Scratch)
    }

    pub(crate) async fn noted_changes(
        &mut self,
        shape: &Arc<TableShape>,
        limit: u64,
    ) -> Result<ShadowRows, RebuildError> {
        self.writer().noted_changes(shape, limit).await.map_err(RebuildError::Scratch)
    }

    pub(super) async fn forget_changes(&mut self, changes: &ShadowRows) -> Result<(), RebuildError> {
        self.writer().forget_changes(changes).await.map_err(RebuildError::Scratch)
    }

    fn writer(&mut self) -> &mut Writer {
        self.replayer.writer_mut()
    }
}
