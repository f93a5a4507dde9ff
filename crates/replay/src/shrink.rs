//! The smallest set of inputs that still shows a difference.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::BoxFuture;
use pangaea_kernel::Definition;

use crate::ReplayError;
use crate::check::{CheckOptions, Progress, check, digest_of, read_ahead, run};
use crate::compare::{Change, Difference, compare};
use crate::ignore::Ignore;
use crate::recording::{EndState, Entry, EntryKind, ModuleEnd, ModuleRecording, RecordingWriter};
use crate::report::{StateVerdict, TableDifference};
use crate::scratch::{IN_MEMORY, at_start};
use crate::text::ids;

/// Candidates that are tried, at most.
const TRIES_MAX: usize = 2_000;
/// Rounds in which the inputs that may matter are gathered, each along one more step of relation.
const ROUNDS: usize = 4;
const BATCH: usize = 512;

/// What expected outputs of a few inputs are made by: usually the release before, in a process of its own.
pub trait Baseline: Send + Sync {
    /// Writes these inputs again with the outputs and the state that the baseline makes of them; `None` where it cannot
    /// handle them.
    ///
    /// # Errors
    /// When it could not be asked.
    fn expected<'a>(
        &'a self,
        module: &'a ModuleRecording,
        entries: &'a [Entry],
    ) -> BoxFuture<'a, Result<Option<Expected>, ReplayError>>;
}

/// Inputs with what they are to say, and the state that they are to end in, where that is known.
#[derive(Clone, Debug)]
pub struct Expected {
    pub entries: Vec<Entry>,
    pub end: EndState,
}

/// What shrinking came to.
#[derive(Clone, Debug)]
pub struct Shrunk {
    pub expected: Expected,
    /// How the last input differs, or which tables.
    pub difference: Found,
    /// Inputs of the recording up to the difference.
    pub of: u64,
    pub tries: usize,
}

/// A difference that is looked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    Said(Box<Difference>),
    /// All inputs say what they said; these tables end otherwise.
    Tables(Vec<TableDifference>),
}

/// Finds the first difference of a module's replay, and the fewest inputs found that still show it; `None` where nothing
/// differs. By delta debugging: inputs are left out in halves, then in ever smaller parts, as long as the difference is still there.
///
/// Without a baseline what the remaining inputs are expected to say is what was recorded, so inputs whose absence changes that
/// have to stay; with one it is computed anew for every try.
///
/// # Errors
/// When the replay fails, or a difference of tables alone is to be shrunk without a baseline: what tables should hold after
/// fewer inputs, a recording does not say.
pub async fn shrink(
    module: &ModuleRecording,
    definition: Arc<Definition>,
    ignore: &Ignore,
    baseline: Option<&dyn Baseline>,
    progress: &Progress,
) -> Result<Option<Shrunk>, ReplayError> {
    let Some((found, last)) = first_difference(module, &definition, ignore, progress).await? else { return Ok(None) };
    if baseline.is_none() && matches!(found, Found::Tables(_)) {
        let reason = "only tables differ, and no input says what they should hold: give the release that is right with --baseline";
        return Err(ReplayError::module(module.name(), reason));
    }
    let mut trial = Trial { module, definition, ignore, baseline, found, last, tries: 0, progress };
    let (mut kept, mut expected) = trial.beginning().await?;
    let mut parts = 2;
    while kept.len() > 1 && trial.tries < TRIES_MAX {
        let size = kept.len().div_ceil(parts);
        let mut smaller = None;
        for start in (0..kept.len()).step_by(size) {
            let rest: Vec<Entry> = kept
                .iter()
                .enumerate()
                .filter(|(at, _)| *at < start || *at >= start + size)
                .map(|(_, e)| e.clone())
                .collect();
            if let Some(found) = trial.shows(&rest).await? {
                smaller = Some((rest, found));
                break;
            }
        }
        match smaller {
            Some((rest, found)) => (kept, expected, parts) = (rest, found, parts.saturating_sub(1).max(2)),
            None if size == 1 => break,
            None => parts = (parts * 2).min(kept.len()),
        }
    }
    let (difference, of) = (trial.difference(&expected).await?, trial.last);
    Ok(Some(Shrunk { expected, difference, of, tries: trial.tries }))
}

/// Writes what shrinking came to as a recording of its own.
///
/// # Errors
/// When it cannot be written.
pub fn write_shrunk(module: &ModuleRecording, shrunk: &Shrunk, out: &mut RecordingWriter) -> Result<(), ReplayError> {
    write_entries(module, &shrunk.expected.entries, shrunk.expected.end.clone(), out)
}

/// Writes some of a module's inputs as its part of a recording.
///
/// # Errors
/// When it cannot be written, or the module's rows cannot be read.
pub fn write_entries(
    module: &ModuleRecording,
    entries: &[Entry],
    end_state: EndState,
    out: &mut RecordingWriter,
) -> Result<(), ReplayError> {
    out.begin_module(&module.start)?;
    module.copy_rows(out)?;
    let mut end = ModuleEnd { end: end_state, ..ModuleEnd::before(module.start.first) };
    for entry in entries {
        end.count(entry);
        out.entry(entry)?;
    }
    out.end_module(&end)
}

/// The first input that differs, with its position; or the tables, with the position of the last input.
async fn first_difference(
    module: &ModuleRecording,
    definition: &Arc<Definition>,
    ignore: &Ignore,
    progress: &Progress,
) -> Result<Option<(Found, u64)>, ReplayError> {
    let options = CheckOptions { ignore: ignore.clone(), keep: 1, stop_at_first: true, ..CheckOptions::default() };
    let report = check(module, definition.clone(), &options, progress).await?;
    Ok(match (report.differences.into_iter().next(), report.state) {
        (Some(difference), _) => {
            let position = difference.input.position;
            Some((Found::Said(Box::new(difference)), position))
        }
        (None, StateVerdict::Differs(tables)) => Some((Found::Tables(tables), module.end.last)),
        (None, _) => None,
    })
}

struct Trial<'a> {
    module: &'a ModuleRecording,
    definition: Arc<Definition>,
    ignore: &'a Ignore,
    baseline: Option<&'a dyn Baseline>,
    found: Found,
    /// The position of the input that differs, or of the last of all.
    last: u64,
    tries: usize,
    progress: &'a Progress,
}

// === impl Trial ===

impl Trial<'_> {
    /// Inputs that show the difference, to begin with: those related to the one that differs, or else all before it.
    async fn beginning(&mut self) -> Result<(Vec<Entry>, Expected), ReplayError> {
        let mut names = BTreeSet::new();
        if let Found::Said(difference) = &self.found {
            let input = &difference.input;
            names.extend([input.key.clone(), input.id.clone(), input.correlation_id.clone()]);
            names.extend(ids(&input.payload.to_string()));
            let mut before = 0;
            for _ in 0..ROUNDS {
                let related = self.entries(|entry| is_related(entry, &names)).await?;
                if related.len() == before {
                    break;
                }
                before = related.len();
                if let Some(expected) = self.shows(&related).await? {
                    return Ok((related, expected));
                }
                names.extend(related.iter().flat_map(names_of));
            }
        }
        let all = self.entries(|_| true).await?;
        match self.shows(&all).await? {
            Some(expected) => Ok((all, expected)),
            None => Err(ReplayError::module(
                self.module.name(),
                "the baseline does not say what was recorded, or says what this program says: nothing to shrink",
            )),
        }
    }

    /// The wanted entries up to the one that differs, which is always among them where it is one.
    async fn entries(&self, wanted: impl Fn(&Entry) -> bool) -> Result<Vec<Entry>, ReplayError> {
        let is_target = |entry: &Entry| matches!(self.found, Found::Said(_)) && entry.position == self.last;
        let mut entries = Vec::new();
        let mut parts = read_ahead(self.module);
        while let Some(part) = parts.recv().await {
            for entry in part? {
                if entry.position > self.last {
                    return Ok(entries);
                }
                if is_target(&entry) || entry.kind == EntryKind::Settings || wanted(&entry) {
                    entries.push(entry);
                }
            }
        }
        Ok(entries)
    }

    /// Whether these inputs still show the difference, and then what they are to say.
    async fn shows(&mut self, entries: &[Entry]) -> Result<Option<Expected>, ReplayError> {
        self.tries += 1;
        self.progress.fetch_add(entries.len() as u64, Ordering::Relaxed);
        let is_there = |entry: &Entry| entry.position == self.last;
        if matches!(self.found, Found::Said(_)) && !entries.last().is_some_and(is_there) {
            return Ok(None);
        }
        let expected = match self.baseline {
            Some(baseline) => match baseline.expected(self.module, entries).await? {
                Some(expected) => expected,
                None => return Ok(None),
            },
            None => Expected {
                entries: entries.to_vec(),
                end: EndState::Unknown("a part of a recording says nothing of its tables".to_owned()),
            },
        };
        Ok(match self.replayed(&expected).await? {
            Some(now) if self.is_same(&now) => Some(expected),
            _ => None,
        })
    }

    async fn difference(&self, expected: &Expected) -> Result<Found, ReplayError> {
        Ok(self.replayed(expected).await?.unwrap_or_else(|| self.found.clone()))
    }

    /// The first difference that these inputs show in this program.
    async fn replayed(&self, expected: &Expected) -> Result<Option<Found>, ReplayError> {
        let mut replayer = at_start(self.module, &self.definition, IN_MEMORY).await?;
        for entries in expected.entries.chunks(BATCH) {
            let said = run(&mut replayer, entries).await?;
            let differs = entries.iter().zip(&said).find_map(|(entry, said)| compare(entry, said, self.ignore));
            if let Some(difference) = differs {
                return Ok(Some(Found::Said(Box::new(difference))));
            }
        }
        Ok(match StateVerdict::of(&expected.end, digest_of(&replayer).await?, self.ignore) {
            StateVerdict::Differs(tables) => Some(Found::Tables(tables)),
            _ => None,
        })
    }

    /// Whether it is the difference that was found first. Where a baseline says what is right, values may be others: fewer
    /// inputs make other totals. Without one the very same values are asked for, because an input that is missing makes
    /// differences of its own.
    fn is_same(&self, now: &Found) -> bool {
        match (&self.found, now) {
            (Found::Said(was), Found::Said(is)) if self.baseline.is_some() => {
                was.input.position == is.input.position && shape(was) == shape(is)
            }
            (Found::Said(was), Found::Said(is)) => was.input.position == is.input.position && was.changes == is.changes,
            (Found::Tables(was), Found::Tables(is)) => {
                let names = |tables: &[TableDifference]| tables.iter().map(|one| one.table.clone()).collect::<Vec<_>>();
                names(was) == names(is)
            }
            _ => false,
        }
    }
}

/// What is said otherwise, and in which fields, whatever the values.
fn shape(difference: &Difference) -> Vec<(u8, String, Vec<String>)> {
    let shape = |change: &Change| match change {
        Change::Missing(one) => (0, one.subject.clone(), Vec::new()),
        Change::Added(one) => (1, one.subject.clone(), Vec::new()),
        Change::Changed { subject, fields, .. } => {
            (2, subject.clone(), fields.iter().map(|field| field.path.clone()).collect())
        }
        Change::Failed { reason } => (3, reason.clone(), Vec::new()),
    };
    difference.changes.iter().map(shape).collect()
}

fn is_related(entry: &Entry, names: &BTreeSet<String>) -> bool {
    let is_named = |name: &str| names.contains(name);
    is_named(&entry.key) || is_named(&entry.correlation_id) || is_named(&entry.id) || is_named(&entry.causation_id)
}

fn names_of(entry: &Entry) -> Vec<String> {
    let mut names = ids(&entry.payload);
    names.extend(entry.messages.iter().flat_map(|message| ids(&message.payload)));
    names.extend([entry.key.clone(), entry.causation_id.clone()]);
    names
}
