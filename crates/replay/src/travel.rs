//! Going to places of a recording: to see what an input did, and what the tables held then.

use std::collections::BTreeMap;
use std::sync::Arc;

use pangaea_contracts::Timestamp;
use pangaea_journal::{TablePlace, TableShape};
use pangaea_kernel::{Definition, Replayer};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::check::run;
use crate::happened::Happened;
use crate::ignore::Ignore;
use crate::recording::{Entry, ModuleRecording, to_json};
use crate::scratch::{IN_MEMORY, at_start};
use crate::spot::{Bound, EntryQueue, Spot};
use crate::{ReplayError, Until};

/// Inputs in one transaction where nobody looks at them one by one.
const BATCH: usize = 256;
/// Rows read at once.
const PAGE: usize = 1_000;

/// Stands somewhere in a recording: each module's tables are what they were then. It goes forward, or to the start again.
pub struct Traveller {
    tracks: Vec<Track>,
    bound: Bound,
    ignore: Ignore,
}

/// Rows of one table, as of some place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableView {
    pub module: String,
    pub table: String,
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Value>>,
    /// Rows that are wanted and not among them.
    pub more: u64,
}

/// Which rows are wanted.
#[derive(Clone, Debug, Default)]
pub struct RowsWanted {
    /// `None`: of all tables.
    pub table: Option<String>,
    /// A value of any column of the primary key, or all of them, separated by commas.
    pub key: Option<String>,
    /// Rows given of each table; the others are counted.
    pub rows_max: usize,
}

/// One module on its way.
struct Track {
    recording: ModuleRecording,
    definition: Arc<Definition>,
    replayer: Replayer,
    queue: EntryQueue,
    shapes: Vec<TableShape>,
    last: Option<(u64, Timestamp)>,
}

// === impl Traveller: on the way ===

impl Traveller {
    /// Stands before the first input. `bound` is the last that there is on this way.
    ///
    /// # Errors
    /// When the recording's first state cannot be loaded.
    pub async fn at_start(
        modules: Vec<(ModuleRecording, Arc<Definition>)>,
        bound: Bound,
        ignore: Ignore,
    ) -> Result<Self, ReplayError> {
        let mut tracks = Vec::with_capacity(modules.len());
        for (recording, definition) in modules {
            tracks.push(Track::at_start(recording, definition).await?);
        }
        Ok(Self { tracks, bound, ignore })
    }

    /// The next input, which is not handled yet; `None` at the end.
    ///
    /// # Errors
    /// When the file has changed since it was opened.
    pub async fn peek(&mut self) -> Result<Option<Spot>, ReplayError> {
        let mut first: Option<Spot> = None;
        for (module, track) in self.tracks.iter_mut().enumerate() {
            let spot = track.queue.peek().await?.map(|entry| Spot::of(module, entry));
            first = first.into_iter().chain(spot.filter(|spot| self.bound.includes(*spot))).min();
        }
        Ok(first)
    }

    /// Handles the next input and tells of it; `None` at the end.
    ///
    /// # Errors
    /// When the replay's database fails, or the file has changed.
    pub async fn step(&mut self) -> Result<Option<Happened>, ReplayError> {
        let Some(spot) = self.peek().await? else { return Ok(None) };
        let track = &mut self.tracks[spot.module];
        let Some(entry) = track.queue.take() else { return Ok(None) };
        let said = track.handle(std::slice::from_ref(&entry)).await?;
        let module = track.recording.name();
        Ok(said.first().map(|said| Happened::new(module, &entry, said, &self.ignore, |table| track.key_of(table))))
    }

    /// Handles every input for which `is_passed` holds: all up to some place.
    ///
    /// # Errors
    /// As [`step`](Traveller::step).
    pub async fn pass(&mut self, is_passed: impl Fn(Spot) -> bool) -> Result<(), ReplayError> {
        let bound = self.bound;
        for (module, track) in self.tracks.iter_mut().enumerate() {
            loop {
                let mut entries = Vec::new();
                while entries.len() < BATCH
                    && track.queue.peek().await?.is_some_and(|entry| {
                        let spot = Spot::of(module, entry);
                        bound.includes(spot) && is_passed(spot)
                    })
                {
                    entries.extend(track.queue.take());
                }
                if entries.is_empty() {
                    break;
                }
                track.handle(&entries).await?;
            }
        }
        Ok(())
    }

    /// Stands before the first input again.
    ///
    /// # Errors
    /// As [`at_start`](Traveller::at_start).
    pub async fn rewind(&mut self) -> Result<(), ReplayError> {
        for track in &mut self.tracks {
            let anew = Track::at_start(track.recording.clone(), track.definition.clone()).await?;
            std::mem::replace(track, anew).stop().await?;
        }
        Ok(())
    }

    /// # Errors
    /// When a replay's database cannot be closed in order.
    pub async fn stop(self) -> Result<(), ReplayError> {
        for track in self.tracks {
            track.stop().await?;
        }
        Ok(())
    }
}

// === impl Traveller: looking around ===

impl Traveller {
    /// By the numbers that [`Spot`]s have.
    pub fn modules(&self) -> impl Iterator<Item = &ModuleRecording> {
        self.tracks.iter().map(|track| &track.recording)
    }

    /// The position and the time of the last input of a module that is handled; `None`: it stands at the start.
    pub fn last_of(&self, module: usize) -> Option<(u64, Timestamp)> {
        self.tracks.get(module)?.last
    }

    /// A module's tables, by name.
    pub fn tables(&self, module: usize) -> impl Iterator<Item = &str> {
        self.tracks.get(module).into_iter().flat_map(|track| &track.shapes).map(|shape| shape.table.as_str())
    }

    /// A module's rows as they are here, by primary key.
    ///
    /// # Errors
    /// When there is no such table, or the database cannot be read.
    pub async fn rows(&self, module: usize, wanted: &RowsWanted) -> Result<Vec<TableView>, ReplayError> {
        let Some(track) = self.tracks.get(module) else { return Ok(Vec::new()) };
        if let Some(table) = wanted.table.as_ref().filter(|table| !self.tables(module).any(|name| name == **table)) {
            let known: Vec<_> = self.tables(module).collect();
            let reason = format!("there is no table {table:?}; it has {}", known.join(", "));
            return Err(ReplayError::module(track.recording.name(), reason));
        }
        track.rows(wanted).await
    }
}

/// Whether a place is in a recording, so that what the tables held then is known.
///
/// # Errors
/// When it is not; the bounds are in the error.
pub fn check_bounds(modules: &[ModuleRecording], at: Until) -> Result<(), ReplayError> {
    let begins_at = modules.iter().filter_map(|module| module.end.times).map(|(first, _)| first).min();
    for module in modules {
        let (name, first, last) = (module.name(), module.start.first, module.end.last);
        let Some((from, to)) = module.end.times else {
            if matches!(at, Until::Position(_)) {
                return Err(ReplayError::module(name, "the recording holds no input of it"));
            }
            continue;
        };
        let is_inside = match at {
            Until::Position(position) => (first..=last).contains(&position),
            // What a module that is recorded from its beginning held before its first input is known: nothing.
            Until::Time(time) if first == 1 => begins_at.is_none_or(|begin| time >= begin),
            Until::Time(time) => time >= from,
        };
        if !is_inside {
            let place = match at {
                Until::Position(position) => format!("position {position}"),
                Until::Time(time) => time.to_string(),
            };
            let reason = format!(
                "{place} is outside of the recording, which holds positions {first} to {last} of it, {from} to {to}"
            );
            return Err(ReplayError::module(name, reason));
        }
    }
    Ok(())
}

// === impl Track ===

impl Track {
    async fn at_start(recording: ModuleRecording, definition: Arc<Definition>) -> Result<Self, ReplayError> {
        let replayer = at_start(&recording, &definition, IN_MEMORY).await?.showing_changes();
        let shapes = async {
            let mut snapshot = replayer.database().snapshot().await?;
            let shapes = snapshot.tables().await?;
            snapshot.close().await?;
            Ok(shapes)
        };
        let shapes = shapes.await.map_err(ReplayError::journal(recording.name()))?;
        let queue = EntryQueue::new(&recording);
        Ok(Self { recording, definition, replayer, queue, shapes, last: None })
    }

    async fn handle(&mut self, entries: &[Entry]) -> Result<Vec<pangaea_kernel::Said>, ReplayError> {
        let said = run(&mut self.replayer, entries).await?;
        self.last = entries.last().map(|entry| (entry.position, entry.admitted_at)).or(self.last);
        Ok(said)
    }

    fn key_of(&self, table: &str) -> Vec<String> {
        let shape = self.shapes.iter().find(|shape| shape.table == table);
        shape.map(|shape| shape.key.iter().map(|column| shape.columns[*column].clone()).collect()).unwrap_or_default()
    }

    async fn rows(&self, wanted: &RowsWanted) -> Result<Vec<TableView>, ReplayError> {
        let journal = || ReplayError::journal(self.recording.name());
        let mut snapshot = self.replayer.database().snapshot().await.map_err(journal())?;
        let mut views = Vec::new();
        for shape in self.shapes.iter().filter(|shape| wanted.table.as_ref().is_none_or(|table| *table == shape.table))
        {
            let mut view = TableView {
                module: self.recording.name().to_owned(),
                table: shape.table.clone(),
                columns: shape.columns.clone(),
                rows: Vec::new(),
                more: 0,
            };
            let mut place = TablePlace::default();
            loop {
                let page = snapshot.rows(shape, &mut place, PAGE).await.map_err(journal())?;
                if page.is_empty() {
                    break;
                }
                for row in page {
                    let row: Vec<Value> = row.iter().map(to_json).collect();
                    view.add(row, shape, wanted);
                }
            }
            views.push(view);
        }
        snapshot.close().await.map_err(journal())?;
        Ok(views)
    }

    async fn stop(self) -> Result<(), ReplayError> {
        self.replayer.stop().await.map_err(ReplayError::journal(self.recording.name()))
    }
}

// === impl TableView ===

impl TableView {
    fn add(&mut self, row: Vec<Value>, shape: &TableShape, wanted: &RowsWanted) {
        if wanted.key.as_deref().is_some_and(|key| !has_key(&row, shape, key)) {
            return;
        }
        if self.rows.len() < wanted.rows_max {
            self.rows.push(row);
        } else {
            self.more += 1;
        }
    }
}

fn has_key(row: &[Value], shape: &TableShape, wanted: &str) -> bool {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let key: Vec<String> = shape.key.iter().map(|column| text(&row[*column])).collect();
    key.iter().any(|part| part == wanted) || key.join(",") == wanted
}

/// What is known of where the modules stand.
impl std::fmt::Debug for Traveller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let places: BTreeMap<_, _> = self.tracks.iter().map(|track| (track.recording.name(), track.last)).collect();
        f.debug_struct("Traveller").field("last", &places).finish_non_exhaustive()
    }
}
