//! From a module's journal to a recording.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pangaea_contracts::Timestamp;
use pangaea_journal::{Database, Snapshot, TablePlace};
use pangaea_kernel::{Definition, History, Replayer, Source};

use crate::check::{Progress, digest_of, run};
use crate::compare::compare;
use crate::ignore::Ignore;
use crate::recording::{EndState, Entry, ModuleEnd, ModuleStart, RecordingWriter, TableRows};
use crate::redact::Redactor;
use crate::scratch::{IN_MEMORY, empty};
use crate::state::{TableDigest, exact_digest};
use crate::{ReplayError, Until};

/// Rows read at once: each may be a quarter of a megabyte.
pub(crate) const PAGE: usize = 256;

/// Which part of a history is recorded.
#[derive(Clone, Debug, Default)]
pub struct RecordOptions {
    /// The first input; `None`: the first of all.
    pub from: Option<From>,
    /// The last input; `None`: the newest that is committed.
    pub to: Option<Until>,
    /// Replaces what contracts mark as secret or personal, under this key. `None` keeps it.
    pub redaction_key: Option<String>,
    /// What a rerun may say otherwise than the release that handled the inputs.
    pub ignore: Ignore,
}

/// Where a recording begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    Position(u64),
    /// With the first input admitted at this moment or later.
    Time(Timestamp),
}

/// Writes a module's part of a recording, from one snapshot of its database: the store may run on.
///
/// A part that begins after the first input, or ends before the newest, or is redacted, has a state that no table holds: it
/// comes from a rerun of the inputs by this program, which must say what was said.
///
/// # Errors
/// When the database cannot be read or is torn, when there is no such input, or when the state at the beginning cannot be
/// found because this program's handlers do not say what was said before it.
pub async fn record(
    database: &Database,
    definition: &Arc<Definition>,
    options: &RecordOptions,
    out: &mut RecordingWriter,
    progress: &Progress,
) -> Result<ModuleEnd, ReplayError> {
    let module = definition.name();
    let snapshot = database.snapshot().await.map_err(ReplayError::journal(module))?;
    let mut recorder = Recorder::new(snapshot, definition, options).await?;
    let (first, last) = recorder.bounds(options).await?;
    recorder.go_to(first, progress).await?;
    recorder.begin(first, last, out).await?;
    let end = recorder.entries(first, last, out, progress).await?;
    out.end_module(&end)?;
    recorder.snapshot.close().await.map_err(ReplayError::journal(module))?;
    Ok(end)
}

struct Recorder<'a> {
    module: &'static str,
    definition: &'a Arc<Definition>,
    snapshot: Snapshot,
    redactor: Option<Redactor>,
    /// Follows where the tables' state is needed and none holds it; until something is said otherwise.
    rerun: Result<Replayer, String>,
    history: History,
    ignore: Ignore,
}

// === impl Recorder ===

impl<'a> Recorder<'a> {
    async fn new(
        snapshot: Snapshot,
        definition: &'a Arc<Definition>,
        options: &RecordOptions,
    ) -> Result<Self, ReplayError> {
        let module = definition.name();
        let (_, writer) = empty(definition, IN_MEMORY).await?;
        let rerun = Replayer::new(writer, definition.clone()).await.map_err(ReplayError::journal(module))?;
        let redactor = options.redaction_key.clone().map(|key| Redactor::new(definition, key));
        let redactor = redactor.filter(Redactor::has_work);
        Ok(Self {
            module,
            definition,
            snapshot,
            redactor,
            rerun: Ok(rerun),
            history: History::default(),
            ignore: options.ignore.clone(),
        })
    }

    /// The positions of the first and the last input.
    async fn bounds(&mut self, options: &RecordOptions) -> Result<(u64, u64), ReplayError> {
        let journal = ReplayError::journal(self.module);
        let newest = self.snapshot.head().inbox_end;
        let first = match options.from {
            None => 1,
            Some(From::Position(position)) => position.max(1),
            Some(From::Time(time)) => self.snapshot.inbox_position_at(time).await.map_err(journal)?,
        };
        let last = match options.to {
            None => newest,
            Some(Until::Position(position)) => position.min(newest),
            Some(Until::Time(time)) => {
                let next = self.snapshot.inbox_position_at(time.plus_millis(1)).await;
                next.map_err(ReplayError::journal(self.module))? - 1
            }
        };
        if first > newest + 1 {
            let reason = format!("the newest input is at {newest}: there is nothing from {first} on (--from)");
            return Err(ReplayError::module(self.module, reason));
        }
        Ok((first, last.max(first - 1)))
    }

    /// Runs everything before the first input that is recorded.
    async fn go_to(&mut self, first: u64, progress: &Progress) -> Result<(), ReplayError> {
        let mut position = 1;
        while position < first {
            let limit = PAGE.min((first - position) as usize);
            let entries = self.page(limit).await?;
            position += entries.len() as u64;
            self.follow(&entries).await?;
            progress.fetch_add(entries.len() as u64, Ordering::Relaxed);
            if let Err(reason) = &self.rerun {
                let reason = format!(
                    "the state before input {first} is not known, because {reason}: record from the start, or with the \
                     release that handled it"
                );
                return Err(ReplayError::module(self.module, reason));
            }
        }
        Ok(())
    }

    async fn begin(&mut self, first: u64, last: u64, out: &mut RecordingWriter) -> Result<(), ReplayError> {
        let schemas = self.definition.schemas().map(|(subject, schema)| (subject.to_owned(), schema.to_value()));
        let (mut state, mut settings) = (BTreeMap::new(), None);
        if let Ok(rerun) = &self.rerun {
            state = digest_of(rerun).await?;
            settings = pangaea_kernel::SettingsRow::stored(rerun.database())
                .await
                .map_err(ReplayError::journal(self.module))?;
        }
        let start = ModuleStart {
            module: self.module.to_owned(),
            log_id: self.snapshot.head().log_id.clone(),
            first,
            settings,
            schemas: schemas.collect(),
            state,
        };
        out.begin_module(&start)?;
        if first > 1 {
            self.rows(out).await?;
        }
        let is_needed = first > 1 || last < self.snapshot.head().inbox_end || self.redactor.is_some();
        if !is_needed {
            self.rerun = Err("nobody needs it".to_owned());
        }
        Ok(())
    }

    /// The tables as the rerun holds them.
    async fn rows(&mut self, out: &mut RecordingWriter) -> Result<(), ReplayError> {
        let Ok(rerun) = &self.rerun else { return Ok(()) };
        let mut snapshot = rerun.database().snapshot().await.map_err(ReplayError::journal(self.module))?;
        for shape in snapshot.tables().await.map_err(ReplayError::journal(self.module))? {
            let mut place = TablePlace::default();
            loop {
                let page = snapshot.rows(&shape, &mut place, PAGE).await.map_err(ReplayError::journal(self.module))?;
                if page.is_empty() {
                    break;
                }
                out.rows(&TableRows::new(&shape.table, &shape.columns, &page))?;
            }
        }
        snapshot.close().await.map_err(ReplayError::journal(self.module))
    }

    async fn entries(
        &mut self,
        first: u64,
        last: u64,
        out: &mut RecordingWriter,
        progress: &Progress,
    ) -> Result<ModuleEnd, ReplayError> {
        let mut end = ModuleEnd { last, ..ModuleEnd::before(first) };
        let mut position = first;
        while position <= last {
            let limit = PAGE.min((last - position + 1) as usize);
            let entries = self.page(limit).await?;
            for entry in &entries {
                end.count(entry);
                out.entry(entry)?;
            }
            self.follow(&entries).await?;
            position += entries.len() as u64;
            progress.fetch_add(entries.len() as u64, Ordering::Relaxed);
        }
        let newest = self.snapshot.head().inbox_end;
        if last == newest {
            let ended = self.history.ends(&mut Source::Snapshot(&mut self.snapshot)).await;
            ended.map_err(ReplayError::history(self.module))?;
        }
        end.end = self.end_state(last == newest).await?;
        Ok(end)
    }

    async fn end_state(&mut self, is_newest: bool) -> Result<EndState, ReplayError> {
        let mut stored = BTreeMap::new();
        if is_newest {
            stored = exact_digest(&mut self.snapshot).await.map_err(ReplayError::journal(self.module))?;
            if self.redactor.is_none() {
                return Ok(EndState::Stored(stored));
            }
        }
        match std::mem::replace(&mut self.rerun, Err(String::new())) {
            Err(reason) => Ok(EndState::Unknown(format!("the state at the end is not known, because {reason}"))),
            Ok(rerun) => {
                let state = digest_of(&rerun).await?;
                rerun.stop().await.map_err(ReplayError::journal(self.module))?;
                match unlike(&stored, &state).filter(|_| is_newest) {
                    Some(reason) => Ok(EndState::Unknown(reason)),
                    None => Ok(EndState::Rerun(state)),
                }
            }
        }
    }

    /// Handles recorded inputs again, until they say something else than was recorded.
    async fn follow(&mut self, entries: &[Entry]) -> Result<(), ReplayError> {
        let Ok(rerun) = &mut self.rerun else { return Ok(()) };
        let said = run(rerun, entries).await?;
        let mut pairs = entries.iter().zip(&said);
        if let Some((entry, _)) = pairs.find(|(entry, said)| compare(entry, said, &self.ignore).is_some()) {
            self.rerun = Err(format!(
                "release {} does not say of the input at {} ({}) what release {} said",
                env!("CARGO_PKG_VERSION"),
                entry.position,
                entry.subject,
                entry.handled_by
            ));
        }
        Ok(())
    }

    async fn page(&mut self, limit: usize) -> Result<Vec<Entry>, ReplayError> {
        let page = self.history.page(&mut Source::Snapshot(&mut self.snapshot), limit).await;
        let entries = page.map_err(ReplayError::history(self.module))?.into_iter().map(Entry::of);
        let redacted: Result<_, _> = match &self.redactor {
            Some(redactor) => entries.map(|entry| redactor.entry(entry)).collect(),
            None => Ok(entries.collect()),
        };
        redacted.map_err(|reason| ReplayError::module(self.module, reason))
    }
}

/// A redacted state holds other values than the stored one, and as many rows.
fn unlike(stored: &BTreeMap<String, TableDigest>, rerun: &BTreeMap<String, TableDigest>) -> Option<String> {
    let rows = |state: &BTreeMap<String, TableDigest>, table: &String| state.get(table).map_or(0, |digest| digest.rows);
    let other = stored.keys().chain(rerun.keys()).find(|table| rows(stored, table) != rows(rerun, table))?;
    Some(format!(
        "the table {other} has {} rows, and a rerun by release {} makes {}",
        rows(stored, other),
        env!("CARGO_PKG_VERSION"),
        rows(rerun, other)
    ))
}
