//! The journal's own rows that wait for the commit.

use std::collections::{BTreeMap, BTreeSet};

use pangaea_contracts::{Envelope, Timestamp};

use crate::identity_map::{delete_rows, insert_rows};
use crate::rows::{
    DEAD_LETTER_COLUMNS, DEAD_LETTER_LIST, EFFECT_COLUMNS, EFFECT_LIST, INBOX_COLUMNS, INBOX_INSERT, OUTBOX_COLUMNS,
    OUTBOX_INSERT, TIMER_COLUMNS, TIMER_LIST, outbox_values,
};
use crate::{CursorRow, DeadLetterRow, EffectRow, InboxRow, SecretRow, Statement, TimerRow, Value};

/// Where a row has a key, the last word on it counts, `None` for its end: a batch may write a row twice, which PostgreSQL
/// refuses in one upsert, or end it and write it again.
#[derive(Default)]
pub(crate) struct Pending {
    /// With what each asked for.
    pub(crate) inbox: Vec<(InboxRow, String)>,
    pub(crate) outbox: Vec<Envelope>,
    pub(crate) cursors: BTreeMap<(String, String), CursorRow>,
    /// Cursors whose last move was over what was not for their reader.
    pub(crate) skips: BTreeSet<(String, String)>,
    pub(crate) timers: BTreeMap<(String, String), Option<TimerRow>>,
    pub(crate) effects: BTreeMap<String, Option<EffectRow>>,
    pub(crate) dead_letters: BTreeMap<String, Option<DeadLetterRow>>,
    /// Of the dead letters that end: those whose input nobody will handle.
    pub(crate) abandoned: BTreeSet<String>,
    pub(crate) secrets: BTreeMap<String, Option<SecretRow>>,
    pub(crate) secrets_expired_at: Option<Timestamp>,
    pub(crate) attempts_ended: Vec<String>,
    pub(crate) last_time: Option<Timestamp>,
}

// === impl Pending ===

impl Pending {
    /// The statements that write everything, and the messages that are the log when they have been committed.
    pub(crate) fn into_statements(self, first_inbox_position: u64, statements: &mut Vec<Statement>) -> Vec<Envelope> {
        let outbox = self.outbox.iter().map(outbox_values).collect();
        statements.extend(insert_rows(OUTBOX_INSERT, OUTBOX_COLUMNS, outbox, ""));
        let inbox = self.inbox.into_iter().enumerate();
        let inbox =
            inbox.map(|(index, (row, asked))| row.into_values(first_inbox_position + index as u64, asked)).collect();
        statements.extend(insert_rows(INBOX_INSERT, INBOX_COLUMNS, inbox, ""));

        let timers = self.timers.into_iter();
        let timers =
            timers.map(|((key, subject), row)| (vec![key.into(), subject.into()], row.map(TimerRow::into_values)));
        statements.extend(write_all("timer", TIMER_LIST, 2, TIMER_COLUMNS, timers));
        let effects = self.effects.into_iter().map(|(id, row)| (vec![id.into()], row.map(EffectRow::into_values)));
        statements.extend(write_all("effect", EFFECT_LIST, 1, EFFECT_COLUMNS, effects));
        let letters = self.dead_letters.into_iter();
        let letters = letters.map(|(id, row)| (vec![id.into()], row.map(DeadLetterRow::into_values)));
        statements.extend(write_all("dead_letter", DEAD_LETTER_LIST, 1, DEAD_LETTER_COLUMNS, letters));
        let attempts = self.attempts_ended.into_iter().map(|id| vec![id.into()]).collect();
        statements.extend(delete_rows("attempt", &["input_id"], attempts));
        let cursors = self.cursors.into_iter().map(|((reader, source), row)| {
            let position = vec![row.log_id.into(), row.position.into(), row.message_id.into()];
            let key: Vec<Value> = vec![reader.into(), source.into()];
            (key.clone(), Some([key, position].concat()))
        });
        statements.extend(write_all("read_cursor", "reader, source, log_id, position, message_id", 2, 5, cursors));

        if let Some(now) = self.secrets_expired_at {
            statements.push(Statement::new("DELETE FROM secret WHERE expires_at <= ?").bind(now));
        }
        let secrets = self.secrets.into_iter().map(|(name, row)| {
            let values = row.map(|row| {
                let expires_at = row.expires_at.map(Timestamp::as_millis);
                vec![row.name.into(), row.value.into(), expires_at.into()]
            });
            (vec![name.into()], values)
        });
        statements.extend(write_all("secret", "name, value, expires_at", 1, 3, secrets));
        self.outbox
    }
}

/// Deletes the keys without a row, upserts the others.
fn write_all(
    table: &str,
    columns: &str,
    keys: usize,
    count: usize,
    rows: impl Iterator<Item = (Vec<Value>, Option<Vec<Value>>)>,
) -> Vec<Statement> {
    let names: Vec<&str> = columns.split(',').map(str::trim).collect();
    let (mut ended, mut kept) = (Vec::new(), Vec::new());
    for (key, row) in rows {
        match row {
            Some(row) => kept.push(row),
            None => ended.push(key),
        }
    }
    let updates: Vec<String> = names[keys..].iter().map(|name| format!("{name} = excluded.{name}")).collect();
    let tail = format!(" ON CONFLICT ({}) DO UPDATE SET {}", names[..keys].join(", "), updates.join(", "));
    let mut statements = delete_rows(table, &names[..keys], ended);
    statements.extend(insert_rows(&format!("INSERT INTO {table} ({columns})"), count, kept, &tail));
    statements
}
