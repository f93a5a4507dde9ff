use pangaea_contracts::Timestamp;

use crate::connection::Connection;
use crate::{Database, JournalError, Migration, Writer};

/// A replica that would lead. On PostgreSQL it keeps a connection of its own, so that asking again costs one round trip;
/// on SQLite, where a second process cannot share the file, it is an attempt like any other.
#[derive(Debug)]
pub struct Candidate {
    database: Database,
    connection: Option<Connection>,
}

// === impl Candidate ===

impl Candidate {
    pub fn new(database: Database) -> Self {
        Self { database, connection: None }
    }

    /// Becomes the module's single writer, where nobody else is: takes the lock, migrates, and starts a new epoch.
    ///
    /// `now` is this machine's clock, which may not be far off the database server's.
    ///
    /// # Errors
    /// [`JournalError::Locked`] while another leads: ask again, every quarter of a second, or the server ends the
    /// session. [`JournalError::ClockOff`] and [`JournalError::TooOld`] when this replica must not
    /// lead as it is; otherwise what the database says.
    pub async fn try_lead(
        &mut self,
        migrations: &[Migration],
        code_version: &str,
        now: Timestamp,
    ) -> Result<Writer, JournalError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.database.connect_as_candidate().await?,
        };
        match self.database.take_lock(&mut connection).await {
            Ok(lock) => self.database.lead(connection, lock, migrations, code_version, Some(now)).await,
            Err(locked @ JournalError::Locked { .. }) => {
                self.connection = Some(connection);
                Err(locked)
            }
            Err(error) => {
                let _ = connection.close().await;
                Err(error)
            }
        }
    }
}
