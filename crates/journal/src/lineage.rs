//! Reads along causes: what an input led to, and what led to it. Every read but [`Database::scan_inbox`] goes by an index.
//!
//! Inbox and outbox have no index on times, causes or keys. They need none: positions follow the order of commits, and
//! admission time never goes back, so a moment is found by halving; and the ids of timers and operations begin with the
//! moment of the input that asked for them, so those of one input lie together.

use std::ops::Range;
use std::sync::Arc;

use pangaea_contracts::{Envelope, Timestamp};

use crate::rows::{DEAD_LETTER_LIST, EFFECT_LIST, INBOX_SELECT, OUTBOX_SELECT, TIMER_LIST, inbox_row, outbox_envelope};
use crate::{Database, DeadLetterRow, EffectRow, Head, InboxRow, JournalError, Row, Statement, TimerRow, Value};

/// Ids in one query: SQLite takes some thousand values, and a longer text is only slower.
const IDS_PER_QUERY: usize = 200;

/// An input as it stands in the inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    pub position: u64,
    pub input: InboxRow,
}

/// What a scan of the inbox looks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sought {
    /// The aggregate that an input is about.
    Key(String),
    /// The first digits of a W3C trace id.
    Trace(String),
}

/// One of the two histories.
#[derive(Clone, Copy)]
pub(crate) enum History {
    Inbox,
    Outbox,
}

/// A search for the first position of a moment or later, which halves the history: some twenty reads by primary key in a
/// million rows. Whoever searches does the reading.
pub(crate) struct Halving {
    sql: &'static str,
    at: Timestamp,
    low: u64,
    high: u64,
}

// === impl Database: the inbox ===

impl Database {
    /// The inputs with these ids, in no order.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn inputs(&self, ids: &[String]) -> Result<Vec<Admitted>, JournalError> {
        self.by_ids(INBOX_SELECT, "id", ids, admitted).await
    }

    /// Timers and results that the input `causation_id` led to, whose ids lie in a range, at most `limit`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn inputs_between(
        &self,
        ids: &Range<String>,
        causation_id: &str,
        limit: usize,
    ) -> Result<Vec<Admitted>, JournalError> {
        self.by_range(INBOX_SELECT, ids, Some(causation_id), limit, admitted).await
    }

    /// The inputs admitted at exactly this moment that are about `key`, or that said something about it: the input that
    /// makes a thing does not know its id.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn inputs_about(&self, key: &str, at: Timestamp) -> Result<Vec<Admitted>, JournalError> {
        let (inputs, messages) = (self.span(History::Inbox, at).await?, self.span(History::Outbox, at).await?);
        let select =
            Statement::new(format!("{INBOX_SELECT} WHERE position >= ? AND position < ? AND (key = ? OR id IN"))
                .and("(SELECT causation_id FROM outbox WHERE position >= ? AND position < ? AND key = ?))")
                .and("ORDER BY position")
                .bind(inputs.start)
                .bind(inputs.end)
                .bind(key)
                .bind(messages.start)
                .bind(messages.end)
                .bind(key);
        self.fetch(select).await?.iter().map(admitted).collect()
    }

    /// The inputs from this position on, in order, at most `limit`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn inbox_from(&self, position: u64, limit: usize) -> Result<Vec<Admitted>, JournalError> {
        let sql = format!("{INBOX_SELECT} WHERE position >= ? ORDER BY position LIMIT {limit}");
        self.fetch(Statement::new(sql).bind(position)).await?.iter().map(admitted).collect()
    }

    /// Inputs at these positions that are what is sought, at most `limit`. Every row between is looked at.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn scan_inbox(
        &self,
        positions: Range<u64>,
        sought: &Sought,
        limit: usize,
    ) -> Result<Vec<Admitted>, JournalError> {
        let select = Statement::new(format!("{INBOX_SELECT} WHERE position >= ? AND position < ?"))
            .bind(positions.start)
            .bind(positions.end);
        let select = match sought {
            Sought::Key(key) => select.and("AND key = ?").bind(key.as_str()),
            // `00-`, then the trace id. The length is a number of ours and not a text of the caller's.
            Sought::Trace(digits) => {
                select.and(&format!("AND substr(traceparent, 4, {}) = ?", digits.len())).bind(digits.as_str())
            }
        };
        self.fetch(select.and(&format!("ORDER BY position LIMIT {limit}"))).await?.iter().map(admitted).collect()
    }

    /// The first position of the inbox that was admitted at `at` or later; one behind its end when there is none.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn inbox_position_at(&self, at: Timestamp) -> Result<u64, JournalError> {
        self.first_at(History::Inbox, at).await
    }

    /// How often inputs that are being tried alone after an unclean stop were begun, by id.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn attempts(&self, ids: &[String]) -> Result<Vec<(String, u32)>, JournalError> {
        let select = "SELECT input_id, attempts FROM attempt";
        self.by_ids(select, "input_id", ids, |row| Ok((row.get(0)?, row.get(1)?))).await
    }
}

// === impl Database: what inputs led to ===

impl Database {
    /// The messages that the input `causation_id`, admitted `at` this moment, has said, in order.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn outbox_caused_by(
        &self,
        causation_id: &str,
        at: Timestamp,
    ) -> Result<Vec<Arc<Envelope>>, JournalError> {
        let positions = self.span(History::Outbox, at).await?;
        let select = Statement::new(OUTBOX_SELECT)
            .and("WHERE position >= ? AND position < ? AND causation_id = ? ORDER BY position")
            .bind(positions.start)
            .bind(positions.end)
            .bind(causation_id);
        let rows = self.fetch(select).await?;
        // The log's id is no matter here: positions are compared with nothing.
        rows.iter().map(|row| outbox_envelope(row, self.module(), "").map(Arc::new)).collect()
    }

    /// Effects without a result that the input `causation_id` asked for, whose ids lie in a range, at most `limit`. Those
    /// with a result are in the inbox.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn effects_between(
        &self,
        ids: &Range<String>,
        causation_id: &str,
        limit: usize,
    ) -> Result<Vec<EffectRow>, JournalError> {
        let select = format!("SELECT {EFFECT_LIST} FROM effect");
        self.by_range(&select, ids, Some(causation_id), limit, EffectRow::from_row).await
    }

    /// Timers not yet due that were set by inputs with these correlation ids, at most `limit`. Every timer is looked at.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn timers_of(&self, correlation_ids: &[String], limit: usize) -> Result<Vec<TimerRow>, JournalError> {
        let select = format!("SELECT {TIMER_LIST} FROM timer");
        let mut timers = self.by_ids(&select, "correlation_id", correlation_ids, TimerRow::from_row).await?;
        timers.truncate(limit);
        Ok(timers)
    }

    /// The dead letters with these ids, in no order.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn dead_letters_by_ids(&self, ids: &[String]) -> Result<Vec<DeadLetterRow>, JournalError> {
        let select = format!("SELECT {DEAD_LETTER_LIST} FROM dead_letter");
        self.by_ids(&select, "id", ids, DeadLetterRow::from_row).await
    }

    /// Dead letters whose ids lie in a range, at most `limit`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn dead_letters_between(
        &self,
        ids: &Range<String>,
        limit: usize,
    ) -> Result<Vec<DeadLetterRow>, JournalError> {
        let select = format!("SELECT {DEAD_LETTER_LIST} FROM dead_letter");
        self.by_range(&select, ids, None, limit, DeadLetterRow::from_row).await
    }
}

// === impl Database: how they are found ===

impl Database {
    async fn by_ids<T>(
        &self,
        select: &str,
        column: &str,
        ids: &[String],
        read: impl Fn(&Row) -> Result<T, JournalError>,
    ) -> Result<Vec<T>, JournalError> {
        let mut found = Vec::new();
        for part in ids.chunks(IDS_PER_QUERY) {
            let values = part.iter().map(|id| Value::from(id.as_str()));
            let select = Statement::new(format!("{select} WHERE {column}")).and_in(values);
            for row in &self.fetch(select).await? {
                found.push(read(row)?);
            }
        }
        Ok(found)
    }

    async fn by_range<T>(
        &self,
        select: &str,
        ids: &Range<String>,
        causation_id: Option<&str>,
        limit: usize,
        read: impl Fn(&Row) -> Result<T, JournalError>,
    ) -> Result<Vec<T>, JournalError> {
        let mut select = Statement::new(format!("{select} WHERE id >= ? AND id < ?"))
            .bind(ids.start.as_str())
            .bind(ids.end.as_str());
        if let Some(causation_id) = causation_id {
            select = select.and("AND causation_id = ?").bind(causation_id);
        }
        self.fetch(select.and(&format!("ORDER BY id LIMIT {limit}"))).await?.iter().map(read).collect()
    }

    /// The positions of what happened at exactly this moment.
    async fn span(&self, history: History, at: Timestamp) -> Result<Range<u64>, JournalError> {
        let start = self.first_at(history, at).await?;
        Ok(start..self.first_at(history, at.plus_millis(1)).await?)
    }

    async fn first_at(&self, history: History, at: Timestamp) -> Result<u64, JournalError> {
        let Some(head) = self.head().await? else { return Ok(1) };
        let mut search = Halving::new(history, &head, at);
        while let Some(question) = search.question() {
            search.answer(&self.fetch(question).await?)?;
        }
        Ok(search.position())
    }
}

// === impl Halving ===

impl Halving {
    pub(crate) fn new(history: History, head: &Head, at: Timestamp) -> Self {
        // Positions may be missing in a history that was pruned or torn: the next one stands for them.
        let (sql, end) = match history {
            History::Inbox => {
                ("SELECT admitted_at FROM inbox WHERE position >= ? ORDER BY position LIMIT 1", head.inbox_end)
            }
            History::Outbox => {
                ("SELECT created_at FROM outbox WHERE position >= ? ORDER BY position LIMIT 1", head.outbox_end)
            }
        };
        Self { sql, at, low: 1, high: end + 1 }
    }

    /// What to read next; `None` when the position is found.
    pub(crate) fn question(&self) -> Option<Statement> {
        (self.low < self.high).then(|| Statement::new(self.sql).bind(self.middle()))
    }

    pub(crate) fn answer(&mut self, rows: &[Row]) -> Result<(), JournalError> {
        let moment: Option<Timestamp> = rows.first().map(|row| row.get(0)).transpose()?;
        if moment.is_some_and(|moment| moment < self.at) {
            self.low = self.middle() + 1;
        } else {
            self.high = self.middle();
        }
        Ok(())
    }

    /// One behind the end when nothing happened then or later.
    pub(crate) fn position(&self) -> u64 {
        self.low
    }

    fn middle(&self) -> u64 {
        self.low + (self.high - self.low) / 2
    }
}

pub(crate) fn admitted(row: &Row) -> Result<Admitted, JournalError> {
    Ok(Admitted { position: row.get(0)?, input: inbox_row(row)? })
}
