use pangaea_contracts::digest_text;
use pangaea_faults::{Plant, unguarded};

use crate::connection::Connection;
use crate::{JournalError, Kind, Statement};

/// One step of a module's tables, applied once, in order of the list. The text runs on both databases: `TEXT` and `BIGINT`
/// columns only, no `?`. A released migration is never edited: its checksum is kept.
///
/// One that takes something away which older releases write says so in its first line: `-- writable_from: 0.3.0` names
/// the oldest release that may still lead. Without it older releases may go on, which is what makes a rollback possible.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Unique within the module, e.g. `0001_catalogue`.
    pub name: &'static str,
    pub sql: &'static str,
}

/// Every release since may write what this one makes, unless a migration says otherwise.
const FIRST_RELEASE: &str = "0.1.0";
const JOURNAL: &[Migration] = &[
    Migration { name: "journal/0001", sql: include_str!("../migrations/0001_journal.sql") },
    Migration { name: "journal/0002", sql: include_str!("../migrations/0002_asked.sql") },
];

pub(crate) async fn migrate(
    connection: &mut Connection,
    module: &str,
    kind: Kind,
    migrations: &[Migration],
) -> Result<(), JournalError> {
    connection.raw("CREATE TABLE IF NOT EXISTS migration (name TEXT PRIMARY KEY, checksum TEXT NOT NULL)").await?;
    for migration in pending(connection, module, kind, migrations).await? {
        apply(connection, kind, migration, &checksum(migration)).await?;
    }
    Ok(())
}

/// For a role that may make no tables: somebody else has to have made them.
///
/// # Errors
/// [`JournalError::NotMigrated`] when that has not happened.
pub(crate) async fn check_applied(
    connection: &mut Connection,
    module: &str,
    kind: Kind,
    migrations: &[Migration],
) -> Result<(), JournalError> {
    match pending(connection, module, kind, migrations).await?.first() {
        None => Ok(()),
        Some(first) => Err(JournalError::NotMigrated { module: module.to_owned(), migration: first.name.to_owned() }),
    }
}

/// Those that have not been applied, in order.
pub(crate) async fn pending<'a>(
    connection: &mut Connection,
    module: &str,
    kind: Kind,
    migrations: &'a [Migration],
) -> Result<Vec<&'a Migration>, JournalError> {
    let rows = match has_table(connection, kind, "migration").await? {
        true => connection.fetch(&Statement::new("SELECT name, checksum FROM migration")).await?,
        false => Vec::new(),
    };
    let mut applied = Vec::with_capacity(rows.len());
    for row in rows {
        applied.push((row.get::<String>(0)?, row.get::<String>(1)?));
    }
    let mut pending = Vec::new();
    for migration in JOURNAL.iter().chain(migrations) {
        match applied.iter().find(|(name, _)| name == migration.name) {
            Some((_, known)) if *known == checksum(migration) => {}
            Some(_) => {
                let name = migration.name.to_owned();
                return Err(JournalError::MigrationChanged { module: module.to_owned(), name });
            }
            None => pending.push(migration),
        }
    }
    Ok(pending)
}

/// Whether older releases can no longer write what this migration makes: none of them may lead while it is applied.
pub(crate) fn ends_older_releases(migration: &Migration) -> bool {
    writable_from_of(migration).is_some()
}

fn checksum(migration: &Migration) -> String {
    digest_text(&[migration.sql.as_bytes()], 26)
}

/// In the module's own schema. A name of ours, so that it may stand in the text.
async fn has_table(connection: &mut Connection, kind: Kind, table: &str) -> Result<bool, JournalError> {
    let known = match kind {
        Kind::Sqlite => format!("SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = '{table}'"),
        Kind::Postgres => format!("SELECT to_regclass('{table}') IS NOT NULL"),
    };
    match connection.raw(&known).await?.first() {
        Some(row) => row.get(0),
        None => Ok(false),
    }
}

/// The oldest release that may write a database with these migrations.
pub(crate) fn writable_from(migrations: &[Migration]) -> &'static str {
    let named = migrations.iter().filter_map(writable_from_of);
    named.max_by_key(|version| release(version)).unwrap_or(FIRST_RELEASE)
}

fn writable_from_of(migration: &Migration) -> Option<&'static str> {
    let first = migration.sql.lines().next()?;
    first.trim().strip_prefix("-- writable_from:").map(str::trim)
}

/// Refuses to lead a database that this release is too old for. Nothing has been changed by then.
pub(crate) async fn check_release(
    connection: &mut Connection,
    kind: Kind,
    module: &str,
    ours: &str,
) -> Result<(), JournalError> {
    if !has_table(connection, kind, "head").await? {
        return Ok(());
    }
    let rows = connection.raw("SELECT writable_from FROM head").await?;
    let Some(row) = rows.first() else { return Ok(()) };
    let writable_from: String = row.get(0)?;
    if release(ours) >= release(&writable_from) {
        return Ok(());
    }
    Err(JournalError::TooOld { module: module.to_owned(), writable_from, ours: ours.to_owned() })
}

/// `major.minor.patch` as numbers. What is none, as in a test or a build between releases, counts as the newest.
fn release(version: &str) -> [u64; 3] {
    let parts: Result<Vec<u64>, _> = version.split('.').map(str::parse).collect();
    parts.ok().and_then(|parts| parts.try_into().ok()).unwrap_or([u64::MAX; 3])
}

/// A migration and its record are one transaction: a crash between them cannot leave a half-made table.
async fn apply(
    connection: &mut Connection,
    kind: Kind,
    migration: &Migration,
    checksum: &str,
) -> Result<(), JournalError> {
    let begin = match kind {
        Kind::Sqlite => "BEGIN IMMEDIATE",
        Kind::Postgres => "BEGIN",
    };
    let (name, sql) = (migration.name, without_guards(migration.sql));
    let quoted = name.replace('\'', "''");
    let record = format!("INSERT INTO migration (name, checksum) VALUES ('{quoted}', '{checksum}')");
    let raise = match writable_from_of(migration) {
        Some(release) => format!("UPDATE head SET writable_from = '{}';\n", release.replace('\'', "''")),
        None => String::new(),
    };
    // The semicolon on a line of its own ends a last statement that has none, or only a comment after it.
    let script = format!("{begin};\n{sql}\n;\n{raise}{record};\nCOMMIT");
    if let Err(error) = connection.migrate(&script).await {
        // The connection may already have left the transaction; the first error is the one to report.
        let _ = connection.raw("ROLLBACK").await;
        return Err(match error {
            passing if passing.is_transient() => passing,
            other => JournalError::Statement(format!("migration {name}: {other}; nothing of it was applied")),
        });
    }
    tracing::debug!(migration = name, "applied");
    Ok(())
}

/// Constraints that a planted bug is to have out of its way.
const GUARDS: [(Plant, &str, &str); 7] = [
    (Plant::CursorInAnotherTransaction, "id TEXT NOT NULL UNIQUE,", "id TEXT NOT NULL,"),
    (Plant::TimerFiredByTwoReplicas, "id TEXT NOT NULL UNIQUE,", "id TEXT NOT NULL,"),
    (Plant::TimerFiredByTwoReplicas, "position BIGINT PRIMARY KEY", "position BIGINT NOT NULL"),
    (Plant::HeadRowNotChecked, "id TEXT NOT NULL UNIQUE,", "id TEXT NOT NULL,"),
    (Plant::HeadRowNotChecked, "position BIGINT PRIMARY KEY", "position BIGINT NOT NULL"),
    (Plant::StockWithoutGuard, "CHECK (0 <= reserved AND reserved <= on_hand)", "CHECK (movements >= 0)"),
    (
        Plant::StockCommittedAfterCapture,
        "CHECK (state IN ('confirmed', 'refunded') OR captured = 0)",
        "CHECK (captured >= 0)",
    ),
];

fn without_guards(sql: &str) -> String {
    let taken = GUARDS.iter().filter(|(plant, ..)| unguarded(*plant));
    taken.fold(sql.to_owned(), |sql, (_, guard, nothing)| sql.replace(guard, nothing))
}
