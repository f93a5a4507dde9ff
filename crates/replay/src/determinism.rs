//! The same inputs several times at once, under conditions that must not matter.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use futures_util::future::try_join_all;
use pangaea_kernel::{Definition, Replayer, Said};

use crate::ReplayError;
use crate::check::{Progress, digest_of, read_ahead, run};
use crate::compare::compare_replays;
use crate::ignore::Ignore;
use crate::recording::{EndState, Entry, ModuleRecording};
use crate::report::{ModuleReport, StateVerdict};
use crate::scratch::{IN_MEMORY, at_start};

/// Inputs after which the runs are compared.
const WINDOW: usize = 512;

/// One run's conditions. Every map of the standard library has a hash seed of its own anyway, so each run has other ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// What a report calls them.
    pub name: String,
    /// Inputs in one transaction.
    pub batch: usize,
    /// An empty database.
    pub database_url: String,
}

/// Replays a module's inputs under several conditions side by side, and compares every other run with the first: a report per
/// pair, in which the first run stands for what was recorded. What *was* recorded is not looked at.
///
/// # Errors
/// When the file has changed, or a database fails.
pub async fn determinism(
    module: &ModuleRecording,
    definition: Arc<Definition>,
    conditions: &[Conditions],
    keep: usize,
    progress: &Progress,
) -> Result<Vec<ModuleReport>, ReplayError> {
    let begun = Instant::now();
    let mut runs = Vec::with_capacity(conditions.len());
    for one in conditions {
        runs.push(Run::new(module, &definition, one, keep).await?);
    }
    let mut parts = read_ahead(module);
    while let Some(part) = parts.recv().await {
        for entries in part?.chunks(WINDOW) {
            let said = try_join_all(runs.iter_mut().map(|run| run.go(entries))).await?;
            let (first, others) = said.split_first().expect("there is a first run");
            for (run, said) in runs.iter_mut().skip(1).zip(others) {
                run.compare(entries, first, said);
            }
            progress.fetch_add(entries.len() as u64, Ordering::Relaxed);
        }
    }
    let states = try_join_all(runs.iter().map(|run| digest_of(&run.replayer))).await?;
    let (first, others) = states.split_first().expect("there is a first run");
    let first = EndState::Rerun(first.clone());
    let mut reports = Vec::with_capacity(others.len());
    for (run, state) in runs.into_iter().skip(1).zip(others.iter().cloned()) {
        reports.push(run.end(&first, state, begun).await?);
    }
    Ok(reports)
}

/// What nothing may depend on: how inputs are batched, which hash seeds maps have, and, where an empty PostgreSQL database is
/// given, the kind of database. The first is what the others are compared with.
pub fn usual_conditions(postgres_url: Option<String>) -> Vec<Conditions> {
    let one =
        |name: &str, batch: usize, url: &str| Conditions { name: name.to_owned(), batch, database_url: url.to_owned() };
    let mut all = vec![
        one("batches of 512", WINDOW, IN_MEMORY),
        one("one by one", 1, IN_MEMORY),
        one("batches of 7", 7, IN_MEMORY),
        one("batches of 512 again", WINDOW, IN_MEMORY),
    ];
    all.extend(postgres_url.map(|url| one("PostgreSQL, batches of 100", 100, &url)));
    all
}

struct Run {
    replayer: Replayer,
    batch: usize,
    keep: usize,
    report: ModuleReport,
}

// === impl Run ===

impl Run {
    async fn new(
        module: &ModuleRecording,
        definition: &Arc<Definition>,
        conditions: &Conditions,
        keep: usize,
    ) -> Result<Self, ReplayError> {
        let replayer = at_start(module, definition, &conditions.database_url).await?;
        let report = ModuleReport::new(&format!("{} ({})", module.name(), conditions.name));
        Ok(Self { replayer, batch: conditions.batch.max(1), keep, report })
    }

    async fn go(&mut self, entries: &[Entry]) -> Result<Vec<Said>, ReplayError> {
        let mut said = Vec::with_capacity(entries.len());
        for entries in entries.chunks(self.batch) {
            said.extend(run(&mut self.replayer, entries).await?);
        }
        Ok(said)
    }

    fn compare(&mut self, entries: &[Entry], first: &[Said], said: &[Said]) {
        for ((entry, one), other) in entries.iter().zip(first).zip(said) {
            self.report.inputs += 1;
            self.report.outputs += one.messages.len() as u64;
            if let Some(difference) = compare_replays(entry, one, other) {
                self.report.differs(difference, self.keep);
            }
        }
    }

    async fn end(
        self,
        first: &EndState,
        state: BTreeMap<String, crate::TableDigest>,
        begun: Instant,
    ) -> Result<ModuleReport, ReplayError> {
        let state = StateVerdict::of(first, state, &Ignore::default());
        let module = self.replayer.database().module().to_owned();
        self.replayer.stop().await.map_err(ReplayError::journal(&module))?;
        Ok(ModuleReport { state, seconds: begun.elapsed().as_secs_f64(), ..self.report })
    }
}
