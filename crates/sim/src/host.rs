//! A module as it runs in the simulation: its executor, what waits for it, and what it keeps in memory only.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;

use pangaea_contracts::Timestamp;
use pangaea_journal::{Database, DatabaseOptions, JournalError};
use pangaea_kernel::{Definition, Executor, Work};

use crate::effects::EffectTask;

pub(crate) const CODE_VERSION: &str = "sim";

/// A module's place in the simulation, whether its process lives or not.
pub(crate) struct Host {
    pub(crate) name: &'static str,
    pub(crate) definition: Arc<Definition>,
    /// What it reads, by source.
    pub(crate) consumed: BTreeMap<String, BTreeSet<&'static str>>,
    /// `None` while the process is dead.
    pub(crate) up: Option<Up>,
    /// Deaths in the middle of a batch so far. An input that kills its process three times becomes a dead letter, rightly,
    /// so the scheduler stops before that.
    pub(crate) deaths_in_batch: u32,
    /// How far this process's clock is off.
    pub(crate) skew_ms: i64,
}

/// What a death of the process takes away.
pub(crate) struct Up {
    pub(crate) executor: Executor,
    pub(crate) database: Database,
    pub(crate) results: VecDeque<Job>,
    pub(crate) deliveries: VecDeque<Job>,
    pub(crate) commands: VecDeque<Job>,
    /// A batch that could not be committed: it is run again, as it was, before anything else.
    pub(crate) again: Option<Vec<Job>>,
    pub(crate) failures_in_a_row: u32,
    pub(crate) readers: BTreeMap<String, Reader>,
    pub(crate) effects: BTreeMap<String, EffectTask>,
}

/// Work that belongs together, and who waits for it.
pub(crate) struct Job {
    pub(crate) from: Origin,
    pub(crate) work: Vec<Work>,
}

#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// A request of the clients, by its number.
    Client(usize),
    /// A reader; how far its batch goes.
    Reader {
        source: String,
        seen: u64,
    },
    /// Another try of this effect.
    Try(String),
    /// The result of this effect.
    Result(String),
    Settings,
}

/// How far a module has read one source.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reader {
    /// What is committed.
    pub(crate) cursor: u64,
    /// What has been looked at; the rest was not for this module.
    pub(crate) seen: u64,
    /// A batch of it waits for the writer: a reader has one under way.
    pub(crate) busy: bool,
}

// === impl Host ===

impl Host {
    pub(crate) fn new(definition: Definition) -> Self {
        let consumed = definition.consumed();
        Self {
            name: definition.name(),
            definition: Arc::new(definition),
            consumed,
            up: None,
            deaths_in_batch: 0,
            skew_ms: 0,
        }
    }

    pub(crate) fn now(&self, now_ms: i64) -> Timestamp {
        Timestamp::from_millis(now_ms + self.skew_ms)
    }

    /// Starts the process on what the last one has left.
    ///
    /// # Errors
    /// When the database cannot be opened, or a fault was asked for on the way.
    pub(crate) async fn open(&mut self, folder: &Path) -> Result<(), JournalError> {
        let database = Database::open(self.name, &options(folder)).await?;
        let writer = database.writer(self.definition.all_migrations(), CODE_VERSION).await?;
        let executor = Executor::new(writer, self.definition.clone(), CODE_VERSION).await?;
        let reader = |source: &String| {
            let cursor = executor.cursor(source).map_or(0, |row| row.position);
            (source.clone(), Reader { cursor, seen: cursor, busy: false })
        };
        let readers = self.consumed.keys().map(reader).collect();
        let effects = executor.effects().map(|row| (row.id.clone(), EffectTask::inherited(row.clone()))).collect();
        self.up = Some(Up {
            executor,
            database,
            results: VecDeque::new(),
            deliveries: VecDeque::new(),
            commands: VecDeque::new(),
            again: None,
            failures_in_a_row: 0,
            readers,
            effects,
        });
        Ok(())
    }

    /// Drains: what waits must have been handled.
    ///
    /// # Errors
    /// When the database refuses the note of a clean stop.
    pub(crate) async fn stop(&mut self) -> Result<(), JournalError> {
        let Some(up) = self.up.take() else { return Ok(()) };
        up.executor.stop().await?;
        up.database.close().await;
        Ok(())
    }

    /// When this module will do something by itself, on the simulation's clock.
    pub(crate) fn next_due_ms(&self) -> Option<i64> {
        let up = self.up.as_ref()?;
        let timer = up.executor.next_timer().map(|due| due.as_millis() - self.skew_ms);
        let effects = up.effects.values().filter_map(|task| task.due_ms()).map(|due| due - self.skew_ms);
        effects.chain(timer).min()
    }
}

pub(crate) fn options(folder: &Path) -> DatabaseOptions {
    DatabaseOptions { url: format!("sqlite:{}/", folder.display()), read_connections_max: 1, synchronous_full: false }
}

// === impl Up ===

impl Up {
    pub(crate) fn has_work(&self, now: Timestamp) -> bool {
        let waiting = self.results.len() + self.deliveries.len() + self.commands.len();
        waiting > 0 || self.again.is_some() || self.executor.next_timer().is_some_and(|due| due <= now)
    }

    pub(crate) fn is_idle(&self) -> bool {
        let waiting = self.results.len() + self.deliveries.len() + self.commands.len();
        waiting == 0 && self.again.is_none()
    }

    /// The requests of clients that a death would leave without an answer.
    pub(crate) fn requests(&self) -> Vec<usize> {
        let waiting = self.commands.iter().chain(self.again.iter().flatten());
        waiting.filter_map(|job| if let Origin::Client(request) = job.from { Some(request) } else { None }).collect()
    }
}
