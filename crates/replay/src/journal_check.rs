//! A store's own journal through this program's handlers, without a recording between.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use pangaea_journal::Database;
use pangaea_kernel::{Definition, History, Replayer, Source};

use crate::ReplayError;
use crate::check::{Progress, digest_of, run};
use crate::compare::{Difference, compare};
use crate::ignore::Ignore;
use crate::record::PAGE;
use crate::recording::{EndState, Entry};
use crate::report::StateVerdict;
use crate::scratch::{IN_MEMORY, empty};
use crate::state::exact_digest;

/// Differences that are told one by one.
const KEPT_MAX: usize = 20;

/// What this program makes of all that a module has handled.
#[derive(Clone, Debug, PartialEq)]
pub struct JournalReport {
    pub inputs: u64,
    /// Inputs of another release than this one that say something else now: a change between the two.
    pub changed_since: u64,
    /// Inputs of this very release that say something else now: something is wrong with them or with the journal.
    pub differing: u64,
    /// The first of these.
    pub differences: Vec<Difference>,
    pub state: StateVerdict,
}

/// Replays a module's history from its journal, as of now, and compares outputs and tables with what is stored. The store
/// may run.
///
/// # Errors
/// When the database cannot be read, or is torn.
pub async fn check_journal(
    database: &Database,
    definition: &Arc<Definition>,
    progress: &Progress,
) -> Result<JournalReport, ReplayError> {
    let module = definition.name();
    let mut snapshot = database.snapshot().await.map_err(ReplayError::journal(module))?;
    let mut history = History::default();
    let (_, writer) = empty(definition, IN_MEMORY).await?;
    let mut replayer = Replayer::new(writer, definition.clone()).await.map_err(ReplayError::journal(module))?;
    let mut report = JournalReport {
        inputs: 0,
        changed_since: 0,
        differing: 0,
        differences: Vec::new(),
        state: StateVerdict::Equal,
    };
    let last = snapshot.head().inbox_end;
    while report.inputs < last {
        let limit = PAGE.min((last - report.inputs) as usize);
        let page = history.page(&mut Source::Snapshot(&mut snapshot), limit).await;
        let page = page.map_err(ReplayError::history(module))?;
        let entries: Vec<Entry> = page.into_iter().map(Entry::of).collect();
        let said = run(&mut replayer, &entries).await?;
        let differing = entries.iter().zip(&said).filter_map(|(entry, said)| {
            Some((compare(entry, said, &Ignore::default())?, entry.handled_by == env!("CARGO_PKG_VERSION")))
        });
        differing.for_each(|(difference, is_ours)| report.count(difference, is_ours));
        report.inputs += entries.len() as u64;
        progress.fetch_add(entries.len() as u64, Ordering::Relaxed);
    }
    history.ends(&mut Source::Snapshot(&mut snapshot)).await.map_err(ReplayError::history(module))?;
    let stored = exact_digest(&mut snapshot).await.map_err(ReplayError::journal(module))?;
    report.state = match report.changed_since {
        0 => StateVerdict::of(&EndState::Stored(stored), digest_of(&replayer).await?, &Ignore::default()),
        // What follows from a reviewed change is no fault of the tables.
        _ => StateVerdict::NotCompared("another release said otherwise".to_owned()),
    };
    replayer.stop().await.map_err(ReplayError::journal(module))?;
    snapshot.close().await.map_err(ReplayError::journal(module))?;
    Ok(report)
}

// === impl JournalReport ===

impl JournalReport {
    fn count(&mut self, difference: Difference, is_ours: bool) {
        if !is_ours {
            self.changed_since += 1;
            return;
        }
        self.differing += 1;
        if self.differences.len() < KEPT_MAX {
            self.differences.push(difference);
        }
    }
}
