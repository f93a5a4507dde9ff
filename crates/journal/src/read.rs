//! Reads of the journal's own tables through the read pool: committed rows only.

use std::sync::Arc;

use pangaea_contracts::{Envelope, Timestamp};

use crate::head::SELECT_HEAD;
use crate::rows::{DEAD_LETTER_LIST, EFFECT_LIST, OUTBOX_SELECT, TIMER_LIST, outbox_envelope};
use crate::{
    CursorRow, Database, DeadLetterChoice, DeadLetterRow, EffectRow, Head, JournalError, Kind, Statement, TimerRow,
};

impl Database {
    /// The head row as last committed; `None` before a first writer.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn head(&self) -> Result<Option<Head>, JournalError> {
        match self.fetch(Statement::new(SELECT_HEAD)).await {
            Ok(rows) => rows.first().map(Head::from_row).transpose(),
            Err(JournalError::Statement(_)) if !self.has_head_table().await? => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn has_head_table(&self) -> Result<bool, JournalError> {
        let sql = match self.kind() {
            Kind::Sqlite => "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = 'head'",
            Kind::Postgres => "SELECT to_regclass('head') IS NOT NULL",
        };
        let rows = self.fetch(Statement::new(sql)).await?;
        rows.first().map_or(Ok(false), |row| row.get(0))
    }

    /// Whether an input with this id has been handled.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn is_recorded(&self, input_id: &str) -> Result<bool, JournalError> {
        let select = Statement::new("SELECT 1 FROM inbox WHERE id = ?").bind(input_id);
        Ok(!self.fetch(select).await?.is_empty())
    }

    /// Messages of the log after `after`, in order, at most `limit`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn outbox_after(
        &self,
        log_id: &str,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Arc<Envelope>>, JournalError> {
        let sql = format!("{OUTBOX_SELECT} WHERE position > ? ORDER BY position LIMIT {limit}");
        let rows = self.fetch(Statement::new(sql).bind(after)).await?;
        rows.iter().map(|row| outbox_envelope(row, self.module(), log_id).map(Arc::new)).collect()
    }

    /// # Errors
    /// When the database cannot be read.
    pub async fn cursors(&self) -> Result<Vec<CursorRow>, JournalError> {
        let sql = "SELECT reader, source, log_id, position, message_id FROM read_cursor ORDER BY reader, source";
        let rows = self.fetch(Statement::new(sql)).await?;
        rows.iter()
            .map(|row| {
                Ok(CursorRow {
                    reader: row.get(0)?,
                    source: row.get(1)?,
                    log_id: row.get(2)?,
                    position: row.get(3)?,
                    message_id: row.get(4)?,
                })
            })
            .collect()
    }

    /// Timers that are due, the earliest first, at most `limit`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn timers_due(&self, now: Timestamp, limit: usize) -> Result<Vec<TimerRow>, JournalError> {
        let sql =
            format!("SELECT {TIMER_LIST} FROM timer WHERE due_at <= ? ORDER BY due_at, key, subject LIMIT {limit}");
        let rows = self.fetch(Statement::new(sql).bind(now)).await?;
        rows.iter().map(TimerRow::from_row).collect()
    }

    /// When the next timer is due.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn next_timer(&self) -> Result<Option<Timestamp>, JournalError> {
        let rows = self.fetch(Statement::new("SELECT MIN(due_at) FROM timer")).await?;
        rows.first().map_or(Ok(None), |row| row.get(0))
    }

    /// Effects without a result, at most `limit`, by id after `after`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn effects_pending(&self, after: &str, limit: usize) -> Result<Vec<EffectRow>, JournalError> {
        let sql =
            format!("SELECT {EFFECT_LIST} FROM effect WHERE state = 'pending' AND id > ? ORDER BY id LIMIT {limit}");
        let rows = self.fetch(Statement::new(sql).bind(after)).await?;
        rows.iter().map(EffectRow::from_row).collect()
    }

    /// Dead letters and what is parked behind them, in the order in which they would be redriven, at most `limit`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetterRow>, JournalError> {
        self.dead_letters_of(&DeadLetterChoice::default(), limit).await
    }

    /// The same, of some letters only.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn dead_letters_of(
        &self,
        choice: &DeadLetterChoice,
        limit: usize,
    ) -> Result<Vec<DeadLetterRow>, JournalError> {
        let mut select = Statement::new(format!("SELECT {DEAD_LETTER_LIST} FROM dead_letter WHERE 1 = 1"));
        let wanted =
            [("AND id = ?", &choice.id), ("AND key = ?", &choice.key), ("AND fingerprint = ?", &choice.fingerprint)];
        for (clause, value) in wanted {
            if let Some(value) = value {
                select = select.and(clause).bind(value.as_str());
            }
        }
        if let Some((position, id)) = &choice.after {
            let behind = "AND (position > ? OR (position = ? AND id > ?))";
            select = select.and(behind).bind(*position).bind(*position).bind(id.as_str());
        }
        let rows = self.fetch(select.and(&format!("ORDER BY position, id LIMIT {limit}"))).await?;
        rows.iter().map(DeadLetterRow::from_row).collect()
    }

    /// Keys with dead letters: how many each has, and the place of its newest.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn parked_keys(&self) -> Result<Vec<(String, u32, u64)>, JournalError> {
        let sql = "SELECT key, COUNT(*), MAX(position) FROM dead_letter GROUP BY key";
        let rows = self.fetch(Statement::new(sql)).await?;
        rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).collect()
    }

    /// A secret that has not expired at `now`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn secret(&self, name: &str, now: Timestamp) -> Result<Option<String>, JournalError> {
        let sql = "SELECT value FROM secret WHERE name = ? AND (expires_at IS NULL OR expires_at > ?)";
        let rows = self.fetch(Statement::new(sql).bind(name).bind(now)).await?;
        rows.first().map(|row| row.get(0)).transpose()
    }
}
