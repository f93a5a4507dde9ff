//! Places for a test's database, and the rows that tests write.

use std::fmt::Debug;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};

use pangaea_contracts::{Actor, Envelope, Timestamp};
use pangaea_journal::{
    Database, DatabaseOptions, EffectRow, EffectState, InboxRow, JournalError, Migration, TimerRow, Writer,
};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};

/// A place of its own for the database of one test.
pub(crate) struct Place {
    pub(crate) module: String,
    pub(crate) url: String,
    pub(crate) folder: Option<Folder>,
}

/// A folder that is gone when the test is over.
pub(crate) struct Folder(PathBuf);

/// Runs an `async fn(Place)` as one test per kind of database.
macro_rules! on_each_database {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite_file() {
                super::$name(crate::support::Place::sqlite_file()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite_memory() {
                super::$name(crate::support::Place::sqlite_memory()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                super::$name(crate::support::Place::postgres()).await;
            }
        }
    )+};
}

/// The same for what needs a second way into the database, which memory has not.
macro_rules! on_each_durable_database {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite_file() {
                super::$name(crate::support::Place::sqlite_file()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                super::$name(crate::support::Place::postgres()).await;
            }
        }
    )+};
}

pub(crate) use {on_each_database, on_each_durable_database};

pub(crate) const TABLES: &[Migration] = &[Migration {
    name: "0001_tables",
    sql: "CREATE TABLE stock (
              sku TEXT PRIMARY KEY,
              on_hand BIGINT NOT NULL CHECK (on_hand >= 0),
              label TEXT UNIQUE
          );
          CREATE TABLE price (
              sku TEXT NOT NULL, currency TEXT NOT NULL, amount BIGINT NOT NULL, PRIMARY KEY (sku, currency)
          );
          CREATE TABLE shelf (
              aisle BIGINT NOT NULL, bay BIGINT NOT NULL, side TEXT NOT NULL, PRIMARY KEY (aisle, bay, side)
          );",
}];

pangaea_journal::record! {
    pub struct Stock in "stock" {
        key { sku: String }
        on_hand: i64,
        label: Option<String>,
    }
}

pangaea_journal::record! {
    pub struct Price in "price" {
        key { sku: String, currency: String }
        amount: i64,
    }
}

pangaea_journal::record! {
    /// A row that is all key: its upsert has nothing to update.
    pub struct Shelf in "shelf" {
        key { aisle: i64, bay: i64, side: String }
    }
}

// === impl Place ===

impl Place {
    pub(crate) fn sqlite_file() -> Self {
        let folder = Folder::new();
        Self { module: name(), url: format!("sqlite:{}/", folder.path().display()), folder: Some(folder) }
    }

    pub(crate) fn sqlite_memory() -> Self {
        Self { module: name(), url: "sqlite::memory:".into(), folder: None }
    }

    pub(crate) fn postgres() -> Self {
        Self { module: name(), url: postgres_url(), folder: None }
    }

    pub(crate) fn is_postgres(&self) -> bool {
        self.url.starts_with("postgres")
    }

    pub(crate) fn options(&self) -> DatabaseOptions {
        options(&self.url)
    }

    pub(crate) async fn open(&self) -> Database {
        Database::open(&self.module, &self.options()).await.expect("the database opens")
    }

    /// The database with the tables of the tests, and its writer.
    pub(crate) async fn lead(&self) -> (Database, Writer) {
        let database = self.open().await;
        let writer = database.writer(TABLES, "1.0.0").await.expect("there is no other writer");
        (database, writer)
    }

    /// Runs SQL past the journal, as a stranger to the database, and returns the first column as text.
    pub(crate) async fn stranger(&self, sql: &str) -> Vec<Option<String>> {
        let sql = AssertSqlSafe(sql.to_owned());
        if self.is_postgres() {
            let mut connection = sqlx::PgConnection::connect(&self.url).await.expect("PostgreSQL is up");
            let path = AssertSqlSafe(format!("SET search_path = \"{}\"", self.module));
            sqlx::raw_sql(path).execute(&mut connection).await.expect("the schema can be chosen");
            let rows = sqlx::raw_sql(sql).fetch_all(&mut connection).await.expect("the stranger's SQL runs");
            rows.iter().map(|row| row.try_get_unchecked(0).expect("a text")).collect()
        } else {
            let mut connection = sqlx::SqliteConnection::connect(&format!("sqlite:{}", self.file().display()))
                .await
                .expect("the file is there");
            let rows = sqlx::raw_sql(sql).fetch_all(&mut connection).await.expect("the stranger's SQL runs");
            let rows = rows.iter().map(|row| row.try_get_unchecked(0).expect("a text")).collect();
            connection.close().await.expect("the stranger leaves");
            rows
        }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.as_ref().expect("a place with a file").path().join(format!("{}.db", self.module))
    }

    /// Leaves nothing on a server that outlives the run. After a failure the schema stays, to be looked at.
    pub(crate) async fn remove(self) {
        if self.is_postgres() {
            // A writer that the test left open holds locks on its tables.
            let kill = "SELECT pg_terminate_backend(pid, 5000)::TEXT FROM pg_stat_activity WHERE application_name =";
            self.stranger(&format!("{kill} 'pangaea-{}'", self.module)).await;
            self.stranger(&format!("DROP SCHEMA IF EXISTS \"{}\" CASCADE", self.module)).await;
        }
    }
}

// === impl Folder ===

impl Folder {
    pub(crate) fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("pangaea-journal-{}", name()));
        std::fs::create_dir_all(&folder).expect("the temporary folder can be written");
        Self(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn options(url: &str) -> DatabaseOptions {
    DatabaseOptions { url: url.to_owned(), read_connections_max: 4, synchronous_full: true }
}

/// A name that no other test has, in this run or another: tests run in parallel on one server.
fn name() -> String {
    format!("t{:016x}", RandomState::new().hash_one(std::process::id()))
}

#[expect(clippy::disallowed_methods, reason = "a test's edge: `cargo xtask test` names its server this way")]
pub(crate) fn postgres_url() -> String {
    std::env::var("PANGAEA_TEST_POSTGRES_URL").expect(
        "PANGAEA_TEST_POSTGRES_URL is not set: run the tests with `cargo xtask test`, which starts a PostgreSQL",
    )
}

// === rows ===

pub(crate) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

pub(crate) fn stock(sku: &str, on_hand: i64) -> Stock {
    Stock { sku: sku.to_owned(), on_hand, label: None }
}

pub(crate) fn message(id: &str, payload: &str) -> Envelope {
    Envelope {
        id: id.to_owned(),
        subject: "stock.evt.moved.v1".to_owned(),
        source: String::new(),
        log_id: String::new(),
        position: 0,
        key: "sku_1".to_owned(),
        causation_id: "cmd_1".to_owned(),
        correlation_id: "cmd_0".to_owned(),
        actor: Actor::system(),
        time: at(1_000),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        payload: payload.to_owned(),
    }
}

pub(crate) fn input(id: &str, admitted_at: i64) -> InboxRow {
    InboxRow {
        id: id.to_owned(),
        subject: "stock.cmd.move.v1".to_owned(),
        key: "sku_1".to_owned(),
        source: None,
        causation_id: id.to_owned(),
        correlation_id: id.to_owned(),
        actor: Actor::system(),
        admitted_at: at(admitted_at),
        traceparent: None,
        payload: "{}".to_owned(),
        fingerprint: Some(format!("print of {id}")),
        answer: Some(format!("{{\"answer\":\"{id}\"}}")),
        code_version: "1.0.0".to_owned(),
    }
}

pub(crate) fn timer(key: &str, subject: &str, due_at: i64) -> TimerRow {
    TimerRow {
        key: key.to_owned(),
        subject: subject.to_owned(),
        id: format!("tmr_{key}_{due_at}"),
        due_at: at(due_at),
        causation_id: "cmd_1".to_owned(),
        correlation_id: "cmd_0".to_owned(),
        traceparent: None,
        payload: "{}".to_owned(),
    }
}

pub(crate) fn effect(id: &str, tries: u32) -> EffectRow {
    EffectRow {
        id: id.to_owned(),
        subject: "payment.effect.capture.v1".to_owned(),
        key: "pay_1".to_owned(),
        state: EffectState::Pending,
        deadline_at: at(60_000),
        causation_id: "cmd_1".to_owned(),
        correlation_id: "cmd_0".to_owned(),
        actor: Actor::system(),
        traceparent: None,
        payload: "{\"amount\":1299}".to_owned(),
        tries,
        try_expires_at: at(5_000),
    }
}

/// The error of a call that must fail.
pub(crate) fn refused<T: Debug>(result: Result<T, JournalError>) -> JournalError {
    result.expect_err("the call must be refused")
}
