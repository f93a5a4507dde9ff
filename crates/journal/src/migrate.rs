use pangaea_contracts::digest_text;
use pangaea_faults::{Plant, unguarded};

use crate::connection::Connection;
use crate::{JournalError, Kind, Statement};

/// One step of a module's tables, applied once, in order of the list. The text runs on both databases: `TEXT` and `BIGINT`
/// columns only, no `?`. A released migration is never edited: its checksum is kept.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Unique within the module, e.g. `0001_catalogue`.
    pub name: &'static str,
    pub sql: &'static str,
}

const JOURNAL: &[Migration] =
    &[Migration { name: "journal/0001", sql: include_str!("../migrations/0001_journal.sql") }];

pub(crate) async fn migrate(
    connection: &mut Connection,
    module: &str,
    kind: Kind,
    migrations: &[Migration],
) -> Result<(), JournalError> {
    connection.raw("CREATE TABLE IF NOT EXISTS migration (name TEXT PRIMARY KEY, checksum TEXT NOT NULL)").await?;
    let rows = connection.fetch(&Statement::new("SELECT name, checksum FROM migration")).await?;
    let mut applied = Vec::with_capacity(rows.len());
    for row in rows {
        applied.push((row.get::<String>(0)?, row.get::<String>(1)?));
    }
    for migration in JOURNAL.iter().chain(migrations) {
        let checksum = digest_text(&[migration.sql.as_bytes()], 26);
        match applied.iter().find(|(name, _)| name == migration.name) {
            Some((_, known)) if *known == checksum => {}
            Some(_) => {
                let name = migration.name.to_owned();
                return Err(JournalError::MigrationChanged { module: module.to_owned(), name });
            }
            None => apply(connection, kind, migration, &checksum).await?,
        }
    }
    Ok(())
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
    // The semicolon on a line of its own ends a last statement that has none, or only a comment after it.
    let script = format!("{begin};\n{sql}\n;\n{record};\nCOMMIT");
    if let Err(error) = connection.raw(&script).await {
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
