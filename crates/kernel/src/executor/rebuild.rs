//! The writer's part of a rebuild: each step is a transaction of its own.

use std::sync::Arc;

use pangaea_journal::{JournalError, Record, ShadowRows, TableChange, TableShape};

use super::abort::Abort;
use super::{BatchResult, Done, Executor, ExecutorError};
use crate::rebuild::{InputDifference, LastInputs, RebuildError};
use crate::{SettingsRow, Source};

/// Inputs that the writer runs in its last step, at most: other work waits for it, for some tenths of a second. With fewer, a
/// store under full load outruns a rebuild for ever.
const LAST_INPUTS_MAX: u64 = 2_048;
const INPUTS_PER_LOOK: usize = 32;

/// One step of a rebuild.
#[derive(Clone, Debug)]
pub enum RebuildStep {
    /// Makes empty shadows of these tables, and drops what another rebuild has left.
    Begin(Arc<[Arc<TableShape>]>),
    /// Puts rows into a shadow.
    Fill(Arc<ShadowRows>),
    /// Runs the inputs that have come since, and puts the shadows in the place of their tables.
    Swap(LastInputs),
    /// Drops the shadows.
    Clear,
}

/// What became of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum RebuildDone {
    Stepped,
    /// Nothing was done: so many inputs have come since that the writer must not be kept for them.
    Behind,
    Swapped(Vec<TableChange>),
    /// Nothing was done, because of the last inputs this one says something else now.
    Refused(InputDifference),
    /// Nothing was done, and a repeat would do nothing either.
    Failed(String),
}

// === impl Executor: rebuilds ===

impl Executor {
    pub(super) async fn run_rebuild(&mut self, step: &RebuildStep) -> Result<BatchResult, ExecutorError> {
        let done = match self.rebuild(step).await {
            Ok(done) => done,
            Err(abort) if abort.is_an_inputs_own() => {
                self.undo().await?;
                RebuildDone::Failed(abort.into_reason())
            }
            Err(abort) => return Err(self.give_back(abort.into_error()).await),
        };
        Ok(BatchResult { done: vec![Done::Rebuild(done)], ..BatchResult::default() })
    }

    async fn rebuild(&mut self, step: &RebuildStep) -> Result<RebuildDone, Abort> {
        self.cx.writer.begin().await.map_err(Abort::Unready)?;
        match step {
            RebuildStep::Begin(shapes) => self.cx.writer.make_shadows(shapes).await?,
            RebuildStep::Fill(rows) => self.cx.writer.fill_shadow(rows).await?,
            RebuildStep::Clear => self.cx.writer.drop_shadows().await?,
            RebuildStep::Swap(last) => return self.swap(last).await,
        }
        self.cx.writer.commit().await?;
        Ok(RebuildDone::Stepped)
    }

    /// In the open transaction, so that no input can come between the last that is run and the swap.
    async fn swap(&mut self, last: &LastInputs) -> Result<RebuildDone, Abort> {
        let mut scratch = last.lock().await;
        let shapes = scratch.shapes.clone();
        if !self.cx.writer.has_shadows(&shapes).await? {
            self.cx.writer.rollback().await?;
            // A commit whose answer was lost is asked for again, and has happened.
            let failed = || RebuildDone::Failed("the shadow tables are gone".to_owned());
            let Some(swapped) = scratch.swapped.clone() else { return Ok(failed()) };
            self.take_settings(&shapes).await?;
            return Ok(RebuildDone::Swapped(swapped));
        }
        let end = self.cx.writer.head().inbox_end;
        if end - scratch.position() > LAST_INPUTS_MAX {
            self.cx.writer.rollback().await?;
            return Ok(RebuildDone::Behind);
        }
        while scratch.position() < end {
            // In small parts: a server ends a session that is silent for long in a transaction.
            let ran = scratch.run(&mut Source::Writer(&mut self.cx.writer), INPUTS_PER_LOOK).await;
            ran.map_err(of_the_writer)?;
        }
        scratch.ends(&mut Source::Writer(&mut self.cx.writer)).await.map_err(of_the_writer)?;
        if let Some(RebuildError::Differs(first)) = scratch.refusal() {
            self.cx.writer.rollback().await?;
            return Ok(RebuildDone::Refused(*first));
        }
        let mut swapped = Vec::with_capacity(shapes.len());
        for shape in &shapes {
            // Few: the last inputs have changed them. The notes stay, in case that this transaction comes to nothing.
            let changes = scratch.noted_changes(shape, u64::MAX).await.map_err(of_the_writer)?;
            self.cx.writer.fill_shadow(&changes).await?;
            swapped.push(self.cx.writer.swap_shadow(shape).await?);
        }
        scratch.swapped = Some(swapped.clone());
        self.cx.writer.commit().await?;
        self.take_settings(&shapes).await?;
        Ok(RebuildDone::Swapped(swapped))
    }

    /// They stand in a table, which may have been swapped.
    async fn take_settings(&mut self, swapped: &[Arc<TableShape>]) -> Result<(), Abort> {
        if swapped.iter().all(|shape| shape.table != SettingsRow::TABLE) {
            return Ok(());
        }
        let definition = self.cx.definition.clone();
        let stored = SettingsRow::stored(self.cx.writer.database()).await?;
        let value = stored.unwrap_or_else(|| definition.default_settings().clone());
        self.settings = definition.parse_settings(&value).map_err(JournalError::Decode)?;
        Ok(())
    }
}

/// What fails in the scratch fails again; a database that is away is waited for.
fn of_the_writer(error: RebuildError) -> Abort {
    match error {
        RebuildError::Database(error) => Abort::Journal(error),
        other => Abort::Poison(other.to_string()),
    }
}
