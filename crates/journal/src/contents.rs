//! Whole tables of a module, for a digest of its state.

use crate::{Column, Database, JournalError, Kind, Statement, Value};

/// The journal's own tables, which say how a state came about and are no part of it.
const OWN: [&str; 10] =
    ["attempt", "dead_letter", "effect", "head", "inbox", "migration", "outbox", "read_cursor", "secret", "timer"];

/// A table as it is. The order of the rows means nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    pub table: String,
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Value>>,
}

/// Ends the names of tables that a rebuild works with; see `shadow.rs`.
pub(crate) const SHADOW_SUFFIX: &str = "__rebuild";

pub(crate) fn is_own(table: &str) -> bool {
    OWN.contains(&table) || table.ends_with(SHADOW_SUFFIX)
}

pub(crate) fn shadow_of(table: &str) -> String {
    format!("{table}{SHADOW_SUFFIX}")
}

// === impl Database ===

impl Database {
    /// Every table but the journal's own. It is read into memory whole, so this is for tests and tools.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn contents(&self) -> Result<Vec<Contents>, JournalError> {
        let sql = match self.kind() {
            Kind::Sqlite => "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
            Kind::Postgres => {
                "SELECT CAST(table_name AS TEXT) FROM information_schema.tables \
                 WHERE table_schema = current_schema() AND table_type = 'BASE TABLE'"
            }
        };
        let mut tables = texts(self, Statement::new(sql)).await?;
        tables.retain(|table| !is_own(table));
        tables.sort();
        let mut contents = Vec::with_capacity(tables.len());
        for table in tables {
            let columns = texts(self, self.columns_of(&table)).await?;
            let rows = self.fetch(Statement::new(format!("SELECT {} FROM {table}", columns.join(", ")))).await?;
            contents.push(Contents { table, columns, rows: rows.into_iter().map(|row| row.0).collect() });
        }
        Ok(contents)
    }

    fn columns_of(&self, table: &str) -> Statement {
        let sql = match self.kind() {
            Kind::Sqlite => "SELECT name FROM pragma_table_info(?) ORDER BY cid",
            Kind::Postgres => {
                "SELECT CAST(column_name AS TEXT) FROM information_schema.columns \
                 WHERE table_schema = current_schema() AND table_name = ? ORDER BY ordinal_position"
            }
        };
        Statement::new(sql).bind(table)
    }
}

async fn texts(database: &Database, statement: Statement) -> Result<Vec<String>, JournalError> {
    let rows = database.fetch(statement).await?;
    rows.iter().map(|row| String::from_value(row.0.first().unwrap_or(&Value::Text(None)))).collect()
}
