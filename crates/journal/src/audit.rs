//! Reads for an audit: whether the journal's two histories are whole. Counting stays in the database.

use pangaea_contracts::Timestamp;

use crate::{Database, Head, JournalError, Statement};

/// How much of its histories a database holds and what its head row says, in one snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extents {
    pub head: Head,
    pub inbox: Extent,
    pub outbox: Extent,
}

/// A history that is dense has as many rows as its last position, and begins at 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub rows: u64,
    /// 0 when there is no row, as `last`.
    pub first: u64,
    pub last: u64,
}

/// Inputs out of the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterCounts {
    pub dead: u64,
    /// Waiting behind a dead one of their key.
    pub parked: u64,
}

// === impl Database ===

impl Database {
    /// The extents of inbox and outbox; `None` before a first writer.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn extents(&self) -> Result<Option<Extents>, JournalError> {
        // Asked first, because a database without tables is no error here.
        if self.head().await?.is_none() {
            return Ok(None);
        }
        let of = |table: &str| {
            format!(
                "(SELECT COUNT(*) FROM {table}), (SELECT COALESCE(MIN(position), 0) FROM {table}), \
                 (SELECT COALESCE(MAX(position), 0) FROM {table})"
            )
        };
        let select = crate::head::SELECT_HEAD.replace(" FROM head", "");
        let sql = format!("{select}, {}, {} FROM head", of("inbox"), of("outbox"));
        let rows = self.fetch(Statement::new(sql)).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let extent = |column: usize| -> Result<Extent, JournalError> {
            Ok(Extent { rows: row.get(column)?, first: row.get(column + 1)?, last: row.get(column + 2)? })
        };
        Ok(Some(Extents { head: Head::from_row(row)?, inbox: extent(6)?, outbox: extent(9)? }))
    }

    /// # Errors
    /// When the database cannot be read.
    pub async fn dead_letter_counts(&self) -> Result<DeadLetterCounts, JournalError> {
        let rows = self.fetch(Statement::new("SELECT state, COUNT(*) FROM dead_letter GROUP BY state")).await?;
        let mut counts = DeadLetterCounts::default();
        for row in &rows {
            let of_state = if row.get::<String>(0)? == "parked" { &mut counts.parked } else { &mut counts.dead };
            *of_state += row.get::<u64>(1)?;
        }
        Ok(counts)
    }

    /// Effects without a result.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn effects_pending_count(&self) -> Result<u64, JournalError> {
        let rows = self.fetch(Statement::new("SELECT COUNT(*) FROM effect WHERE state = 'pending'")).await?;
        rows.first().map_or(Ok(0), |row| row.get(0))
    }

    /// Timers whose time has come.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn timers_due_count(&self, now: Timestamp) -> Result<u64, JournalError> {
        let rows = self.fetch(Statement::new("SELECT COUNT(*) FROM timer WHERE due_at <= ?").bind(now)).await?;
        rows.first().map_or(Ok(0), |row| row.get(0))
    }

    /// Id, subject and key of effects that should have had their result before `moment`, at most `limit`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn effects_overdue(
        &self,
        moment: Timestamp,
        limit: usize,
    ) -> Result<Vec<(String, String, String)>, JournalError> {
        let sql = format!(
            "SELECT id, subject, key FROM effect WHERE state = 'pending' AND deadline_at < ? AND try_expires_at < ? \
             ORDER BY id LIMIT {limit}"
        );
        let rows = self.fetch(Statement::new(sql).bind(moment).bind(moment)).await?;
        rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).collect()
    }

    /// Whether something will still happen to `key` by itself or by an operator: a timer, an effect without a result, or
    /// a dead letter.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn has_work_for(&self, key: &str) -> Result<bool, JournalError> {
        let sql = "SELECT 1 WHERE EXISTS (SELECT 1 FROM timer WHERE key = ?) \
                   OR EXISTS (SELECT 1 FROM effect WHERE key = ? AND state = 'pending') \
                   OR EXISTS (SELECT 1 FROM dead_letter WHERE key = ?)";
        Ok(!self.fetch(Statement::new(sql).bind(key).bind(key).bind(key)).await?.is_empty())
    }
}
