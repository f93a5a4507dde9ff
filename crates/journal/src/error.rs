use sqlx::error::ErrorKind;

/// PostgreSQL's code.
const INSUFFICIENT_PRIVILEGE: &str = "42501";

/// What can go wrong between a module and its database.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("the database URL {url:?} is not understood: {reason}")]
    Url { url: String, reason: String },
    #[error("cannot open the database {url}: {reason}")]
    Open { url: String, reason: String },
    /// Another process writes this database.
    #[error("{what} is in use by another writer; stop that process, or point database.url at another place")]
    Locked { what: String },
    #[error("migration {name} of {module} has changed since it was applied; restore its text and add a new migration")]
    MigrationChanged { module: String, name: String },
    /// This role makes no tables (`database.migrate = false`), and they are not there as this release needs them.
    #[error(
        "the tables of {module} lack the migration {migration}: run `pangaea provision` of this release with a role that \
         may make them"
    )]
    NotMigrated { module: String, migration: String },
    #[error(
        "this machine's clock is {ahead_ms} ms ahead of the database server's (negative: behind), and times are decided by \
         the leader's; synchronise it (NTP), until then this replica stands by"
    )]
    ClockOff { ahead_ms: i64 },
    #[error(
        "the database of {module} is written by releases from {writable_from} on and this is {ours}; start a newer one"
    )]
    TooOld { module: String, writable_from: String, ours: String },
    /// The head row is not what this writer left: another leader has written. This writer must stop.
    #[error("another writer has taken over (epoch {found}, ours is {ours}); this one stops leading")]
    Superseded { ours: i64, found: i64 },
    /// The database refused a row: a CHECK or UNIQUE constraint.
    #[error("the database refused a row: {0}")]
    Constraint(String),
    /// The transaction holds a part of what belongs together: see [`Writer::check_whole`](crate::Writer::check_whole).
    #[error("this transaction is torn: {0}")]
    Torn(String),
    #[error("a stored value cannot be read: {0}")]
    Decode(String),
    /// The connection broke in the middle of a commit: it may or may not have happened.
    #[error("the outcome of a commit is unknown: {0}")]
    CommitUnknown(String),
    #[error("the database cannot be reached: {0}")]
    Unavailable(String),
    /// This role may not: tables have been made for it, and rights on them not granted, or not yet.
    #[error("the database role lacks a right: {0}; `pangaea provision` grants each module what it needs")]
    Denied(String),
    #[error("the database refused a statement: {0}")]
    Statement(String),
}

// === impl JournalError ===

impl JournalError {
    /// Whether the same call may succeed later without any change: nothing is charged for such a failure.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::CommitUnknown(_))
    }

    /// Whether the database server was not reached, so that who starts beside it may wait for it.
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Open { .. } | Self::Unavailable(_))
    }

    /// A stable name for logs and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Url { .. } => "database_url",
            Self::Open { .. } => "database_open",
            Self::Locked { .. } => "database_locked",
            Self::MigrationChanged { .. } => "migration_changed",
            Self::NotMigrated { .. } => "not_migrated",
            Self::ClockOff { .. } => "clock_off",
            Self::TooOld { .. } => "release_too_old",
            Self::Superseded { .. } => "superseded",
            Self::Constraint(_) => "constraint",
            Self::Torn(_) => "torn",
            Self::Decode(_) => "decode",
            Self::CommitUnknown(_) => "commit_unknown",
            Self::Unavailable(_) => "database_unavailable",
            Self::Denied(_) => "database_denied",
            Self::Statement(_) => "statement",
        }
    }
}

impl From<sqlx::Error> for JournalError {
    fn from(error: sqlx::Error) -> Self {
        let text = error.to_string();
        match &error {
            sqlx::Error::Database(database) => {
                let refused = matches!(
                    database.kind(),
                    ErrorKind::UniqueViolation
                        | ErrorKind::CheckViolation
                        | ErrorKind::NotNullViolation
                        | ErrorKind::ForeignKeyViolation
                );
                if refused {
                    return Self::Constraint(database.message().to_owned());
                }
                // What an operator or the machine has to mend, and no input is to blame for. PostgreSQL classes 08
                // (connection), 25 (transaction state), 40 (rollback), 53 (resources), 55 (not in the needed state, e.g.
                // a lock timeout), 57 (operator intervention), 58 (system) and XX (internal); SQLite BUSY, LOCKED, NOMEM,
                // READONLY, IOERR, FULL, CANTOPEN and PROTOCOL.
                let code = database.code().unwrap_or_default();
                if code == INSUFFICIENT_PRIVILEGE {
                    return Self::Denied(text);
                }
                let passing = ["08", "25", "40", "53", "55", "57", "58", "XX"];
                let postgres = code.len() == 5 && passing.iter().any(|class| code.starts_with(class));
                let sqlite =
                    code.parse::<i32>().is_ok_and(|code| matches!(code & 0xff, 5 | 6 | 7 | 8 | 10 | 13 | 14 | 15));
                if postgres || (code.len() != 5 && sqlite) { Self::Unavailable(text) } else { Self::Statement(text) }
            }
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::RowNotFound => Self::Decode(text),
            sqlx::Error::Io(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_) => Self::Unavailable(text),
            _ => Self::Statement(text),
        }
    }
}

/// A failpoint stands where a connection can break.
impl From<pangaea_faults::Injected> for JournalError {
    fn from(injected: pangaea_faults::Injected) -> Self {
        Self::Unavailable(injected.to_string())
    }
}
