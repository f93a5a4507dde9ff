//! A recording's inputs through this program's handlers, and what they say beside what they said.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use pangaea_contracts::Timestamp;
use pangaea_kernel::{Definition, Replayer, Said};
use tokio::sync::mpsc;

use crate::ReplayError;
use crate::compare::compare;
use crate::ignore::Ignore;
use crate::recording::{EndState, Entry, ModuleRecording};
use crate::report::{ModuleReport, StateVerdict};
use crate::scratch::{IN_MEMORY, at_start};
use crate::state::exact_digest;

/// Parts of a recording that are read ahead: each is about a megabyte.
const PARTS_AHEAD: usize = 2;

/// How a recording is replayed.
#[derive(Clone, Debug)]
pub struct CheckOptions {
    /// Inputs in one transaction; it decides speed and nothing else.
    pub batch: usize,
    pub ignore: Ignore,
    /// Differences that are told one by one; the others are counted.
    pub keep: usize,
    /// Stop behind the first input that differs.
    pub stop_at_first: bool,
    /// Where to stop; `None`: at the end.
    pub until: Option<Until>,
    /// An empty database for the replay.
    pub database_url: String,
}

/// A place in a module's history: the last input that is handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    Position(u64),
    /// Everything admitted at this moment or before.
    Time(Timestamp),
}

/// Inputs that were replayed so far, for who shows progress.
pub type Progress = Arc<AtomicU64>;

impl Default for CheckOptions {
    fn default() -> Self {
        Self {
            batch: 512,
            ignore: Ignore::default(),
            keep: 100,
            stop_at_first: false,
            until: None,
            database_url: IN_MEMORY.to_owned(),
        }
    }
}

/// Replays a module's part of a recording in a database of its own and compares.
///
/// # Errors
/// When the file has changed, or the replay's database fails. A difference is no error.
pub async fn check(
    module: &ModuleRecording,
    definition: Arc<Definition>,
    options: &CheckOptions,
    progress: &Progress,
) -> Result<ModuleReport, ReplayError> {
    let begun = Instant::now();
    let mut replayer = at_start(module, &definition, &options.database_url).await?;
    let began = begins_as_recorded(module, &replayer).await?;
    let mut tally = Tally::new(module.name(), options);
    let mut parts = read_ahead(module);
    let mut is_whole = true;
    while let Some(part) = parts.recv().await {
        let mut part = part?;
        if let Some(until) = options.until {
            let wanted = part.partition_point(|entry| until.includes(entry));
            is_whole = wanted == part.len();
            part.truncate(wanted);
        }
        for entries in part.chunks(options.batch.max(1)) {
            let said = run(&mut replayer, entries).await?;
            entries.iter().zip(&said).for_each(|(entry, said)| tally.count(entry, said));
            progress.fetch_add(entries.len() as u64, Ordering::Relaxed);
            if options.stop_at_first && tally.report.differing > 0 {
                is_whole = false;
                break;
            }
        }
        if !is_whole {
            break;
        }
    }
    let state = match began {
        Err(otherwise) => StateVerdict::NotCompared(otherwise),
        Ok(()) if is_whole => StateVerdict::of(&module.end.end, digest_of(&replayer).await?, &options.ignore),
        Ok(()) => StateVerdict::NotCompared("the replay ends before the recording does".to_owned()),
    };
    replayer.stop().await.map_err(ReplayError::journal(module.name()))?;
    Ok(ModuleReport { state, seconds: begun.elapsed().as_secs_f64(), ..tally.report })
}

/// Whether the tables before the first input are what they were: this program may have others.
async fn begins_as_recorded(module: &ModuleRecording, replayer: &Replayer) -> Result<Result<(), String>, ReplayError> {
    let recorded = EndState::Stored(module.start.state.clone());
    Ok(match StateVerdict::of(&recorded, digest_of(replayer).await?, &Ignore::default()) {
        StateVerdict::Differs(tables) => {
            let names: Vec<_> = tables.into_iter().map(|one| one.table).collect();
            Err(format!("they begin otherwise in this program: {}", names.join(", ")))
        }
        _ => Ok(()),
    })
}

/// Runs recorded entries.
pub(crate) async fn run(replayer: &mut Replayer, entries: &[Entry]) -> Result<Vec<Said>, ReplayError> {
    let inputs: Vec<_> = entries.iter().map(Entry::to_input).collect();
    let module = replayer.database().module().to_owned();
    replayer.run(&inputs).await.map_err(ReplayError::journal(&module))
}

/// The exact digest of a replayer's tables as they are now.
pub(crate) async fn digest_of(
    replayer: &Replayer,
) -> Result<std::collections::BTreeMap<String, crate::TableDigest>, ReplayError> {
    let database = replayer.database();
    let digest = async {
        let mut snapshot = database.snapshot().await?;
        let digest = exact_digest(&mut snapshot).await?;
        snapshot.close().await?;
        Ok(digest)
    };
    digest.await.map_err(ReplayError::journal(database.module()))
}

/// The parts of a recording, decoded by a thread of its own while handlers run.
pub(crate) fn read_ahead(module: &ModuleRecording) -> mpsc::Receiver<Result<Vec<Entry>, ReplayError>> {
    let (send, receive) = mpsc::channel(PARTS_AHEAD);
    let module = module.clone();
    tokio::task::spawn_blocking(move || {
        let mut entries = match module.entries() {
            Ok(entries) => entries,
            Err(error) => return drop(send.blocking_send(Err(error))),
        };
        loop {
            let part = entries.next_frame();
            let is_last = part.as_ref().map_or(true, Vec::is_empty);
            // Whoever does not listen any more needs no more.
            if send.blocking_send(part).is_err() || is_last {
                return;
            }
        }
    });
    receive
}

/// What is counted as a replay goes on.
struct Tally<'a> {
    options: &'a CheckOptions,
    report: ModuleReport,
}

// === impl Tally ===

impl<'a> Tally<'a> {
    fn new(module: &str, options: &'a CheckOptions) -> Self {
        Self { options, report: ModuleReport::new(module) }
    }

    fn count(&mut self, entry: &Entry, said: &Said) {
        self.report.inputs += 1;
        self.report.outputs += entry.messages.len() as u64;
        self.report.asked_unknown += u64::from(entry.asked.is_none());
        if let Some(difference) = compare(entry, said, &self.options.ignore) {
            self.report.differs(difference, self.options.keep);
        }
    }
}

// === impl Until ===

impl Until {
    pub(crate) fn includes(self, entry: &Entry) -> bool {
        match self {
            Self::Position(position) => entry.position <= position,
            Self::Time(time) => entry.admitted_at <= time,
        }
    }
}
