//! Whole tables of a module, for a digest of its state.

use crate::{Database, JournalError, TablePlace, Value};

/// The journal's own tables, which say how a state came about and are no part of it.
const OWN: [&str; 10] =
    ["attempt", "dead_letter", "effect", "head", "inbox", "migration", "outbox", "read_cursor", "secret", "timer"];

/// Rows read at once.
const PAGE: usize = 4_096;

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
    /// Every table but the journal's own, all as of one moment. It is read into memory whole, so this is for tests and tools.
    ///
    /// # Errors
    /// When the database cannot be read, or has no journal.
    pub async fn contents(&self) -> Result<Vec<Contents>, JournalError> {
        let mut snapshot = self.snapshot().await?;
        let mut contents = Vec::new();
        for shape in snapshot.tables().await? {
            let (mut place, mut rows) = (TablePlace::default(), Vec::new());
            loop {
                let page = snapshot.rows(&shape, &mut place, PAGE).await?;
                if page.is_empty() {
                    break;
                }
                rows.extend(page);
            }
            contents.push(Contents { table: shape.table, columns: shape.columns, rows });
        }
        snapshot.close().await?;
        Ok(contents)
    }
}
