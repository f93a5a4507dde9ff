//! A module's database, and the statements of one transaction: carried out on SQLite, or written down for pgbench.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use pangaea_kernel::{Clock, SystemClock};
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Arguments, AssertSqlSafe, ConnectOptions};

use super::{Said, script};

pub(crate) const JOURNAL: &str = include_str!("../../../journal/migrations/0001_journal.sql");
const ACTOR: &str = "usr_00000000000000000000000000;staff";
const VERSION: &str = env!("CARGO_PKG_VERSION");

const OUTBOX: &str = "INSERT INTO outbox (position, id, subject, key, causation_id, correlation_id, actor, created_at, traceparent, payload)";
const INBOX: &str = "INSERT INTO inbox (position, id, subject, key, source, source_position, causation_id, correlation_id, actor, admitted_at, traceparent, payload, fingerprint, answer, code_version)";
const TIMER: &str = "INSERT INTO timer (key, subject, id, due_at, causation_id, correlation_id, traceparent, payload)";
const TIMER_TAIL: &str = " ON CONFLICT (key, subject) DO UPDATE SET id = excluded.id, due_at = excluded.due_at, causation_id = excluded.causation_id, correlation_id = excluded.correlation_id, traceparent = excluded.traceparent, payload = excluded.payload";
const CURSOR: &str = "INSERT INTO read_cursor (reader, source, log_id, position, message_id)";
const CURSOR_TAIL: &str = " ON CONFLICT (reader, source) DO UPDATE SET log_id = excluded.log_id, position = excluded.position, message_id = excluded.message_id";
const SELECT_HEAD: &str = "SELECT epoch, log_id, inbox_end, outbox_end, last_time, clean_stop FROM head";
const LOG_ID: &str = "log_00000000000000000000";

#[derive(Clone)]
pub(super) enum Value {
    Number(i64),
    /// A number that no other run of the same script may have.
    Position(i64),
    Text(String),
    Null,
}

/// Where a module's transactions go.
pub(super) enum Target {
    /// All of a transaction's writes in one call, as the store does.
    Sqlite(Box<SqliteConnection>),
    /// A call for each statement.
    OneByOne(Box<SqliteConnection>),
    /// The module's name, and all that it has done, in the order in which the modules did it.
    Script(&'static str, Script),
}

/// A text for pgbench, in the making.
pub(super) type Script = Arc<Mutex<String>>;

/// What all databases of a program have written and deleted.
#[derive(Default)]
pub(crate) struct Written {
    pub(crate) rows: AtomicU64,
    /// Of those rows, bound to a statement.
    pub(crate) values: AtomicU64,
}

/// A target, and where its two logs end.
pub(super) struct Database {
    target: Target,
    inbox_end: i64,
    outbox_end: i64,
    ids: u64,
    written: Arc<Written>,
    /// Of this module, in its ids.
    letter: char,
}

/// The statements of one transaction, in order.
#[derive(Default)]
pub(super) struct Batch {
    statements: Vec<(String, Vec<Value>)>,
    rows: u64,
    outbox: Vec<Vec<Value>>,
    inbox: Vec<Vec<Value>>,
    cursors: Vec<Vec<Value>>,
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

// === impl Database ===

impl Database {
    /// # Errors
    /// When the file cannot be made.
    pub(super) async fn create(folder: &Path, module: &str, tables: &str, written: Arc<Written>) -> Result<Self> {
        // As the store's writing connection.
        let options = SqliteConnectOptions::new()
            .filename(folder.join(format!("{module}.db")))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(false)
            .pragma("temp_store", "memory")
            .pragma("cache_size", "-8000")
            .disable_statement_logging();
        let mut connection = options.connect().await.with_context(|| module.to_owned())?;
        let head = format!("INSERT INTO head VALUES (1, 1, '{LOG_ID}', 0, 0, 0, 0, '{VERSION}')");
        let schema = format!("{JOURNAL};{tables};{head}");
        sqlx::raw_sql(AssertSqlSafe(schema)).execute(&mut connection).await.with_context(|| module.to_owned())?;
        Ok(Self::new(Target::Sqlite(Box::new(connection)), module, written))
    }

    pub(super) fn new(target: Target, module: &str, written: Arc<Written>) -> Self {
        let letter = module.chars().nth(1).unwrap_or('x');
        Self { target, inbox_end: 0, outbox_end: 0, ids: 0, written, letter }
    }

    /// From now on a call for each statement.
    pub(super) fn one_by_one(mut self) -> Self {
        if let Target::Sqlite(connection) = self.target {
            self.target = Target::OneByOne(connection);
        }
        self
    }

    pub(super) fn id(&mut self, prefix: &str) -> String {
        self.ids += 1;
        format!("{prefix}_{}{:025}", self.letter, self.ids)
    }

    /// # Errors
    /// When the database is not writable.
    pub(super) async fn begin(&mut self) -> Result<()> {
        match &mut self.target {
            Target::Sqlite(connection) | Target::OneByOne(connection) => {
                let sql = format!("BEGIN IMMEDIATE; {SELECT_HEAD}");
                sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(connection.as_mut()).await?;
            }
            Target::Script(module, script) => {
                let begin = format!("BEGIN\\; SET LOCAL search_path TO \"{module}\"\\; {SELECT_HEAD} FOR UPDATE;\n");
                script.lock().unwrap_or_else(PoisonError::into_inner).push_str(&begin);
            }
        }
        Ok(())
    }

    /// Reads the rows with these keys, and what comes back is counted only: the caller has them in memory.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(super) async fn read(&mut self, select: &str, keys: Vec<String>) -> Result<usize> {
        if keys.is_empty() {
            return Ok(0);
        }
        let sql = format!("{select} IN ({})", vec!["?"; keys.len()].join(", "));
        match &mut self.target {
            Target::Sqlite(connection) | Target::OneByOne(connection) => {
                let mut arguments = SqliteArguments::default();
                for key in &keys {
                    arguments.add(key).map_err(anyhow::Error::from_boxed)?;
                }
                Ok(sqlx::query_with(AssertSqlSafe(sql), arguments).fetch_all(connection.as_mut()).await?.len())
            }
            Target::Script(_, script) => {
                let values: Vec<Value> = keys.into_iter().map(Value::from).collect();
                script
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push_str(&format!("{};\n", script::literal(&sql, &values)));
                Ok(0)
            }
        }
    }

    /// Writes everything in one call and commits.
    ///
    /// # Errors
    /// When a statement is refused.
    pub(super) async fn commit(&mut self, mut batch: Batch, now: i64) -> Result<()> {
        let (outbox, inbox) = (std::mem::take(&mut batch.outbox), std::mem::take(&mut batch.inbox));
        let cursors = std::mem::take(&mut batch.cursors);
        batch.insert(OUTBOX, outbox, "");
        batch.insert(INBOX, inbox, "");
        batch.insert(CURSOR, cursors, CURSOR_TAIL);
        let head = "UPDATE head SET inbox_end = ?, outbox_end = ?, last_time = ? WHERE epoch = ?".to_owned();
        batch
            .statements
            .push((head, vec![self.inbox_end.into(), self.outbox_end.into(), now.into(), Value::Number(1)]));
        batch.statements.push(("COMMIT".to_owned(), Vec::new()));
        let statements = batch.statements;
        let values = statements.iter().map(|(_, values)| values.len() as u64).sum();
        match &mut self.target {
            Target::Sqlite(connection) => execute(connection, &in_one(statements)).await?,
            Target::OneByOne(connection) => {
                for statement in &statements {
                    execute(connection, statement).await?;
                }
            }
            Target::Script(_, script) => {
                let (sql, values) = in_one(statements);
                let text = format!("{};\n", script::literal(&sql, &values));
                script.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
            }
        }
        self.written.rows.fetch_add(batch.rows, Ordering::Relaxed);
        self.written.values.fetch_add(values, Ordering::Relaxed);
        Ok(())
    }

    /// Adds a message to the log, and gives it to be sent on after the commit.
    pub(super) fn say(&mut self, batch: &mut Batch, cause: &Said, subject: &'static str, payload: String) -> Said {
        self.outbox_end += 1;
        let said = Said {
            subject,
            facts: cause.facts.clone(),
            id: self.id("msg"),
            causation: cause.id.clone(),
            position: self.outbox_end,
            payload,
        };
        let facts = &said.facts;
        batch.outbox.push(vec![
            Value::Position(said.position),
            (&said.id).into(),
            subject.into(),
            (&facts.order_id).into(),
            (&said.causation).into(),
            (&facts.command_id).into(),
            ACTOR.into(),
            facts.placed_at.into(),
            (&facts.trace).into(),
            (&said.payload).into(),
        ]);
        said
    }

    /// Adds an input to the inbox. What came from no log has no source.
    pub(super) fn admit(
        &mut self,
        batch: &mut Batch,
        said: &Said,
        source: Option<&str>,
        answer: Option<&str>,
        now: i64,
    ) {
        self.inbox_end += 1;
        let facts = &said.facts;
        batch.inbox.push(vec![
            Value::Position(self.inbox_end),
            (&said.id).into(),
            said.subject.into(),
            (&facts.order_id).into(),
            source.map_or(Value::Null, Value::from),
            source.map_or(Value::Null, |_| said.position.into()),
            (&said.causation).into(),
            (&facts.command_id).into(),
            ACTOR.into(),
            now.into(),
            (&facts.trace).into(),
            (&said.payload).into(),
            answer.map_or(Value::Null, |_| facts.order_id.as_str().into()),
            answer.map_or(Value::Null, Value::from),
            VERSION.into(),
        ]);
        if let Some(source) = source {
            batch.cursors.retain(|row| !matches!(&row[1], Value::Text(of) if of == source));
            batch.cursors.push(vec!["".into(), source.into(), LOG_ID.into(), said.position.into(), (&said.id).into()]);
        }
    }
}

/// All statements as one text.
fn in_one(statements: Vec<(String, Vec<Value>)>) -> (String, Vec<Value>) {
    let texts: Vec<&str> = statements.iter().map(|(sql, _)| sql.as_str()).collect();
    let sql = texts.join(";\n");
    (sql, statements.into_iter().flat_map(|(_, values)| values).collect())
}

async fn execute(connection: &mut SqliteConnection, (sql, values): &(String, Vec<Value>)) -> Result<()> {
    let mut arguments = SqliteArguments::default();
    for value in values {
        let added = match value {
            Value::Number(number) | Value::Position(number) => arguments.add(number),
            Value::Text(text) => arguments.add(text.as_str()),
            Value::Null => arguments.add(None::<i64>),
        };
        added.map_err(anyhow::Error::from_boxed)?;
    }
    sqlx::query_with(AssertSqlSafe(sql.clone()), arguments).persistent(false).execute(connection).await?;
    Ok(())
}

// === impl Batch ===

impl Batch {
    /// One statement for all rows.
    pub(super) fn insert(&mut self, insert: &str, rows: Vec<Vec<Value>>, tail: &str) {
        let Some(first) = rows.first() else { return };
        self.rows += rows.len() as u64;
        let marks = format!("({})", vec!["?"; first.len()].join(", "));
        let sql = format!("{insert} VALUES {}{tail}", vec![marks.as_str(); rows.len()].join(", "));
        self.statements.push((sql, rows.into_iter().flatten().collect()));
    }

    pub(super) fn timers(&mut self, subject: &str, set: Vec<Vec<Value>>, ended: Vec<String>) {
        if !ended.is_empty() {
            self.rows += ended.len() as u64;
            let rows = vec!["(?, ?)"; ended.len()].join(", ");
            let sql = format!("DELETE FROM timer WHERE (key, subject) IN (VALUES {rows})");
            self.statements.push((sql, ended.into_iter().flat_map(|key| [key.into(), subject.into()]).collect()));
        }
        self.insert(TIMER, set, TIMER_TAIL);
    }

    pub(super) fn delete(&mut self, table: &str, key: &str, keys: Vec<String>) {
        if keys.is_empty() {
            return;
        }
        self.rows += keys.len() as u64;
        let marks = vec!["?"; keys.len()].join(", ");
        let sql = format!("DELETE FROM {table} WHERE {key} IN ({marks})");
        self.statements.push((sql, keys.into_iter().map(Value::from).collect()));
    }
}

/// A timer's row.
pub(super) fn timer(said: &Said, subject: &str, id: String, due_at: i64, payload: String) -> Vec<Value> {
    let facts = &said.facts;
    vec![
        (&facts.order_id).into(),
        subject.into(),
        id.into(),
        due_at.into(),
        (&said.id).into(),
        (&facts.command_id).into(),
        (&facts.trace).into(),
        payload.into(),
    ]
}

pub(super) fn now_ms() -> i64 {
    SystemClock.now().as_millis()
}
