use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use pangaea_contracts::Timestamp;
use pangaea_journal::{Database, DatabaseOptions, Row, Statement};
use pangaea_kernel::{BatchResult, Definition, Executor, ExecutorError, Reading, Work};
use tokio::sync::watch;

/// A batch of one input. Longer is a handler that waits for something, which it must not.
const BATCH_MAX: Duration = Duration::from_secs(60);
/// Between two tries: PostgreSQL ends the session of a writer that is silent for a second, as while a test thinks.
const RETRY: Duration = Duration::from_millis(50);
const TRIES_MAX: u32 = 100;

/// A module on its executor.
pub(super) struct Hosted {
    pub(super) name: &'static str,
    pub(super) definition: Arc<Definition>,
    pub(super) readings: Vec<Reading>,
    pub(super) executor: Executor,
    pub(super) database: Database,
    pub(super) changes: watch::Sender<u64>,
    /// The end of the inbox that the transcript has.
    inbox_end: i64,
}

/// An input as its inbox row has it.
pub(super) struct Admitted {
    pub(super) subject: String,
    pub(super) payload: String,
    /// Of a command.
    pub(super) answer: Option<String>,
}

// === impl Hosted ===

impl Hosted {
    pub(super) async fn open(definition: Definition, options: &DatabaseOptions) -> Result<Self> {
        let name = definition.name();
        ensure!(definition.faults().is_empty(), "the declaration of {name}: {}", definition.faults().join("; "));
        let database = Database::open(name, options).await.with_context(|| format!("the database of {name}"))?;
        let writer = database.writer(definition.all_migrations(), "test").await;
        let writer = writer.with_context(|| format!("the tables of {name}"))?;
        let (definition, readings) = (Arc::new(definition), Vec::new());
        let executor = Executor::new(writer, definition.clone(), "test").await?;
        let (changes, _) = watch::channel(0);
        let mut hosted = Self { name, definition, readings, executor, database, changes, inbox_end: 0 };
        hosted.readings = hosted.definition.readings();
        Ok(hosted)
    }

    /// The reader that this message of `source` is for, if any.
    pub(super) fn reader_of(&self, source: &str, subject: &str) -> Option<&str> {
        let reading = self.readings.iter().find(|one| one.source == source && one.subjects.contains(subject));
        reading.map(|reading| reading.reader.as_str())
    }

    /// One commit.
    pub(super) async fn run(&mut self, work: &[Work], now: Timestamp) -> Result<BatchResult> {
        for _ in 0..TRIES_MAX {
            let ran = tokio::time::timeout(BATCH_MAX, self.executor.run(work, now)).await;
            match ran.with_context(|| format!("{}: a handler has not ended within {BATCH_MAX:?}", self.name))? {
                Ok(result) => return Ok(result),
                Err(ExecutorError::Transient(error)) => {
                    tokio::time::sleep(RETRY).await;
                    eprintln!("{}: tried again: {error}", self.name);
                }
                Err(ExecutorError::Fatal(error)) => return Err(error.into()),
            }
        }
        bail!("{}: its database does not come back", self.name)
    }

    /// What has been admitted since this was last asked.
    pub(super) async fn admitted(&mut self) -> Result<Vec<Admitted>> {
        let select = "SELECT position, subject, payload, answer FROM inbox WHERE position > ? ORDER BY position";
        let mut admitted = Vec::new();
        for row in self.database.fetch(Statement::new(select).bind(self.inbox_end)).await? {
            self.inbox_end = row.get(0)?;
            admitted.push(Admitted { subject: row.get(1)?, payload: row.get(2)?, answer: row.get(3)? });
        }
        self.changes.send_replace(self.inbox_end.unsigned_abs());
        Ok(admitted)
    }

    /// Why each dead letter died.
    pub(super) async fn dead_letters(&self) -> Result<Vec<String>> {
        self.texts("SELECT subject, key, error FROM dead_letter ORDER BY position").await
    }

    /// What is against the module's own invariants, and gauges of it that cannot be read.
    pub(super) async fn breaches(&self) -> Result<Vec<String>> {
        let mut breaches = self.definition.breaches(&self.database).await?;
        for one in self.definition.gauges() {
            let unread = one.numbers(&self.database).await.err();
            breaches.extend(unread.map(|error| format!("the gauge {}: {error}", one.gauge.name)));
        }
        Ok(breaches)
    }

    /// What it waits for.
    pub(super) async fn timers(&self) -> Result<Vec<String>> {
        self.texts("SELECT due_at, subject, key FROM timer ORDER BY due_at, subject, key").await
    }

    pub(super) async fn texts(&self, select: &str) -> Result<Vec<String>> {
        let rows = self.database.fetch(Statement::new(select)).await.with_context(|| select.to_owned())?;
        Ok(rows.iter().map(text).collect())
    }
}

fn text(row: &Row) -> String {
    let column = |index| {
        let number = row.get::<Option<i64>>(index).map(|number| number.map(|number| number.to_string()));
        number.or_else(|_| row.get::<Option<String>>(index)).ok()
    };
    let columns: Vec<_> = (0..).map_while(column).map(|text| text.unwrap_or_else(|| "-".to_owned())).collect();
    columns.join(" | ")
}
