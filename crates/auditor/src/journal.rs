//! What every module keeps, whatever it does: its inbox, its log, and how far it has read those of others.

use std::collections::HashMap;

use anyhow::{Result, bail};

use crate::database::Source;

#[derive(Debug, Default)]
pub(crate) struct Journal {
    pub(crate) module: &'static str,
    pub(crate) log_id: String,
    pub(crate) inbox_end: i64,
    pub(crate) outbox_end: i64,
    pub(crate) last_time: i64,
    /// By position.
    pub(crate) inbox: Vec<Input>,
    /// By position.
    pub(crate) outbox: Vec<Message>,
    pub(crate) cursors: Vec<Cursor>,
    pub(crate) timers: Vec<Pending>,
    pub(crate) effects: Vec<Pending>,
    pub(crate) letters: Vec<Letter>,
    /// What may stand nowhere else.
    pub(crate) secrets: Vec<String>,
}

/// A row of the inbox.
#[derive(Clone, Debug, Default)]
pub(crate) struct Input {
    pub(crate) position: i64,
    pub(crate) id: String,
    pub(crate) subject: String,
    pub(crate) key: String,
    /// The log it came from, and its position there.
    pub(crate) source: Option<(String, i64)>,
    pub(crate) admitted_at: i64,
    pub(crate) payload: String,
    pub(crate) answer: Option<String>,
}

/// A row of the outbox.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Message {
    pub(crate) position: i64,
    pub(crate) id: String,
    pub(crate) subject: String,
    pub(crate) key: String,
    pub(crate) causation_id: String,
    pub(crate) correlation_id: String,
    pub(crate) actor: String,
    pub(crate) created_at: i64,
    pub(crate) payload: String,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Cursor {
    pub(crate) reader: String,
    pub(crate) source: String,
    pub(crate) log_id: String,
    pub(crate) position: i64,
    pub(crate) message_id: String,
}

/// A timer or an effect that has not come to its end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pending {
    pub(crate) id: String,
    pub(crate) subject: String,
    pub(crate) key: String,
    pub(crate) payload: String,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Letter {
    pub(crate) id: String,
    pub(crate) position: i64,
    pub(crate) state: String,
    pub(crate) subject: String,
    pub(crate) key: String,
    pub(crate) input: String,
    pub(crate) error: String,
}

// === impl Journal ===

impl Journal {
    pub(crate) async fn read(source: &mut Source, module: &'static str) -> Result<Self> {
        let head = source.rows("SELECT log_id, inbox_end, outbox_end, last_time FROM head").await?;
        let [head] = head.as_slice() else { bail!("there are {} head rows, not one", head.len()) };
        Ok(Self {
            module,
            log_id: head.text(0),
            inbox_end: head.int(1),
            outbox_end: head.int(2),
            last_time: head.int(3),
            inbox: inbox(source).await?,
            outbox: outbox(source).await?,
            cursors: cursors(source).await?,
            timers: pending(source, "timer", "1 = 1").await?,
            effects: pending(source, "effect", "state = 'pending'").await?,
            letters: letters(source).await?,
            secrets: source.rows("SELECT value FROM secret").await?.iter().map(|row| row.text(0)).collect(),
        })
    }

    /// Inputs by id. Where an id is there twice, the first: that there are two is told elsewhere.
    pub(crate) fn inputs_by_id(&self) -> HashMap<&str, &Input> {
        self.inbox.iter().rev().map(|input| (input.id.as_str(), input)).collect()
    }
}

async fn inbox(source: &mut Source) -> Result<Vec<Input>> {
    let sql = "SELECT position, id, subject, key, source, source_position, admitted_at, payload, answer \
        FROM inbox ORDER BY position";
    let input = |row: &crate::database::Row| Input {
        position: row.int(0),
        id: row.text(1),
        subject: row.text(2),
        key: row.text(3),
        source: row.optional(4).map(|source| (source, row.int(5))),
        admitted_at: row.int(6),
        payload: row.text(7),
        answer: row.optional(8),
    };
    Ok(source.rows(sql).await?.iter().map(input).collect())
}

async fn outbox(source: &mut Source) -> Result<Vec<Message>> {
    let sql = "SELECT position, id, subject, key, causation_id, correlation_id, actor, created_at, payload \
        FROM outbox ORDER BY position";
    let message = |row: &crate::database::Row| Message {
        position: row.int(0),
        id: row.text(1),
        subject: row.text(2),
        key: row.text(3),
        causation_id: row.text(4),
        correlation_id: row.text(5),
        actor: row.text(6),
        created_at: row.int(7),
        payload: row.text(8),
    };
    Ok(source.rows(sql).await?.iter().map(message).collect())
}

async fn cursors(source: &mut Source) -> Result<Vec<Cursor>> {
    let sql = "SELECT reader, source, log_id, position, message_id FROM read_cursor ORDER BY reader, source";
    let cursor = |row: &crate::database::Row| Cursor {
        reader: row.text(0),
        source: row.text(1),
        log_id: row.text(2),
        position: row.int(3),
        message_id: row.text(4),
    };
    Ok(source.rows(sql).await?.iter().map(cursor).collect())
}

async fn pending(source: &mut Source, table: &str, condition: &str) -> Result<Vec<Pending>> {
    let sql = format!("SELECT id, subject, key, payload FROM {table} WHERE {condition} ORDER BY id");
    let pending = |row: &crate::database::Row| Pending {
        id: row.text(0),
        subject: row.text(1),
        key: row.text(2),
        payload: row.text(3),
    };
    Ok(source.rows(&sql).await?.iter().map(pending).collect())
}

async fn letters(source: &mut Source) -> Result<Vec<Letter>> {
    let sql = "SELECT id, position, state, subject, key, input, error FROM dead_letter ORDER BY key, position";
    let letter = |row: &crate::database::Row| Letter {
        id: row.text(0),
        position: row.int(1),
        state: row.text(2),
        subject: row.text(3),
        key: row.text(4),
        input: row.text(5),
        error: row.text(6),
    };
    Ok(source.rows(sql).await?.iter().map(letter).collect())
}
