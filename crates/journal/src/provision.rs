//! Schemas and tables made by somebody who is not the module: a job with a role of its own.

use crate::connection::Connection;
use crate::{Database, JournalError, Kind, Migration, Statement, migrate};

/// What was done to one module's database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provisioned {
    /// Migrations that were applied, in order.
    pub applied: Vec<String>,
    /// The role that may now read and write rows; `None` where there is no such role, on SQLite, or where it is the one that
    /// this ran as.
    pub granted_to: Option<String>,
}

// === impl Database ===

impl Database {
    /// Makes the schema and the tables as this release needs them, and lets a role read and write their rows, where the
    /// server has one of this name. Done twice it changes nothing.
    ///
    /// Leaders go on meanwhile. Only a migration that older releases cannot write past is applied while nobody leads.
    ///
    /// # Errors
    /// [`JournalError::Locked`] when such a migration is to be applied and somebody leads, or another process holds a SQLite
    /// file; [`JournalError::TooOld`] when a newer release has been here; otherwise what the database says.
    pub async fn provision(
        &self,
        migrations: &[Migration],
        code_version: &str,
        role: Option<&str>,
    ) -> Result<Provisioned, JournalError> {
        let mut connection = self.place.connect_to_write().await?;
        let done = self.provision_by(&mut connection, migrations, code_version, role).await;
        // Awaited, so that the session's locks are free when this returns.
        let closed = connection.close().await;
        let done = done?;
        closed.map(|()| done)
    }

    async fn provision_by(
        &self,
        connection: &mut Connection,
        migrations: &[Migration],
        code_version: &str,
        role: Option<&str>,
    ) -> Result<Provisioned, JournalError> {
        let (kind, module) = (self.kind(), self.module());
        if kind == Kind::Postgres {
            // Two jobs at once: the second waits, and finds nothing to do.
            let lock = Statement::new("SELECT pg_advisory_lock(hashtextextended(?, 0)) IS NULL");
            connection.fetch(&lock.bind(format!("pangaea/{module}/provision"))).await?;
        }
        self.place.make_schema(connection).await?;
        migrate::check_release(connection, kind, module, code_version).await?;
        let pending = migrate::pending(connection, module, kind, migrations).await?;
        let is_alone = kind == Kind::Sqlite || pending.iter().any(|one| migrate::ends_older_releases(one));
        let _lock = match is_alone && !pending.is_empty() {
            true => self.place.lock(connection).await?,
            false => None,
        };
        let applied = pending.iter().map(|one| one.name.to_owned()).collect();
        migrate::migrate(connection, module, kind, migrations).await?;
        let granted_to = match (kind, role) {
            (Kind::Postgres, Some(role)) => grant(connection, module, role).await?,
            _ => None,
        };
        Ok(Provisioned { applied, granted_to })
    }
}

/// Rows only: tables are made and changed by whoever provisions.
async fn grant(connection: &mut Connection, schema: &str, role: &str) -> Result<Option<String>, JournalError> {
    let known = Statement::new("SELECT rolname <> current_user FROM pg_roles WHERE rolname = ?").bind(role);
    let is_another: bool = match connection.fetch(&known).await?.first() {
        Some(row) => row.get(0)?,
        None => false,
    };
    if !is_another {
        return Ok(None);
    }
    let (schema, quoted) = (quote(schema), quote(role));
    let sql = format!(
        "GRANT USAGE ON SCHEMA {schema} TO {quoted};
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {quoted}"
    );
    connection.raw(&sql).await?;
    Ok(Some(role.to_owned()))
}

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
