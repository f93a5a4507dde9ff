use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use pangaea_contracts::Timestamp;
use pangaea_journal::{Database, DatabaseOptions};
use pangaea_replay::{Canonical, canonical};
use pangaea_testkit::{Store, eventually};
use serde_json::Value;

/// How long a store may take, in real time, until it is quiet.
const QUIET_MAX: Duration = Duration::from_secs(60);
const MODULES: [&str; 4] = ["product", "order", "payment", "user"];
/// Messages looked at in one go.
const PAGE: usize = 1_000;
/// Between two steps of a script, by the store's clock.
const STEP_MS: i64 = 1_000;
/// Timers that one step of a script may fire, at most.
const TIMERS_MAX: usize = 100;

/// A store whose time is the driver's, and what the driver sees of it: the databases.
pub struct Driver {
    pub store: Store,
    databases: Vec<Database>,
    readings: Vec<Reading>,
}

/// Who reads what of whom.
struct Reading {
    source: String,
    module: String,
    reader: String,
    subjects: BTreeSet<String>,
}

/// What a store that is quiet may still be waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum But {
    Nothing,
    /// Calls to the provider, which is held.
    Calls,
}

/// The ends of a module's inbox and outbox, which only grow.
type Ends = (u64, u64);

// === impl Driver ===

impl Driver {
    /// # Errors
    /// When a database cannot be opened, or what the store does at its start has no end.
    pub async fn of(store: Store) -> Result<Self> {
        let url = store.env("DATABASE__URL").context("a store without a database")?.to_owned();
        let mut databases = Vec::new();
        for module in MODULES {
            let options = DatabaseOptions { url: url.clone(), read_connections_max: 1, synchronous_full: true };
            databases.push(Database::open(module, &options).await?);
        }
        let readings = readings(&store).await?;
        let driver = Self { store, databases, readings };
        driver.settle().await.context("after the start")?;
        Ok(driver)
    }

    /// Waits until no module has anything to do before the clock is moved.
    ///
    /// # Errors
    /// When that takes too long: what is still to be done.
    pub async fn settle(&self) -> Result<()> {
        self.quiet(But::Nothing).await
    }

    /// Ends a step of a script: the next one is a second later.
    ///
    /// # Errors
    /// When the store does not become quiet.
    pub async fn step(&mut self) -> Result<()> {
        self.settle().await?;
        self.advance(STEP_MS).await
    }

    /// Moves the clock on, from timer to timer: each is handled to its end before the next one is due.
    ///
    /// # Errors
    /// When two timers are due at one moment, whose order would be chance; or the store does not become quiet.
    pub async fn advance(&mut self, millis: i64) -> Result<()> {
        let until = self.store.clock().now().plus_millis(millis);
        for _ in 0..TIMERS_MAX {
            let Some((due, module)) = self.next_timer(until).await? else {
                self.store.clock().set(until)?;
                return self.settle().await;
            };
            match module {
                // What it asks the provider is its only work.
                "payment" => self.store.clock().set(due)?,
                _ => self.while_provider_waits(async |driver| driver.store.clock().set(due)).await?,
            }
            self.settle().await.with_context(|| format!("a timer of {module}"))?;
        }
        bail!("more than {TIMERS_MAX} timers are due within {millis} ms")
    }

    /// Does something while the provider answers nothing, and lets it go on when all else is done. Where two answers are waited
    /// for at once, as by an order that is cancelled, the provider's is the later one in every placement.
    ///
    /// # Errors
    /// What `act` says; or that the store does not become quiet.
    pub async fn while_provider_waits<T>(&mut self, act: impl AsyncFnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.store.provider().signal("STOP")?;
        let done = act(self).await?;
        self.quiet(But::Calls).await?;
        self.store.provider().signal("CONT")?;
        self.settle().await?;
        Ok(done)
    }

    /// What the store holds and has said, once it is quiet.
    ///
    /// # Errors
    /// When it does not become quiet, or a database cannot be read.
    pub async fn canonical(&self) -> Result<Canonical> {
        self.settle().await?;
        Ok(canonical(&self.databases).await?)
    }

    /// The end of every run: nothing is wrong, and everything stops when asked to.
    ///
    /// # Errors
    /// What `pangaea verify` finds, or who does not stop.
    pub async fn close(self) -> Result<()> {
        self.settle().await?;
        self.store.verify().await?;
        for database in self.databases {
            database.close().await;
        }
        self.store.stop().await
    }

    /// When the next timer is due that is due `until` then, and whose it is.
    async fn next_timer(&self, until: Timestamp) -> Result<Option<(Timestamp, &'static str)>> {
        let mut timers = Vec::new();
        for (database, module) in self.databases.iter().zip(MODULES) {
            timers.extend(database.next_timer().await?.map(|due| (due, module)));
        }
        let Some(first) = timers.into_iter().min().filter(|(due, _)| *due <= until) else { return Ok(None) };
        let mut due = 0;
        for database in &self.databases {
            due += database.timers_due_count(first.0).await?;
        }
        ensure!(due == 1, "{due} timers are due at {}: choose settings that keep them apart", first.0);
        Ok(Some(first))
    }

    async fn quiet(&self, but: But) -> Result<()> {
        let mut last = String::new();
        let quiet = eventually("a quiet store", QUIET_MAX, async || {
            let looks = (self.look(but).await?, self.look(but).await?);
            match looks {
                // Nothing grew between the looks, so that what each saw of one database after the other was so at once.
                (Ok(first), Ok(second)) if first == second => return Ok(Some(())),
                (Err(busy), _) | (_, Err(busy)) => last = busy,
                _ => "something is being done".clone_into(&mut last),
            }
            Ok(None)
        });
        quiet.await.with_context(|| format!("last: {last}"))
    }

    /// The ends, or what is still to be done.
    async fn look(&self, but: But) -> Result<Result<Vec<Ends>, String>> {
        let mut ends = Vec::new();
        for (database, module) in self.databases.iter().zip(MODULES) {
            let head = database.head().await?.with_context(|| format!("{module} has never been led"))?;
            ends.push((head.inbox_end, head.outbox_end));
            let calls = database.effects_pending_count().await?;
            if calls > 0 && but != But::Calls {
                return Ok(Err(format!("{calls} calls of {module} have no result")));
            }
            if let Some(timer) = database.timers_due(self.store.clock().now(), 1).await?.first() {
                return Ok(Err(format!("{} of {module} is due", timer.subject)));
            }
        }
        for reading in &self.readings {
            if let Some(message) = self.unread(reading).await? {
                return Ok(Err(format!("{} has not read {message}", reading.module)));
            }
        }
        Ok(Ok(ends))
    }

    /// A message behind the reader's cursor that is for it.
    async fn unread(&self, reading: &Reading) -> Result<Option<String>> {
        let cursors = self.database(&reading.module)?.cursors().await?;
        let own = cursors.iter().find(|cursor| cursor.reader == reading.reader && cursor.source == reading.source);
        let after = own.map_or(0, |cursor| cursor.position);
        let behind = self.database(&reading.source)?.outbox_after("", after, PAGE).await?;
        let found = behind.iter().find(|message| reading.subjects.contains(&message.subject));
        let unseen = || (behind.len() == PAGE).then(|| format!("what follows {after} in {}", reading.source));
        Ok(found.map(|message| format!("{} at {}", message.subject, message.position)).or_else(unseen))
    }

    fn database(&self, module: &str) -> Result<&Database> {
        let found = self.databases.iter().find(|database| database.module() == module);
        found.with_context(|| format!("no database of {module}"))
    }
}

/// As the program under test says it.
async fn readings(store: &Store) -> Result<Vec<Reading>> {
    let told = store.run(&["topology", "--format", "json"]).await?.success()?;
    let topology: Value = serde_json::from_str(&told.stdout).context("`pangaea topology --format json`")?;
    let text = |value: &Value| value.as_str().map(str::to_owned).with_context(|| format!("no text: {value}"));
    let edges = topology["edges"].as_array().context("a topology without edges")?;
    let readings = edges.iter().map(|edge| {
        let subjects = edge["subjects"].as_array().context("an edge without subjects")?;
        Ok(Reading {
            source: text(&edge["source"])?,
            module: text(&edge["module"])?,
            reader: text(&edge["reader"])?,
            subjects: subjects.iter().map(text).collect::<Result<_>>()?,
        })
    });
    let readings: Vec<Reading> = readings.collect::<Result<_>>()?;
    ensure!(!readings.is_empty(), "nobody reads anything: {topology}");
    Ok(readings)
}
