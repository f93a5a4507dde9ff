//! A PostgreSQL connection on which no call takes for ever.

use std::time::Duration;

use sqlx::Connection as _;
use sqlx::postgres::PgConnection;

use crate::JournalError;

/// For one statement. Longer than a flush of a full batch takes on a busy server; a network that swallows packets is
/// found out by it.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// For the steps of a migration, which may rewrite a large table.
pub(crate) const MIGRATION_TIMEOUT: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(crate) struct Session {
    connection: PgConnection,
    /// A call was given up: what the server made of it is unknown, so nothing else may be said on this connection.
    is_lost: bool,
    /// For one call.
    timeout: Duration,
}

// === impl Session ===

impl Session {
    pub(crate) fn new(connection: PgConnection) -> Self {
        Self { connection, is_lost: false, timeout: CALL_TIMEOUT }
    }

    /// Gives every call from now on as long as a step of a migration.
    pub(crate) fn take_time(&mut self) {
        self.timeout = MIGRATION_TIMEOUT;
    }

    pub(crate) async fn call<T>(
        &mut self,
        call: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, JournalError> {
        self.call_within(self.timeout, call).await
    }

    pub(crate) async fn call_within<T>(
        &mut self,
        timeout: Duration,
        call: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, JournalError> {
        if self.is_lost {
            return Err(JournalError::Unavailable("the session was given up".to_owned()));
        }
        match tokio::time::timeout(timeout, call(&mut self.connection)).await {
            Ok(result) => Ok(result?),
            Err(_) => {
                self.is_lost = true;
                Err(JournalError::Unavailable(format!("no answer within {} s", timeout.as_secs())))
            }
        }
    }

    /// Says good-bye where anybody listens; else the connection is dropped.
    pub(crate) async fn close(self) -> Result<(), JournalError> {
        if self.is_lost {
            return Ok(());
        }
        match tokio::time::timeout(CALL_TIMEOUT, self.connection.close()).await {
            Ok(closed) => Ok(closed?),
            Err(_) => Ok(()),
        }
    }
}
