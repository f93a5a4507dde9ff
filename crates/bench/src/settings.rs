//! What a store's databases say of themselves.

use std::path::Path;

use anyhow::{Context, Result};
use pangaea_journal::{Database, DatabaseOptions, Statement};
use sqlx::{Connection, PgConnection, Row};

/// Settings of a connection that decide what a commit costs; `synchronous` 2 is FULL.
const PRAGMAS: [&str; 6] =
    ["journal_mode", "synchronous", "page_size", "cache_size", "wal_autocheckpoint", "busy_timeout"];
/// What SQLite was compiled with that decides what its connections share, see `.cargo/config.toml`.
const COMPILED: [&str; 3] = ["DEFAULT_MEMSTATUS", "ENABLE_MEMORY_MANAGEMENT", "THREADSAFE"];
const POSTGRES: [&str; 7] = [
    "server_version",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_sync_method",
    "shared_buffers",
    "max_connections",
];

/// Reads SQLite's back through a connection that is made as the store makes those that read: `synchronous` belongs to a
/// connection, so the file does not have it. The writer's differs in `cache_size`, which is 8,000 KiB.
///
/// # Errors
/// When the database cannot be opened.
pub(crate) async fn of_sqlite(folder: &Path, synchronous_full: bool) -> Result<Vec<(String, String)>> {
    let url = format!("sqlite:{}/{{module}}.db", folder.display());
    let options = DatabaseOptions { url, synchronous_full, read_connections_max: 1 };
    let database = Database::open("order", &options).await?;
    let mut read = Vec::new();
    for name in PRAGMAS {
        let rows = database.fetch(Statement::new(format!("PRAGMA {name}"))).await?;
        let row = rows.first().with_context(|| format!("PRAGMA {name} says nothing"))?;
        let value = row.get::<i64>(0).map(|number| number.to_string()).or_else(|_| row.get::<String>(0))?;
        read.push(format!("{name}={value}"));
    }
    let mut compiled = Vec::new();
    for row in database.fetch(Statement::new("PRAGMA compile_options")).await? {
        compiled.push(row.get::<String>(0)?);
    }
    compiled.retain(|option| COMPILED.iter().any(|of_interest| option.starts_with(of_interest)));
    database.close().await;
    Ok(vec![
        ("SQLite, read back from a connection that reads".to_owned(), read.join(", ")),
        ("SQLite, compiled with".to_owned(), compiled.join(", ")),
    ])
}

/// Reads PostgreSQL's back.
///
/// # Errors
/// When the server does not answer.
pub(crate) async fn of_postgres(url: &str) -> Result<Vec<(String, String)>> {
    let mut connection = PgConnection::connect(url).await.context("PostgreSQL")?;
    let mut read = Vec::new();
    for name in POSTGRES {
        let row = sqlx::query("SELECT current_setting($1)").bind(name).fetch_one(&mut connection).await?;
        read.push(format!("{name}={}", row.get::<String, _>(0)));
    }
    connection.close().await?;
    Ok(vec![("PostgreSQL, read back".to_owned(), read.join(", "))])
}
