//! Where a module's database is, and how connections to it are made.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use pangaea_contracts::Timestamp;
use pangaea_faults::{Plant, planted};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};

use crate::connection::{Connection, Pool};
use crate::lock::LockFile;
use crate::session::Session;
use crate::temporary::TemporaryFolder;
use crate::{DatabaseOptions, JournalError, Statement};

#[derive(Clone, Debug)]
pub(crate) enum Place {
    Sqlite { options: Box<SqliteConnectOptions>, file: PathBuf, temporary: Option<Arc<TemporaryFolder>> },
    Postgres { options: Box<PgConnectOptions>, schema: String },
}

const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// For a connection that is made outside the pool. A host that swallows packets would else hold the caller for minutes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a statement on SQLite waits for another connection's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// After a second without a word the server ends the writing session and frees its lock: a leader that hangs or is cut
/// off is replaced. Shorter would replace leaders on a busy machine, longer would keep their modules waiting.
const LEADER_LIMITS: [(&str, &str); 3] =
    [("idle_session_timeout", "1000"), ("idle_in_transaction_session_timeout", "1000"), ("tcp_user_timeout", "1000")];
/// How far a leader's clock may be off the database server's.
const CLOCK_OFF_MS_MAX: i64 = 1_000;
const MODULE_NAME_BYTES_MAX: usize = 40;

// === impl Place: from a URL ===

impl Place {
    pub(crate) fn parse(module: &str, options: &DatabaseOptions) -> Result<Self, JournalError> {
        let url = options.url.replace("{module}", module);
        check_module_name(module, &url)?;
        if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            return Self::postgres(module, &url);
        }
        let Some(file) = url.strip_prefix("sqlite:") else {
            return Err(url_error(&url, "it starts with neither sqlite: nor postgres:"));
        };
        Self::sqlite(module, file.strip_prefix("//").unwrap_or(file), &options.url, options.synchronous_full)
    }

    fn sqlite(module: &str, file: &str, template: &str, synchronous_full: bool) -> Result<Self, JournalError> {
        if file == ":memory:" {
            let folder = Arc::new(TemporaryFolder::create()?);
            let path = folder.path().join(format!("{module}.db"));
            let options = sqlite_options(&path).synchronous(SqliteSynchronous::Off);
            return Ok(Self::Sqlite { options: Box::new(options), file: path, temporary: Some(folder) });
        }
        if file.is_empty() {
            return Err(url_error(template, "no file is named; write sqlite:<folder>/ or sqlite::memory:"));
        }
        if file.contains('?') {
            return Err(url_error(template, "options after ? are not taken; the file's name ends the URL"));
        }
        let mut path = PathBuf::from(file);
        if path.is_dir() || file.ends_with('/') {
            path.push(format!("{module}.db"));
        } else if !template.contains("{module}") {
            // One file per module, always: the modules share nothing.
            let reason =
                "name a folder (ending in /), or a file with {module} in its name: each module has a file of its own";
            return Err(url_error(template, reason));
        }
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)
                .map_err(|error| JournalError::Open { url: path.display().to_string(), reason: error.to_string() })?;
        }
        let synchronous = if synchronous_full { SqliteSynchronous::Full } else { SqliteSynchronous::Normal };
        let options = Box::new(sqlite_options(&path).synchronous(synchronous));
        Ok(Self::Sqlite { options, file: path, temporary: None })
    }

    fn postgres(module: &str, url: &str) -> Result<Self, JournalError> {
        let options = PgConnectOptions::from_str(url).map_err(|error| url_error(url, &error.to_string()))?;
        let options = options
            .application_name(&format!("pangaea-{module}"))
            .options([("search_path", module)])
            .options(SESSION_LIMITS)
            .disable_statement_logging();
        Ok(Self::Postgres { options: Box::new(options), schema: module.to_owned() })
    }
}

/// A client that is gone without a word gives its session, and with it the leader's lock, back within seconds.
const SESSION_LIMITS: [(&str, &str); 5] = [
    ("tcp_keepalives_idle", "5"),
    ("tcp_keepalives_interval", "2"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "10000"),
    ("idle_in_transaction_session_timeout", "10000"),
];

/// KiB of pages that the writing connection to a SQLite file keeps, as the pragma takes them.
const WRITER_CACHE: &str = "-8000";
/// The same for each that reads: enough for one query. What they keep is void with the next commit anyway, and there are
/// several for each module, so that more would only be memory that a quiet moment fills.
const READER_CACHE: &str = "-512";

fn sqlite_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .busy_timeout(BUSY_TIMEOUT)
        .statement_cache_capacity(64)
        .foreign_keys(false)
        .pragma("temp_store", "memory")
        .pragma("cache_size", WRITER_CACHE)
        .disable_statement_logging()
}

/// The name becomes a file's name and, on PostgreSQL, part of SQL texts that take no values.
fn check_module_name(module: &str, url: &str) -> Result<(), JournalError> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let starts_well = module.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    if starts_well && module.len() <= MODULE_NAME_BYTES_MAX && module.bytes().all(plain) {
        return Ok(());
    }
    let reason = format!(
        "the module's name {module:?} must start with a letter and have at most {MODULE_NAME_BYTES_MAX} lower-case \
         letters, digits or _"
    );
    Err(url_error(url, &reason))
}

fn url_error(url: &str, reason: &str) -> JournalError {
    // What stands before an @ may be a password.
    let shown = match url.split_once(':') {
        Some((scheme, _)) if url.contains('@') => format!("{scheme}:…"),
        _ => url.to_owned(),
    };
    JournalError::Url { url: shown, reason: reason.to_owned() }
}

// === impl Place: connections ===

impl Place {
    /// Elects the writer. On PostgreSQL the lock is the connection's own.
    pub(crate) async fn lock(&self, connection: &mut Connection) -> Result<Option<LockFile>, JournalError> {
        match self {
            Self::Sqlite { file, .. } => LockFile::take(file).map(Some),
            Self::Postgres { .. } if !is_elected() => Ok(None),
            Self::Postgres { schema, .. } => take_advisory_lock(connection, schema).await.map(|()| None),
        }
    }

    /// Times are decided by the leader's clock: one that is off would stamp inputs in the future or stop time.
    pub(crate) async fn check_clock(&self, connection: &mut Connection, now: Timestamp) -> Result<(), JournalError> {
        if matches!(self, Self::Sqlite { .. }) {
            return Ok(());
        }
        let sql = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)";
        let rows = connection.raw(sql).await?;
        let server: Timestamp = rows.first().ok_or_else(|| JournalError::Decode("no time".into()))?.get(0)?;
        let ahead_ms = now.millis_since(server);
        if ahead_ms.abs() <= CLOCK_OFF_MS_MAX { Ok(()) } else { Err(JournalError::ClockOff { ahead_ms }) }
    }

    /// The pool's connections cannot write: no connection but the writer's does.
    pub(crate) async fn pool(&self, connections_max: u32) -> Result<Pool, JournalError> {
        match self {
            Self::Sqlite { options, .. } => {
                let options = options.as_ref().clone().pragma("query_only", "on").pragma("cache_size", READER_CACHE);
                let pool = SqlitePoolOptions::new()
                    .max_connections(connections_max)
                    // A file does not go away: closing a connection for its age would only cost its cache.
                    .idle_timeout(None)
                    .max_lifetime(None)
                    .test_before_acquire(false)
                    .acquire_timeout(ACQUIRE_TIMEOUT)
                    .connect_with(options)
                    .await;
                pool.map(Pool::Sqlite).map_err(|error| self.open_error(&error.to_string()))
            }
            Self::Postgres { options, .. } => {
                // The pool would try again until its timeout and then report only that; one connection of our own first
                // says what is wrong, at once.
                self.connect().await?.close().await?;
                let options = options.as_ref().clone().options([("default_transaction_read_only", "on")]);
                let pool = PgPoolOptions::new()
                    .max_connections(connections_max)
                    .acquire_timeout(ACQUIRE_TIMEOUT)
                    .connect_lazy_with(options);
                Ok(Pool::Postgres(pool))
            }
        }
    }

    /// A connection for the writer, or for one who would be. On PostgreSQL the server ends it after a second without a
    /// word, also in the middle of a transaction.
    pub(crate) async fn connect_to_write(&self) -> Result<Connection, JournalError> {
        let Self::Postgres { options, .. } = self else { return self.connect().await };
        let options = options.as_ref().clone().options(LEADER_LIMITS);
        self.connected(async { Ok(Connection::Postgres(Session::new(PgConnection::connect_with(&options).await?))) })
            .await
    }

    /// A connection on which a single read may take its time. A file that is not there is not made.
    pub(crate) async fn connect_to_read(&self) -> Result<Connection, JournalError> {
        if let Self::Sqlite { options, .. } = self {
            let options = options.as_ref().clone().create_if_missing(false);
            let connecting = async { Ok(Connection::Sqlite(SqliteConnection::connect_with(&options).await?)) };
            return self.connected(connecting).await;
        }
        let mut connection = self.connect().await?;
        if let Connection::Postgres(session) = &mut connection {
            session.take_time();
        }
        Ok(connection)
    }

    /// Makes the schema where it is not there yet. A role that may not create one works when someone else has.
    pub(crate) async fn make_schema(&self, connection: &mut Connection) -> Result<(), JournalError> {
        let Self::Postgres { schema, .. } = self else { return Ok(()) };
        let known = Statement::new("SELECT 1 FROM pg_namespace WHERE nspname = ?").bind(schema.as_str());
        if connection.fetch(&known).await?.is_empty() {
            connection.raw(&format!("CREATE SCHEMA \"{schema}\"")).await?;
        }
        Ok(())
    }

    async fn connect(&self) -> Result<Connection, JournalError> {
        self.connected(async {
            Ok(match self {
                Self::Sqlite { options, .. } => Connection::Sqlite(SqliteConnection::connect_with(options).await?),
                Self::Postgres { options, .. } => {
                    Connection::Postgres(Session::new(PgConnection::connect_with(options).await?))
                }
            })
        })
        .await
    }

    async fn connected(
        &self,
        connecting: impl Future<Output = Result<Connection, sqlx::Error>>,
    ) -> Result<Connection, JournalError> {
        match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(connected) => connected.map_err(|error| self.open_error(&error.to_string())),
            Err(_) => Err(self.open_error(&format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()))),
        }
    }

    fn open_error(&self, reason: &str) -> JournalError {
        let url = match self {
            Self::Sqlite { file, .. } => file.display().to_string(),
            // The URL may hold a password: name the place only.
            Self::Postgres { options, .. } => {
                format!(
                    "postgres://{}:{}/{}",
                    options.get_host(),
                    options.get_port(),
                    options.get_database().unwrap_or("")
                )
            }
        };
        JournalError::Open { url, reason: reason.to_owned() }
    }
}

/// Two planted bugs need two leaders.
fn is_elected() -> bool {
    !planted(Plant::TimerFiredByTwoReplicas) && !planted(Plant::HeadRowNotChecked)
}

/// Elects the leader on PostgreSQL: the lock is the session's, so it ends with the connection.
async fn take_advisory_lock(connection: &mut Connection, schema: &str) -> Result<(), JournalError> {
    let statement =
        Statement::new("SELECT pg_try_advisory_lock(hashtextextended(?, 0))").bind(format!("pangaea/{schema}"));
    let rows = connection.fetch(&statement).await?;
    let taken: bool = rows.first().ok_or_else(|| JournalError::Decode("no answer to the lock".into()))?.get(0)?;
    if taken { Ok(()) } else { Err(JournalError::Locked { what: format!("the PostgreSQL schema {schema}") }) }
}
