mod abort;
mod ahead;
mod batch;
mod burial;
mod rebuild;
mod redrive;
mod replayer;
mod singly;
mod work;

use std::any::Any;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use pangaea_contracts::{Envelope, Timestamp};
use pangaea_journal::{CursorRow, Database, EffectRow, JournalError, TimerRow, Writer};

use self::abort::Abort;
use self::batch::Batch;
pub use self::rebuild::{RebuildDone, RebuildStep};
pub use self::redrive::LetterOutcome;
pub use self::replayer::{AdmittedInput, Replayer, Said};
pub use self::work::{BatchResult, Done, ExecutorError, Work};
use crate::outputs::Outputs;
use crate::settings::SettingsRow;
use crate::{Cx, Definition, Input, InputKind, Observer};

/// Tries of an input that fails by itself, before it becomes a dead letter.
const ATTEMPTS_MAX: u32 = 3;
/// After an unclean stop, this many inputs run alone with their attempts recorded: at least one full batch.
const CAREFUL_INPUTS: u32 = 256;
/// Timers taken into one batch, at most.
const TIMERS_PER_BATCH: usize = 64;

/// Runs a module: work in, one commit out. It holds the module's only writer and knows neither tasks nor queues.
///
/// A batch is one optimistic group commit. Where an input fails by itself, the batch is undone and every input of it runs
/// alone, which is safe because handlers are deterministic.
pub struct Executor {
    cx: Cx,
    state: State,
    /// The connection broke: what is in `state` may lie behind the database.
    stale: bool,
    /// Effects whose commit was not told to anybody yet.
    unsent: Vec<EffectRow>,
    careful_left: u32,
    /// Inputs whose attempt this process has recorded and whose end it has not; at most [`CAREFUL_INPUTS`] and a batch.
    attempted: HashSet<String>,
    /// As last committed: a batch that is undone takes its change of settings with it.
    settings: Arc<dyn Any + Send + Sync>,
    code_version: String,
    observer: Box<dyn Observer>,
}

/// By reader and source.
type Cursors = BTreeMap<(String, String), CursorRow>;

/// What the database says, kept in memory because there is one writer.
struct State {
    cursors: Cursors,
    /// Keys with dead letters, and how many.
    parked: HashMap<String, u32>,
    /// Effects without a result.
    effects: HashMap<String, EffectRow>,
    next_timer: Option<Timestamp>,
    /// The place of the newest dead letter: letters of a key are redriven in the order in which they died.
    letters_end: u64,
}

// === impl State ===

impl State {
    async fn load(database: &Database) -> Result<Self, JournalError> {
        let cursors = database.cursors().await?.into_iter().map(|row| ((row.reader.clone(), row.source.clone()), row));
        let cursors = cursors.collect();
        let (mut parked, mut letters_end) = (HashMap::new(), 0);
        for (key, letters, newest) in database.parked_keys().await? {
            letters_end = newest.max(letters_end);
            parked.insert(key, letters);
        }
        let mut effects: HashMap<String, EffectRow> = HashMap::new();
        let mut after = String::new();
        loop {
            let page = database.effects_pending(&after, 1_000).await?;
            let Some(last) = page.last() else { break };
            after.clone_from(&last.id);
            effects.extend(page.into_iter().map(|row| (row.id.clone(), row)));
        }
        Ok(Self { cursors, parked, effects, next_timer: database.next_timer().await?, letters_end })
    }
}

// === impl Executor ===

impl Executor {
    /// Takes over a module's state from its writer.
    ///
    /// # Errors
    /// When the journal cannot be read, or the settings are not of the module's type.
    pub async fn new(writer: Writer, definition: Arc<Definition>, code_version: &str) -> Result<Self, JournalError> {
        let database = writer.database().clone();
        let state = State::load(&database).await?;
        let careful_left = if writer.head().previous_stop_clean { 0 } else { CAREFUL_INPUTS };
        let stored = SettingsRow::stored(&database).await?;
        let value = stored.unwrap_or_else(|| definition.default_settings().clone());
        let settings = definition.parse_settings(&value).map_err(JournalError::Decode)?;
        let current = settings.clone();
        let cx = Cx {
            now: writer.head().last_time,
            writer,
            definition,
            settings,
            input: Input::nothing(),
            traceparent: None,
            outputs: Outputs::default(),
        };
        let code_version = code_version.to_owned();
        Ok(Self {
            cx,
            state,
            stale: false,
            unsent: Vec::new(),
            careful_left,
            attempted: HashSet::new(),
            settings: current,
            code_version,
            observer: Box::new(()),
        })
    }

    /// Tells `observer` from now on what this executor does.
    #[must_use]
    pub fn observed_by(self, observer: Box<dyn Observer>) -> Self {
        Self { observer, ..self }
    }

    pub fn writer(&self) -> &Writer {
        &self.cx.writer
    }

    /// How far this module has read `source`, readers of their own aside.
    pub fn cursor(&self, source: &str) -> Option<&CursorRow> {
        self.cursor_of(self.cx.definition.name(), source)
    }

    /// How far one of this module's readers has read `source`.
    pub fn cursor_of(&self, reader: &str, source: &str) -> Option<&CursorRow> {
        self.state.cursors.get(&(reader.to_owned(), source.to_owned()))
    }

    pub fn cursors(&self) -> impl Iterator<Item = &CursorRow> {
        self.state.cursors.values()
    }

    /// When [`Executor::run`] should be called next even if no work has come.
    pub fn next_timer(&self) -> Option<Timestamp> {
        self.state.next_timer
    }

    /// Effects without a result: performed again after a start.
    pub fn effects(&self) -> impl Iterator<Item = &EffectRow> {
        self.state.effects.values()
    }

    /// How many they are.
    pub fn effects_pending(&self) -> usize {
        self.state.effects.len()
    }

    /// Keys that take nothing because a dead letter of theirs waits.
    pub fn parked_keys(&self) -> usize {
        self.state.parked.len()
    }

    pub fn dead_letters(&self) -> u32 {
        self.state.parked.values().sum()
    }

    /// Notes a clean stop and gives the connection back.
    ///
    /// # Errors
    /// When the note cannot be written.
    pub async fn stop(self) -> Result<(), JournalError> {
        self.cx.writer.stop().await
    }

    /// Gives the connection back as it was found; see [`Writer::leave`].
    ///
    /// # Errors
    /// When a note that all is well cannot be written again.
    pub async fn leave(self) -> Result<(), JournalError> {
        self.cx.writer.leave().await
    }

    /// Runs a batch to its commit. Timers that are due at `now` come first.
    ///
    /// # Errors
    /// [`ExecutorError::Transient`]: nothing was committed, try the same work again. [`ExecutorError::Fatal`]: stop.
    pub async fn run(&mut self, work: &[Work], now: Timestamp) -> Result<BatchResult, ExecutorError> {
        if self.stale {
            self.reload().await.map_err(ExecutorError::Transient)?;
        }
        let now = now.max(self.cx.writer.head().last_time);
        if let [Work::Rebuild(step)] = work {
            // No timers and no care: it is no input, and a store that is stopped for it hears of nothing else.
            let result = self.run_rebuild(step).await?;
            return Ok(self.with_unsent(result));
        }
        if self.careful_left > 0 {
            let result = self.run_singly(work, now, true).await?;
            // Only what went well counts: a database that comes and goes does not use the care up.
            let inputs = work.iter().filter(|one| !matches!(one, Work::Rebuild(_))).count() as u32;
            self.careful_left = self.careful_left.saturating_sub(inputs + result.timers_fired);
            return Ok(self.with_unsent(result));
        }
        let mut result = BatchResult::default();
        let is_due = || self.state.next_timer.is_some_and(|due| due <= now);
        if work.first().is_none_or(|first| first.runs_alone() && is_due()) {
            result.absorb(self.run_together(&[], now).await?);
        }
        for part in work.chunk_by(|one, next| !one.runs_alone() && !next.runs_alone()) {
            let ran = match part {
                [one] if one.runs_alone() => self.run_alone(one, now).await,
                part => self.run_together(part, now).await,
            };
            let ran = self.keeping(&mut result, ran)?;
            result.absorb(ran);
        }
        Ok(self.with_unsent(result))
    }

    /// One commit over all of `work`, or one each where that fails.
    async fn run_together(&mut self, work: &[Work], now: Timestamp) -> Result<BatchResult, ExecutorError> {
        match self.attempt(work, now, TIMERS_PER_BATCH).await {
            Ok(result) => Ok(result),
            Err(abort) if abort.is_an_inputs_own() => {
                self.undo().await?;
                self.run_singly(work, now, false).await
            }
            Err(abort) => Err(self.give_back(abort.into_error()).await),
        }
    }

    async fn run_alone(&mut self, work: &Work, now: Timestamp) -> Result<BatchResult, ExecutorError> {
        match work {
            Work::Rebuild(step) => self.run_rebuild(step).await,
            letter => self.run_letter(letter, now).await,
        }
    }

    fn with_unsent(&mut self, mut result: BatchResult) -> BatchResult {
        result.effects.append(&mut self.unsent);
        result
    }

    /// Keeps the writing session alive between batches; see [`Writer::heartbeat`].
    ///
    /// # Errors
    /// [`ExecutorError::Transient`] while the database is away, [`ExecutorError::Fatal`] when another leads.
    pub async fn heartbeat(&mut self) -> Result<(), ExecutorError> {
        match self.cx.writer.heartbeat().await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.give_back(error).await),
        }
    }

    /// Reads again what the database holds: a commit whose answer was lost may have happened.
    async fn reload(&mut self) -> Result<(), JournalError> {
        let before = std::mem::replace(&mut self.state, State::load(&self.cx.writer.database().clone()).await?);
        let is_new = |row: &&EffectRow| !before.effects.contains_key(&row.id);
        self.unsent.extend(self.state.effects.values().filter(is_new).cloned());
        self.stale = false;
        Ok(())
    }

    /// One transaction over all of `work`.
    async fn attempt(&mut self, work: &[Work], now: Timestamp, timers_max: usize) -> Result<BatchResult, Abort> {
        self.cx.settings = self.settings.clone();
        self.cx.writer.begin().await.map_err(Abort::Unready)?;
        let mut batch = Batch { next_timer: self.state.next_timer, ..Batch::default() };
        if timers_max > 0 && self.state.next_timer.is_some_and(|due| due <= now) {
            self.fire_timers(&mut batch, now, timers_max).await?;
        }
        self.look_up_commands(&mut batch, work).await?;
        self.prefetch(inputs_of(work)).await?;
        for one in work {
            let done = match one {
                Work::Input(input) => self.input(&mut batch, input, now).await?,
                Work::Advance { reader, source, log_id, after, position, message_id } => {
                    let row = cursor_row(reader, source, log_id, *position, message_id);
                    self.advance(&mut batch, row, *after)
                }
                Work::Try { effect_id, expires_at } => self.try_again(&mut batch, effect_id, *expires_at),
                Work::Redrive { letter_id } => self.redrive(&mut batch, letter_id, now).await?,
                Work::Abandon { letter_id } => self.abandon(&mut batch, letter_id).await?,
                Work::Rebuild(_) => {
                    let reason = "a step of a rebuild has a transaction of its own";
                    return Err(Abort::Poison(reason.to_owned()));
                }
                Work::SweepSecrets => {
                    self.cx.writer.remove_expired_secrets(now);
                    Done::Handled
                }
            };
            batch.done.push(done);
        }
        let log = self.commit().await?;
        Ok(self.committed(batch, log))
    }

    /// Takes over what the transaction has made true.
    fn committed(&mut self, batch: Batch, log: Vec<Arc<Envelope>>) -> BatchResult {
        self.settings = self.cx.settings.clone();
        batch.observations.into_iter().for_each(|observation| self.observer.observed(observation));
        self.state.cursors.extend(batch.cursors);
        for id in &batch.attempts_ended {
            self.attempted.remove(id);
        }
        self.state.letters_end += batch.parked.len() as u64;
        for key in batch.parked {
            *self.state.parked.entry(key).or_insert(0) += 1;
        }
        for key in batch.letters_ended {
            self.unpark(key);
        }
        for row in &batch.effects {
            self.state.effects.insert(row.id.clone(), row.clone());
        }
        for id in &batch.effects_ended {
            self.state.effects.remove(id);
        }
        self.state.next_timer = batch.next_timer;
        BatchResult {
            done: batch.done,
            log,
            effects: batch.effects.into_iter().filter(|row| row.tries == 1).collect(),
            timers_fired: batch.timers_fired,
            refusals_after_write: batch.refusals_after_write,
        }
    }

    async fn undo(&mut self) -> Result<(), ExecutorError> {
        self.observer.undone();
        match self.cx.writer.rollback().await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.give_back(error).await),
        }
    }

    /// Makes the writer usable again after a failed transaction, and says whether to go on.
    async fn give_back(&mut self, error: JournalError) -> ExecutorError {
        self.observer.undone();
        if matches!(error, JournalError::Superseded { .. }) {
            return ExecutorError::Fatal(error);
        }
        // Whether a commit without an answer has happened, only the database can say; a rollback proves nothing.
        let is_known = !matches!(error, JournalError::CommitUnknown(_));
        let repaired = if is_known && self.cx.writer.rollback().await.is_ok() {
            Ok(())
        } else {
            self.stale = true;
            self.cx.writer.reconnect().await
        };
        match repaired {
            Err(superseded @ JournalError::Superseded { .. }) => ExecutorError::Fatal(superseded),
            _ => ExecutorError::Transient(error),
        }
    }
}

fn inputs_of(work: &[Work]) -> impl Iterator<Item = &Input> {
    work.iter().filter_map(|one| match one {
        Work::Input(input) => Some(input),
        _ => None,
    })
}

fn cursor_row(reader: &str, source: &str, log_id: &str, position: u64, message_id: &str) -> CursorRow {
    CursorRow {
        reader: reader.to_owned(),
        source: source.to_owned(),
        log_id: log_id.to_owned(),
        position,
        message_id: message_id.to_owned(),
    }
}

fn timer_input(timer: &TimerRow) -> Input {
    Input {
        id: timer.id.clone(),
        kind: InputKind::Timer,
        subject: timer.subject.clone(),
        key: timer.key.clone(),
        causation_id: timer.causation_id.clone(),
        correlation_id: timer.correlation_id.clone(),
        actor: pangaea_contracts::Actor::system(),
        traceparent: timer.traceparent.clone(),
        payload: timer.payload.clone(),
        secrets: Vec::new(),
    }
}
