use std::path::Path;

use pangaea_contracts::Timestamp;
use pangaea_faults::{Failpoint, reach};

use crate::connection::{Connection, Pool};
use crate::lock::LockFile;
use crate::place::Place;
use crate::{JournalError, Migration, Row, Statement, Writer, migrate};

/// A module's database: the read pool, and the way to its single [`Writer`].
///
/// Cheap to clone; the clones share the pool.
#[derive(Clone, Debug)]
pub struct Database {
    module: String,
    pub(crate) place: Place,
    pool: Pool,
    migrates: bool,
}

#[derive(Clone, Debug)]
pub struct DatabaseOptions {
    /// `sqlite:<file>`, `sqlite::memory:`, or `postgres://…` (a schema per module, named like the module).
    /// `{module}` in the text stands for the module's name. `sqlite::memory:` is a new database that is gone with its last
    /// handle; it takes room in the system's temporary folder.
    pub url: String,
    /// Connections for reads, at most.
    pub read_connections_max: u32,
    /// SQLite only: `synchronous=FULL` (a power cut loses nothing that was answered) or, when false, `NORMAL`.
    pub synchronous_full: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
    Postgres,
}

// === impl Database ===

impl Database {
    /// Opens the read pool, without touching any table.
    ///
    /// `module` is a lower-case name of at most 40 letters, digits and `_`: it names the file or the schema.
    ///
    /// # Errors
    /// When the URL is not understood, the file cannot be made or the server cannot be reached.
    pub async fn open(module: &str, options: &DatabaseOptions) -> Result<Self, JournalError> {
        let place = Place::parse(module, options)?;
        let pool = place.pool(options.read_connections_max.max(1)).await?;
        Ok(Self { module: module.to_owned(), place, pool, migrates: true })
    }

    /// A database whose tables somebody else makes, see [`Database::provision`]: a writer then makes none, and waits for them
    /// with [`JournalError::NotMigrated`].
    #[must_use]
    pub fn migrated_elsewhere(self) -> Self {
        Self { migrates: false, ..self }
    }

    pub fn module(&self) -> &str {
        &self.module
    }

    pub fn kind(&self) -> Kind {
        match self.place {
            Place::Sqlite { .. } => Kind::Sqlite,
            Place::Postgres { .. } => Kind::Postgres,
        }
    }

    /// The SQLite file, when there is one that stays.
    pub fn file(&self) -> Option<&Path> {
        match &self.place {
            Place::Sqlite { file, temporary: None, .. } => Some(file),
            Place::Sqlite { .. } | Place::Postgres { .. } => None,
        }
    }

    /// Becomes the module's single writer: takes the lock, migrates, and starts a new epoch.
    ///
    /// # Errors
    /// [`JournalError::Locked`] when another writer holds it; otherwise what the database says.
    pub async fn writer(&self, migrations: &[Migration], code_version: &str) -> Result<Writer, JournalError> {
        let mut connection = self.connect_as_candidate().await?;
        match self.take_lock(&mut connection).await {
            Ok(lock) => self.lead(connection, lock, migrations, code_version, None).await,
            Err(error) => {
                let _ = connection.close().await;
                Err(error)
            }
        }
    }

    /// A connection of its own, outside the pool, for a long transaction that only reads.
    pub(crate) async fn connect_to_read(&self) -> Result<Connection, JournalError> {
        self.place.connect_to_read().await
    }

    pub(crate) async fn connect_as_candidate(&self) -> Result<Connection, JournalError> {
        self.place.connect_to_write().await
    }

    /// The lock that elects the leader: a file's, or on PostgreSQL the session's.
    pub(crate) async fn take_lock(&self, connection: &mut Connection) -> Result<Option<LockFile>, JournalError> {
        reach(Failpoint::LeaseBefore).await?;
        let lock = self.place.lock(connection).await?;
        reach(Failpoint::LeaseAfter).await?;
        Ok(lock)
    }

    /// Takes over with a connection whose lock is held.
    pub(crate) async fn lead(
        &self,
        mut connection: Connection,
        lock: Option<LockFile>,
        migrations: &[Migration],
        code_version: &str,
        now: Option<Timestamp>,
    ) -> Result<Writer, JournalError> {
        if let Err(error) = self.prepare(&mut connection, migrations, code_version, now).await {
            // Awaited, so that on PostgreSQL the session's lock is free again when this returns.
            let _ = connection.close().await;
            return Err(error);
        }
        Writer::lead(connection, self.clone(), lock, migrate::writable_from(migrations)).await
    }

    async fn prepare(
        &self,
        connection: &mut Connection,
        migrations: &[Migration],
        code_version: &str,
        now: Option<Timestamp>,
    ) -> Result<(), JournalError> {
        if let Some(now) = now {
            self.place.check_clock(connection, now).await?;
        }
        if self.migrates {
            self.place.make_schema(connection).await?;
        }
        migrate::check_release(connection, self.kind(), &self.module, code_version).await?;
        if self.migrates {
            migrate::migrate(connection, &self.module, self.kind(), migrations).await
        } else {
            migrate::check_applied(connection, &self.module, self.kind(), migrations).await
        }
    }

    /// The writing connection again, after the old one broke. The lock file, where there is one, is still held.
    pub(crate) async fn lead_again(&self) -> Result<Connection, JournalError> {
        let mut connection = self.place.connect_to_write().await?;
        if self.kind() == Kind::Postgres {
            self.take_lock(&mut connection).await?;
        }
        Ok(connection)
    }

    /// Reads with the pool: committed rows only. A statement that writes is refused.
    ///
    /// # Errors
    /// When the database cannot be reached or refuses the statement.
    pub async fn fetch(&self, statement: Statement) -> Result<Vec<Row>, JournalError> {
        self.pool.fetch(&statement).await
    }

    /// Whether the database answers at all.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), JournalError> {
        self.fetch(Statement::new("SELECT 1")).await.map(drop)
    }

    /// Connections for reads: how many are open, and how many of them nobody uses.
    pub fn read_connections(&self) -> (usize, usize) {
        self.pool.connections()
    }

    pub async fn close(&self) {
        self.pool.close().await;
    }
}
