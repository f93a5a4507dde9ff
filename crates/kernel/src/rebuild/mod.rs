//! Tables made again from a module's history while its store runs.
//!
//! All inputs are run through the handlers of this program in a scratch database. Where the handlers say what was said, the
//! rows that they make go into shadow tables beside the module's own, in steps that its writer takes between its batches. A
//! last step of the writer's runs the inputs that came meanwhile and swaps, in one transaction.

mod compare;
mod difference;
mod progress;
mod scratch;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use pangaea_journal::{Database, JournalError, ShadowRows, Snapshot, TableChange, TablePlace, TableShape};
use serde::{Deserialize, Serialize};

use self::compare::compare_table;
pub use self::difference::InputDifference;
pub use self::progress::{RebuildFacts, RebuildPhase, RebuildProgress};
pub use self::scratch::LastInputs;
use self::scratch::Scratch;
use crate::{Definition, Done, HistoryError, RebuildDone, RebuildStep, Source, Work};

/// Inputs run in one transaction of the scratch.
const INPUTS_PER_STEP: usize = 256;
/// Inputs read from one snapshot: one that is held for long keeps a database from tidying up.
const INPUTS_PER_SNAPSHOT: u64 = 10_000;
/// Rows that one step of the writer's puts into a shadow.
const ROWS_PER_STEP: usize = 500;
/// Tries to reach an end that runs away.
const ROUNDS_MAX: u32 = 100;

/// What is to be rebuilt, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebuildOptions {
    /// The name of a projection; `None`: every table of the module's own.
    pub projection: Option<String>,
    /// Compare, and change nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Go on where this program says of an input what was not said.
    #[serde(default)]
    pub force: bool,
}

/// What a rebuild has done, or would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebuildReport {
    pub module: String,
    pub projection: Option<String>,
    pub dry_run: bool,
    /// Inputs that were run: the whole history.
    pub inputs: u64,
    /// Inputs of which something else is said now.
    pub differing: u64,
    pub first_difference: Option<InputDifference>,
    pub tables: Vec<TableChange>,
}

/// Why a rebuild has come to no end. Then no table has changed, unless the answer to the last step is lost.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error("{module} has no projection {projection:?}; {known}")]
    UnknownProjection { module: String, projection: String, known: String },
    #[error(
        "this program does not say of the input at {} ({} {}, handled by release {}) what was said: {}; what it would \
         rebuild belongs to another history. Rebuild with the release that handled it, or go on all the same with --force",
        .0.position, .0.subject, .0.id, .0.handled_by, .0.what
    )]
    Differs(Box<InputDifference>),
    #[error("it was cancelled; nothing has changed")]
    Cancelled,
    #[error("{0}")]
    History(String),
    #[error("{0}")]
    Tables(String),
    #[error("{0}; nothing has changed")]
    Step(String),
    /// The writer is gone.
    #[error("{0}")]
    Lost(String),
    #[error("the database: {0}")]
    Database(JournalError),
    #[error("the scratch database, in the system's temporary folder: {0}")]
    Scratch(JournalError),
}

impl From<HistoryError> for RebuildError {
    fn from(error: HistoryError) -> Self {
        match error {
            HistoryError::Database(error) => Self::Database(error),
            HistoryError::Torn(reason) => Self::History(reason),
        }
    }
}

/// The way to a module's writer.
pub trait Steps: Send {
    /// Has the writer do one thing, between its batches.
    ///
    /// # Errors
    /// When the writer is gone, and what of it is known then.
    fn take(&mut self, work: Work) -> BoxFuture<'_, Result<Done, String>>;

    /// Called between two pieces of work, so that a store that runs gets its share of the machine.
    fn rest(&mut self) -> BoxFuture<'_, ()>;
}

/// One rebuild.
pub struct Rebuild<'a> {
    definition: Arc<Definition>,
    database: Database,
    options: RebuildOptions,
    progress: &'a RebuildProgress,
    steps: &'a mut dyn Steps,
}

// === impl Rebuild ===

impl<'a> Rebuild<'a> {
    /// `database` is the module's, to be read.
    pub fn new(
        definition: Arc<Definition>,
        database: Database,
        options: RebuildOptions,
        progress: &'a RebuildProgress,
        steps: &'a mut dyn Steps,
    ) -> Self {
        Self { definition, database, options, progress, steps }
    }

    /// Runs it to its end. It must not be dropped half-way: [`RebuildProgress::cancel`] ends it.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn run(mut self) -> Result<RebuildReport, RebuildError> {
        let wanted = self.wanted()?;
        let must_not_differ = !self.options.force && !self.options.dry_run;
        let mut scratch = Scratch::new(self.definition.clone(), must_not_differ).await?;
        let mut stored = self.catch_up(&mut scratch).await?;
        scratch.shapes = self.shapes(&scratch, &mut stored, wanted.as_deref()).await?;
        if self.options.dry_run {
            let tables = self.compare(&scratch, &mut stored).await?;
            return Ok(self.report(&scratch, tables));
        }
        stored.close().await.map_err(RebuildError::Database)?;
        scratch.note_changes().await?;
        let last = LastInputs::new(scratch);
        match self.build_and_swap(&last).await {
            Ok(tables) => {
                let scratch = last.lock().await;
                Ok(self.report(&scratch, tables))
            }
            Err(error) => {
                // Where the writer is gone, the next rebuild drops them.
                let _ = self.step(RebuildStep::Clear).await;
                Err(error)
            }
        }
    }

    /// The tables of the projection; none: all.
    fn wanted(&self) -> Result<Option<Vec<&'static str>>, RebuildError> {
        let Some(name) = &self.options.projection else { return Ok(None) };
        let projections = self.definition.projections();
        if let Some(found) = projections.iter().find(|one| one.name == *name) {
            return Ok(Some(found.tables.clone()));
        }
        let names: Vec<&str> = projections.iter().map(|one| one.name).collect();
        let known = match names.is_empty() {
            true => "it declares none: without --projection all of its tables are rebuilt".to_owned(),
            false => format!("it has {}", names.join(", ")),
        };
        let module = self.definition.name().to_owned();
        Err(RebuildError::UnknownProjection { module, projection: name.clone(), known })
    }

    /// Runs everything that is committed: the snapshot in which the scratch is at the newest input.
    async fn catch_up(&mut self, scratch: &mut Scratch) -> Result<Snapshot, RebuildError> {
        let mut rounds = 0;
        let mut behind = u64::MAX;
        loop {
            let mut snapshot = self.database.snapshot().await.map_err(RebuildError::Database)?;
            let end = snapshot.head().inbox_end;
            self.progress.inputs(scratch.position(), end);
            let last = end.min(scratch.position() + INPUTS_PER_SNAPSHOT);
            while scratch.position() < last {
                self.check_cancelled()?;
                scratch.run(&mut Source::Snapshot(&mut snapshot), INPUTS_PER_STEP).await?;
                if let Some(refusal) = scratch.refusal() {
                    return Err(refusal);
                }
                self.progress.inputs(scratch.position(), end);
                self.steps.rest().await;
            }
            if scratch.position() == end {
                scratch.ends(&mut Source::Snapshot(&mut snapshot)).await?;
                return Ok(snapshot);
            }
            snapshot.close().await.map_err(RebuildError::Database)?;
            // The history behind is long: only rounds that come no nearer are counted.
            rounds = if end - scratch.position() < behind { 0 } else { rounds + 1 };
            behind = end - scratch.position();
            if rounds > ROUNDS_MAX {
                return Err(RebuildError::Step("the store takes inputs faster than they can be run again".to_owned()));
            }
        }
    }

    /// What the tables to be rebuilt look like, in the store and in the scratch alike.
    async fn shapes(
        &mut self,
        scratch: &Scratch,
        stored: &mut Snapshot,
        wanted: Option<&[&'static str]>,
    ) -> Result<Vec<Arc<TableShape>>, RebuildError> {
        let mut rebuilt = scratch.snapshot().await?;
        let made = rebuilt.tables().await.map_err(RebuildError::Scratch)?;
        rebuilt.close().await.map_err(RebuildError::Scratch)?;
        let mut shapes = stored.tables().await.map_err(RebuildError::Database)?;
        let tables = |shapes: &[TableShape]| shapes.iter().map(|shape| shape.table.clone()).collect::<Vec<_>>();
        let names = match wanted {
            Some(wanted) => wanted.iter().map(ToString::to_string).collect(),
            None => [tables(&made), tables(&shapes)].concat(),
        };
        if let Some(missing) = names.iter().find(|name| !tables(&made).contains(*name)) {
            return Err(RebuildError::Tables(format!(
                "this program makes no table {missing}: rebuild with one that does"
            )));
        }
        shapes.retain(|shape| names.contains(&shape.table));
        for like in made.iter().filter(|shape| names.contains(&shape.table)) {
            let sorted = |shape: &TableShape| {
                let mut columns = shape.columns.clone();
                columns.sort();
                columns
            };
            let found = shapes.iter().find(|shape| shape.table == like.table);
            if found.is_none_or(|found| sorted(found) != sorted(like) || found.key_names() != like.key_names()) {
                let table = &like.table;
                return Err(RebuildError::Tables(format!(
                    "the table {table} has other columns than this program makes: rebuild with the release that leads"
                )));
            }
        }
        shapes.iter().try_for_each(TableShape::can_be_shadowed).map_err(RebuildError::Tables)?;
        Ok(shapes.into_iter().map(Arc::new).collect())
    }

    async fn compare(&mut self, scratch: &Scratch, stored: &mut Snapshot) -> Result<Vec<TableChange>, RebuildError> {
        self.progress.phase(RebuildPhase::Comparing);
        let mut rebuilt = scratch.snapshot().await?;
        let mut changes = Vec::with_capacity(scratch.shapes.len());
        for shape in &scratch.shapes {
            self.check_cancelled()?;
            changes.push(compare_table(shape, stored, &mut rebuilt).await?);
        }
        rebuilt.close().await.map_err(RebuildError::Scratch)?;
        Ok(changes)
    }

    async fn build_and_swap(&mut self, last: &LastInputs) -> Result<Vec<TableChange>, RebuildError> {
        let shapes = last.lock().await.shapes.clone();
        self.step(RebuildStep::Begin(shapes.clone().into())).await?;
        let scratch = last.lock().await;
        self.copy(&scratch).await?;
        drop(scratch);
        for _ in 0..ROUNDS_MAX {
            let mut scratch = last.lock().await;
            let snapshot = self.catch_up(&mut scratch).await?;
            snapshot.close().await.map_err(RebuildError::Database)?;
            self.copy_changes(&mut scratch).await?;
            drop(scratch);
            self.check_cancelled()?;
            self.progress.phase(RebuildPhase::Swapping);
            match self.step(RebuildStep::Swap(last.clone())).await? {
                RebuildDone::Swapped(tables) => return Ok(tables),
                // So many inputs have come since that the writer must not be kept for them.
                _ => self.progress.phase(RebuildPhase::Running),
            }
        }
        Err(RebuildError::Step("the store takes inputs faster than they can be run again".to_owned()))
    }

    /// Every row, while the scratch stands still.
    async fn copy(&mut self, scratch: &Scratch) -> Result<(), RebuildError> {
        self.progress.phase(RebuildPhase::Copying);
        let mut rebuilt = scratch.snapshot().await?;
        for shape in &scratch.shapes {
            let mut place = TablePlace::default();
            loop {
                let rows = rebuilt.rows(shape, &mut place, ROWS_PER_STEP).await.map_err(RebuildError::Scratch)?;
                if rows.is_empty() {
                    break;
                }
                self.fill(ShadowRows { shape: shape.clone(), rows, gone: Vec::new() }).await?;
            }
        }
        rebuilt.close().await.map_err(RebuildError::Scratch)
    }

    /// What later inputs have changed.
    async fn copy_changes(&mut self, scratch: &mut Scratch) -> Result<(), RebuildError> {
        for shape in scratch.shapes.clone() {
            loop {
                let changes = scratch.noted_changes(&shape, ROWS_PER_STEP as u64).await?;
                if changes.rows.is_empty() && changes.gone.is_empty() {
                    break;
                }
                self.fill(changes.clone()).await?;
                scratch.forget_changes(&changes).await?;
            }
        }
        Ok(())
    }

    async fn fill(&mut self, rows: ShadowRows) -> Result<(), RebuildError> {
        self.check_cancelled()?;
        let count = (rows.rows.len() + rows.gone.len()) as u64;
        self.step(RebuildStep::Fill(rows.into())).await?;
        self.progress.copied(count);
        self.steps.rest().await;
        Ok(())
    }

    async fn step(&mut self, step: RebuildStep) -> Result<RebuildDone, RebuildError> {
        match self.steps.take(Work::Rebuild(step)).await {
            Ok(Done::Rebuild(RebuildDone::Refused(difference))) => Err(RebuildError::Differs(difference.into())),
            Ok(Done::Rebuild(RebuildDone::Failed(reason))) => Err(RebuildError::Step(reason)),
            Ok(Done::Rebuild(done)) => Ok(done),
            Ok(other) => Err(RebuildError::Step(format!("the writer answered with {other:?}"))),
            Err(reason) => Err(RebuildError::Lost(reason)),
        }
    }

    fn check_cancelled(&self) -> Result<(), RebuildError> {
        if self.progress.is_cancelled() { Err(RebuildError::Cancelled) } else { Ok(()) }
    }

    fn report(&self, scratch: &Scratch, tables: Vec<TableChange>) -> RebuildReport {
        RebuildReport {
            module: self.definition.name().to_owned(),
            projection: self.options.projection.clone(),
            dry_run: self.options.dry_run,
            inputs: scratch.position(),
            differing: scratch.differing,
            first_difference: scratch.first_difference.clone(),
            tables,
        }
    }
}

// === impl RebuildReport ===

impl RebuildReport {
    /// Whether the tables hold what the history makes, and the history is this program's.
    pub fn is_clean(&self) -> bool {
        self.differing == 0 && self.tables.iter().all(TableChange::is_none)
    }
}
