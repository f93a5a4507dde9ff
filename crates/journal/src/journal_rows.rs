//! What the runtime does on the [`Writer`]: the journal's own rows, which are written at the commit.

use pangaea_contracts::{Envelope, Timestamp};

use crate::rows::{DEAD_LETTER_LIST, TIMER_LIST};
use crate::{
    CursorRow, DeadLetterRow, EffectRow, InboxRow, JournalError, Recorded, SecretRow, Statement, TimerRow, Writer,
};

impl Writer {
    /// What is known of commands with these ids.
    ///
    /// # Errors
    /// When the inbox cannot be read.
    pub async fn recorded(&mut self, ids: &[String]) -> Result<Vec<Recorded>, JournalError> {
        const IDS_PER_STATEMENT_MAX: usize = 1_000;
        let mut recorded = Vec::new();
        for ids in ids.chunks(IDS_PER_STATEMENT_MAX) {
            let statement = Statement::new("SELECT id, fingerprint, answer FROM inbox WHERE id")
                .and_in(ids.iter().map(|id| id.as_str().into()));
            let rows = self.connection()?.fetch(&statement).await;
            for row in self.note_failure(rows)? {
                recorded.push(Recorded { id: row.get(0)?, fingerprint: row.get(1)?, answer: row.get(2)? });
            }
        }
        Ok(recorded)
    }

    /// Timers that are due, the earliest first, as this transaction sees them.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn timers_due(&mut self, now: Timestamp, limit: usize) -> Result<Vec<TimerRow>, JournalError> {
        let sql =
            format!("SELECT {TIMER_LIST} FROM timer WHERE due_at <= ? ORDER BY due_at, key, subject LIMIT {limit}");
        let rows = self.connection()?.fetch(&Statement::new(sql).bind(now)).await;
        self.note_failure(rows)?.iter().map(TimerRow::from_row).collect()
    }

    /// When the first timer after `now` is due.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn next_timer_after(&mut self, now: Timestamp) -> Result<Option<Timestamp>, JournalError> {
        let select = Statement::new("SELECT MIN(due_at) FROM timer WHERE due_at > ?").bind(now);
        let rows = self.connection()?.fetch(&select).await;
        self.note_failure(rows)?.first().map_or(Ok(None), |row| row.get(0))
    }

    /// Records an input. `asked` says which timers and effects it asked for, in the caller's form: their own rows move and
    /// go, so this is their only trace. Empty: none.
    pub fn append_inbox(&mut self, row: InboxRow, asked: String) {
        self.pending.last_time = Some(row.admitted_at.max(self.pending.last_time.unwrap_or_default()));
        self.pending.inbox.push((row, asked));
    }

    /// Adds a message to the log. Its source, log id and position are given here.
    pub fn append_outbox(&mut self, mut envelope: Envelope) {
        envelope.position = self.next_outbox_position();
        envelope.source = self.database.module().to_owned();
        envelope.log_id.clone_from(&self.head.log_id);
        self.pending.outbox.push(envelope);
    }

    /// Moves a cursor over a message that this transaction handles or buries.
    pub fn move_cursor(&mut self, row: CursorRow) {
        let name = (row.reader.clone(), row.source.clone());
        self.pending.skips.remove(&name);
        self.pending.cursors.insert(name, row);
    }

    /// Moves a cursor over messages that were not for its reader.
    pub fn skip_to(&mut self, row: CursorRow) {
        let name = (row.reader.clone(), row.source.clone());
        self.pending.skips.insert(name.clone());
        self.pending.cursors.insert(name, row);
    }

    pub fn set_timer(&mut self, row: TimerRow) {
        self.pending.timers.insert((row.key.clone(), row.subject.clone()), Some(row));
    }

    pub fn cancel_timer(&mut self, key: &str, subject: &str) {
        self.pending.timers.insert((key.to_owned(), subject.to_owned()), None);
    }

    pub fn write_effect(&mut self, row: EffectRow) {
        self.pending.effects.insert(row.id.clone(), Some(row));
    }

    pub fn end_effect(&mut self, id: &str) {
        self.pending.effects.insert(id.to_owned(), None);
    }

    /// A dead letter as this transaction finds it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn dead_letter(&mut self, id: &str) -> Result<Option<DeadLetterRow>, JournalError> {
        let select = Statement::new(format!("SELECT {DEAD_LETTER_LIST} FROM dead_letter WHERE id = ?")).bind(id);
        let rows = self.connection()?.fetch(&select).await;
        self.note_failure(rows)?.first().map(DeadLetterRow::from_row).transpose()
    }

    /// The id of the key's dead letter that comes first.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn first_dead_letter(&mut self, key: &str) -> Result<Option<String>, JournalError> {
        let select = Statement::new("SELECT id FROM dead_letter WHERE key = ? ORDER BY position, id LIMIT 1").bind(key);
        let rows = self.connection()?.fetch(&select).await;
        self.note_failure(rows)?.first().map(|row| row.get(0)).transpose()
    }

    pub fn write_dead_letter(&mut self, row: DeadLetterRow) {
        self.pending.dead_letters.insert(row.id.clone(), Some(row));
    }

    /// Takes a dead letter away whose input this transaction handles.
    pub fn end_dead_letter(&mut self, id: &str) {
        self.pending.dead_letters.insert(id.to_owned(), None);
    }

    /// Takes a dead letter away whose input is given up.
    pub fn abandon_dead_letter(&mut self, id: &str) {
        self.pending.abandoned.insert(id.to_owned());
        self.end_dead_letter(id);
    }

    pub fn write_secret(&mut self, row: SecretRow) {
        let name = row.name.clone();
        self.pending.secrets.insert(name, row.value.is_some().then_some(row));
    }

    /// Removes every secret that has expired at `now`. Reading never shows one; this gives the room back.
    pub fn remove_expired_secrets(&mut self, now: Timestamp) {
        self.pending.secrets_expired_at = Some(now);
    }

    /// Notes, in a transaction of its own before the input runs, that it is being tried; returns the tries so far,
    /// this one included.
    ///
    /// # Errors
    /// When the note cannot be written, or a transaction is open. Call [`Writer::rollback`] afterwards.
    pub async fn record_attempt(&mut self, input_id: &str) -> Result<u32, JournalError> {
        // Like every write, it is only for the one whose head row it still is.
        self.begin().await?;
        let upsert = "INSERT INTO attempt (input_id, attempts) VALUES (?, 1) \
            ON CONFLICT (input_id) DO UPDATE SET attempts = attempt.attempts + 1 RETURNING attempts";
        let rows = self.sql(Statement::new(upsert).bind(input_id)).await?;
        let committed = self.connection()?.raw("COMMIT").await.map(drop);
        self.note_failure(committed)?;
        self.in_transaction = false;
        self.map.committed();
        rows.first().ok_or_else(|| JournalError::Decode("the attempt is missing".into()))?.get(0)
    }

    pub fn end_attempts(&mut self, input_id: &str) {
        self.pending.attempts_ended.push(input_id.to_owned());
    }
}
