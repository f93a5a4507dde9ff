//! This program's handlers beside a live leader: the same inputs as they are committed there, and what is said of them here
//! compared with what was said there.

mod start;

use std::sync::Arc;
use std::time::{Duration, Instant};

use pangaea_contracts::Timestamp;
use pangaea_journal::{Database, Head, JournalError, Kind, Snapshot};
use pangaea_kernel::{Definition, History, Replayer, Said, Source};

pub use self::start::Copied;
use self::start::{Start, at_first, from_copy};
use crate::ReplayError;
use crate::check::{digest_of, run};
use crate::compare::{Change, Difference, compare};
use crate::ignore::Ignore;
use crate::record::PAGE;
use crate::recording::{EndState, Entry};
use crate::redact::Redactor;
use crate::report::StateVerdict;
use crate::state::exact_digest;

/// A network that swallows packets is found out by it.
const READ_MAX: Duration = Duration::from_secs(10);
/// A SQLite file that was put in the place of another is seen by a new session only, so a quiet one is made anew.
const QUIET_MAX: Duration = Duration::from_secs(2);
/// Inputs that are caught up with for the comparison of tables at the end, while the leader's snapshot is held.
const LAST_INPUTS_MAX: u64 = 50_000;

/// How a leader is shadowed.
#[derive(Clone, Debug, Default)]
pub struct ShadowOptions {
    /// Runs all of its history first, in place of beginning with a copy of its tables.
    pub from_start: bool,
    pub ignore: Ignore,
    /// Differences show what contracts mark as secret or personal replaced under this key. `None` shows it.
    pub redaction_key: Option<String>,
}

/// A module's handlers in a database of their own, which follow a leader. The leader's database is only read, in moments that
/// end before a handler runs; nothing is published, and no effect is performed.
pub struct Shadow {
    /// The leader's.
    database: Database,
    /// At rest between two steps; none while the database is away.
    session: Option<Snapshot>,
    session_since: Instant,
    history: History,
    replayer: Replayer,
    ignore: Ignore,
    redactor: Option<Redactor>,
    log_id: String,
    first: u64,
    next: u64,
    /// Of the last input that was read.
    last_id: Option<String>,
    has_differed: bool,
    copied: Option<Copied>,
    migrations: Vec<String>,
    unlike: Vec<String>,
}

/// What one step came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Compared(Compared),
    /// The leader's database cannot be read now. The next step tries it again, and goes on where this one stood.
    Away(String),
}

/// Some inputs that follow each other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Compared {
    /// None: nothing was new.
    pub inputs: u64,
    /// Messages that the leader said of them.
    pub outputs: u64,
    /// Inputs whose timers and effects the leader did not write down.
    pub asked_unknown: u64,
    pub differences: Vec<Difference>,
    /// The release that handled the last of them there.
    pub handled_by: Option<String>,
    /// Inputs that wait for the next step.
    pub behind: u64,
    /// When the last of these inputs was admitted, where more wait: what waits is no older.
    pub waiting_since: Option<Timestamp>,
}

// === impl Shadow ===

impl Shadow {
    /// Makes the database of its own, and copies the leader's tables into it where that is wanted.
    ///
    /// # Errors
    /// When the leader's database cannot be read, or its rows do not fit this program's tables.
    pub async fn start(
        database: &Database,
        definition: &Arc<Definition>,
        options: &ShadowOptions,
    ) -> Result<Self, ReplayError> {
        let start = if options.from_start {
            at_first(database, definition).await
        } else {
            from_copy(database, definition).await
        };
        let Start { snapshot, replayer, history, first, copied, migrations, unlike } = start?;
        let redactor = options.redaction_key.clone().map(|key| Redactor::new(definition, key));
        Ok(Self {
            database: database.clone(),
            log_id: snapshot.head().log_id.clone(),
            session: Some(snapshot),
            session_since: Instant::now(),
            history,
            replayer,
            ignore: options.ignore.clone(),
            redactor: redactor.filter(Redactor::has_work),
            first,
            next: first,
            last_id: None,
            has_differed: false,
            copied,
            migrations,
            unlike,
        })
    }

    /// The position of the first input that it runs.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// What it began with; `None`: with empty tables.
    pub fn copied(&self) -> Option<Copied> {
        self.copied
    }

    /// How its tables are made otherwise than the leader's, in sentences.
    pub fn unlike(&self) -> &[String] {
        &self.unlike
    }

    /// Runs the next inputs that are committed, a bounded number. It must be awaited to its end.
    ///
    /// # Errors
    /// When the leader's database holds another history than it began with, or a torn one, or the own database fails.
    pub async fn step(&mut self) -> Result<Step, ReplayError> {
        let place = (self.history.position(), self.history.message_position());
        let read = match tokio::time::timeout(READ_MAX, self.read()).await {
            Ok(read) => read,
            Err(_) => Err(self.silent()),
        };
        match read {
            Ok((entries, newest)) => Ok(Step::Compared(self.compared(&entries, newest).await?)),
            Err(ReplayError::Journal { source, .. }) if is_away(&source) => {
                self.history = History::after(place.0, place.1);
                Ok(Step::Away(source.to_string()))
            }
            Err(error) => Err(error),
        }
    }

    /// Runs what is committed up to one moment, and compares the tables as of that moment, where they can be compared. It
    /// must be awaited to its end.
    ///
    /// # Errors
    /// As [`Shadow::step`]. A leader that is away makes no error.
    pub async fn last(&mut self) -> Result<(Vec<Compared>, StateVerdict), ReplayError> {
        let mut steps = Vec::new();
        let verdict = match self.last_state(&mut steps).await {
            Err(ReplayError::Journal { source, .. }) if is_away(&source) => {
                StateVerdict::NotCompared(format!("the leader's database is away: {source}"))
            }
            other => other?,
        };
        Ok((steps, verdict))
    }

    /// Gives the own database back, which then is gone.
    ///
    /// # Errors
    /// When it cannot be closed in order.
    pub async fn stop(self) -> Result<(), ReplayError> {
        let module = self.database.module();
        if let Some(session) = self.session {
            // Whether the good-bye is heard is no matter.
            let _ = tokio::time::timeout(READ_MAX, session.close()).await;
        }
        self.replayer.stop().await.map_err(ReplayError::journal(module))
    }

    async fn compared(&mut self, entries: &[Entry], newest: u64) -> Result<Compared, ReplayError> {
        let said = run(&mut self.replayer, entries).await?;
        self.next += entries.len() as u64;
        let mut compared = Compared { behind: (newest + 1).saturating_sub(self.next), ..Compared::default() };
        for (entry, said) in entries.iter().zip(said) {
            compared.inputs += 1;
            compared.outputs += entry.messages.len() as u64;
            compared.asked_unknown += u64::from(entry.asked.is_none());
            compared.differences.extend(self.compare(entry, said));
        }
        self.has_differed |= !compared.differences.is_empty();
        if let Some(last) = entries.last() {
            self.last_id = Some(last.id.clone());
            compared.handled_by = Some(last.handled_by.clone());
            compared.waiting_since = (compared.behind > 0).then_some(last.admitted_at);
        }
        Ok(compared)
    }

    fn compare(&self, entry: &Entry, said: Said) -> Option<Difference> {
        let found = compare(entry, &said, &self.ignore)?;
        let Some(redactor) = &self.redactor else { return Some(found) };
        let shown = redactor.entry(entry.clone()).and_then(|entry| Ok((entry, redactor.said(said)?)));
        // What differs may be just what is hidden: then it is said where, and not what.
        Some(shown.ok().and_then(|(entry, said)| compare(&entry, &said, &self.ignore)).unwrap_or_else(|| hidden(found)))
    }
}

// === impl Shadow: what the leader has ===

impl Shadow {
    /// The next inputs, and the position of the newest. While it reads, the session is not in its place: one that breaks, or
    /// is left in the middle, is not used again.
    async fn read(&mut self) -> Result<(Vec<Entry>, u64), ReplayError> {
        let mut session = self.moment().await?;
        let newest = session.head().inbox_end;
        let entries = self.page(&mut session).await?;
        if self.next + entries.len() as u64 > newest {
            let ended = self.history.ends(&mut Source::Snapshot(&mut session)).await;
            ended.map_err(ReplayError::history(self.database.module()))?;
        }
        session.rest().await.map_err(ReplayError::journal(self.database.module()))?;
        if !entries.is_empty() {
            self.session_since = Instant::now();
        }
        self.session = Some(session);
        Ok((entries, newest))
    }

    async fn page(&mut self, session: &mut Snapshot) -> Result<Vec<Entry>, ReplayError> {
        let waiting = (session.head().inbox_end + 1).saturating_sub(self.next);
        let limit = PAGE.min(usize::try_from(waiting).unwrap_or(PAGE));
        if limit == 0 {
            return Ok(Vec::new());
        }
        let page = self.history.page(&mut Source::Snapshot(session), limit).await;
        let page = page.map_err(ReplayError::history(self.database.module()))?;
        Ok(page.into_iter().map(Entry::of).collect())
    }

    /// What is committed now.
    async fn moment(&mut self) -> Result<Snapshot, ReplayError> {
        let module = self.database.module().to_owned();
        let is_stale = self.database.kind() == Kind::Sqlite && self.session_since.elapsed() > QUIET_MAX;
        let session = match self.session.take() {
            Some(mut session) if !is_stale => {
                session.renew().await.map_err(ReplayError::journal(&module))?;
                session
            }
            old => {
                if let Some(old) = old {
                    let _ = old.close().await;
                }
                let mut session = self.database.snapshot().await.map_err(ReplayError::journal(&module))?;
                self.session_since = Instant::now();
                self.expect_the_last(&mut session).await?;
                session
            }
        };
        self.expect_the_same(session.head())?;
        Ok(session)
    }

    fn expect_the_same(&self, head: &Head) -> Result<(), ReplayError> {
        let reason = if head.log_id != self.log_id {
            format!("it is now the log {}, and was {}", head.log_id, self.log_id)
        } else if head.inbox_end + 1 < self.next {
            format!("its newest input is at {}, and the one at {} was read already", head.inbox_end, self.next - 1)
        } else {
            return Ok(());
        };
        Err(self.another(&reason))
    }

    /// A database that was restored may have gone on under the same name, and be longer by now.
    async fn expect_the_last(&self, session: &mut Snapshot) -> Result<(), ReplayError> {
        let Some(last_id) = &self.last_id else { return Ok(()) };
        let at = self.next - 1;
        let found = session.inbox_from(at, 1).await.map_err(ReplayError::journal(self.database.module()))?;
        let is_there = found.first().is_some_and(|one| one.admitted.input.id == *last_id);
        if is_there { Ok(()) } else { Err(self.another(&format!("the input at {at} is no longer {last_id}"))) }
    }

    fn another(&self, what: &str) -> ReplayError {
        let reason = format!(
            "the leader's database holds another history than the one that was followed: {what}. Was it restored? Start again"
        );
        ReplayError::module(self.database.module(), reason)
    }

    fn silent(&self) -> ReplayError {
        let source = JournalError::Unavailable(format!("no answer within {} s", READ_MAX.as_secs()));
        ReplayError::Journal { module: self.database.module().to_owned(), source }
    }

    async fn last_state(&mut self, steps: &mut Vec<Compared>) -> Result<StateVerdict, ReplayError> {
        let not_compared = |reason: &str| Ok(StateVerdict::NotCompared(reason.to_owned()));
        let moment = tokio::time::timeout(READ_MAX, self.moment()).await;
        let mut session = moment.unwrap_or_else(|_| Err(self.silent()))?;
        let newest = session.head().inbox_end;
        if newest + 1 - self.next > LAST_INPUTS_MAX {
            return not_compared("too many inputs wait");
        }
        while self.next <= newest {
            let entries = self.page(&mut session).await?;
            steps.push(self.compared(&entries, newest).await?);
        }
        if self.has_differed {
            return not_compared("what was said differs, so that they will, too");
        }
        let migrations = session.migrations().await.map_err(ReplayError::journal(self.database.module()))?;
        if !self.unlike.is_empty() || migrations.len() != self.migrations.len() {
            return not_compared("they are not made alike");
        }
        let theirs = exact_digest(&mut session).await.map_err(ReplayError::journal(self.database.module()))?;
        let _ = session.close().await;
        Ok(StateVerdict::of(&EndState::Stored(theirs), digest_of(&self.replayer).await?, &self.ignore))
    }
}

/// Whether it passes by itself: a server that restarts, a file that is locked or not there for a moment.
fn is_away(error: &JournalError) -> bool {
    error.is_transient() || matches!(error, JournalError::Open { .. })
}

/// The same without any value.
fn hidden(mut difference: Difference) -> Difference {
    const HIDDEN: &str = "(hidden)";
    difference.input.payload = HIDDEN.into();
    for change in &mut difference.changes {
        match change {
            Change::Missing(one) | Change::Added(one) => one.payload = HIDDEN.into(),
            Change::Changed { fields, .. } => {
                for value in fields.iter_mut().flat_map(|field| [&mut field.recorded, &mut field.replayed]).flatten() {
                    *value = HIDDEN.into();
                }
            }
            Change::Failed { .. } => {}
        }
    }
    difference
}
