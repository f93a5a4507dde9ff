use pangaea_contracts::{Envelope, digest_text};
use pangaea_faults::{Failpoint, reach};

use crate::connection::Connection;
use crate::head::{self, SELECT_HEAD};
use crate::identity_map::IdentityMap;
use crate::lock::LockFile;
use crate::pending::Pending;
use crate::torn::Tear;
use crate::{Database, Head, JournalError, Kind, Row, Statement};

/// The module's single writing connection, and the unit of work of the transaction that is open on it.
///
/// One transaction is: [`begin`](Writer::begin), rows by key and the journal's rows, [`commit`](Writer::commit). After
/// any error in it nothing but [`rollback`](Writer::rollback) helps, on both databases alike: `commit` refuses.
///
/// Every step is awaited to its end: a future of this type must not be dropped half-way, so it lives in a task of its own,
/// never in one that a client's disconnect ends.
pub struct Writer {
    connection: Option<Connection>,
    pub(crate) database: Database,
    pub(crate) head: Head,
    pub(crate) map: IdentityMap,
    pub(crate) pending: Pending,
    pub(crate) in_transaction: bool,
    /// Why this transaction can no longer be committed. PostgreSQL refuses every statement after a failed one, SQLite
    /// does not: a handler that swallows an error must not commit on one of the two.
    failed: Option<String>,
    _lock: Option<LockFile>,
}

// === impl Writer: leading ===

impl Writer {
    pub(crate) async fn lead(
        mut connection: Connection,
        database: Database,
        lock: Option<LockFile>,
        writable_from: &str,
    ) -> Result<Self, JournalError> {
        let head = begin_epoch(&mut connection, database.kind(), writable_from).await?;
        Ok(Self {
            connection: Some(connection),
            database,
            head,
            map: IdentityMap::default(),
            pending: Pending::default(),
            in_transaction: false,
            failed: None,
            _lock: lock,
        })
    }

    pub fn head(&self) -> &Head {
        &self.head
    }

    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Where the next message of this batch will stand in the log.
    pub fn next_outbox_position(&self) -> u64 {
        self.head.outbox_end + self.pending.outbox.len() as u64 + 1
    }

    /// Where the next input of this batch will stand in the inbox.
    pub fn next_inbox_position(&self) -> u64 {
        self.head.inbox_end + self.pending.inbox.len() as u64 + 1
    }

    /// Says a word to the server, which would else end the session after a second. To be called between
    /// transactions, every quarter of a second. Nothing is said on SQLite, whose lock ends with the process.
    ///
    /// # Errors
    /// When the session is gone; [`Writer::reconnect`] then.
    pub async fn heartbeat(&mut self) -> Result<(), JournalError> {
        match self.database.kind() {
            Kind::Sqlite => Ok(()),
            Kind::Postgres => self.connection()?.raw("SELECT 1").await.map(drop),
        }
    }

    /// Notes that nothing is under way, and closes the connection.
    ///
    /// # Errors
    /// When the note cannot be written; the next leader then takes this stop for an unclean one.
    pub async fn stop(mut self) -> Result<(), JournalError> {
        if self.in_transaction {
            self.rollback().await?;
        }
        let epoch = self.head.epoch;
        // A process that ends well was killed by no input; without this, the notes on inputs that are handled by a later
        // process, which takes no such notes after a clean stop, would stay for ever.
        let forget =
            Statement::new("DELETE FROM attempt WHERE EXISTS (SELECT 1 FROM head WHERE epoch = ?)").bind(epoch);
        let note = Statement::new("UPDATE head SET clean_stop = 1 WHERE epoch = ?").bind(epoch);
        let written = self.connection()?.execute_all(vec![forget, note]).await;
        if self.database.kind() == Kind::Postgres && written.is_ok() {
            // The server notices a closed connection a little later; the next leader need not wait for that.
            self.connection()?.raw("SELECT pg_advisory_unlock_all()").await?;
        }
        if let Some(connection) = self.connection.take() {
            connection.close().await?;
        }
        written
    }

    /// Closes the connection and leaves what was found to the next leader: after an unclean stop nothing says that all is well.
    ///
    /// # Errors
    /// As [`Writer::stop`] has it.
    pub async fn leave(mut self) -> Result<(), JournalError> {
        if self.head.previous_stop_clean {
            return self.stop().await;
        }
        match self.connection.take() {
            Some(connection) => connection.close().await,
            None => Ok(()),
        }
    }

    pub(crate) fn connection(&mut self) -> Result<&mut Connection, JournalError> {
        self.connection.as_mut().ok_or_else(|| JournalError::Unavailable("the writing connection is closed".into()))
    }
}

fn head_of(rows: &[Row]) -> Result<&Row, JournalError> {
    rows.first().ok_or_else(|| JournalError::Decode("the head row is missing".into()))
}

/// Makes the head row with the database, and takes over from the previous leader.
async fn begin_epoch(connection: &mut Connection, kind: Kind, writable_from: &str) -> Result<Head, JournalError> {
    if connection.raw(SELECT_HEAD).await?.is_empty() {
        // The log's name only has to differ from that of any other history of this module: SQLite and PostgreSQL both
        // have a random source, and the writer itself needs none.
        let random = match kind {
            Kind::Sqlite => "SELECT lower(hex(randomblob(16)))",
            Kind::Postgres => "SELECT gen_random_uuid()::TEXT",
        };
        let rows = connection.raw(random).await?;
        let seed: String = rows.first().ok_or_else(|| JournalError::Decode("no random value".into()))?.get(0)?;
        let log_id = format!("log_{}", digest_text(&[seed.as_bytes()], 20));
        let insert = Statement::new(
            "INSERT INTO head (id, epoch, log_id, inbox_end, outbox_end, last_time, clean_stop, writable_from) \
             VALUES (1, 0, ?, 0, 0, 0, 1, ?)",
        );
        connection.execute_all(vec![insert.bind(log_id).bind(writable_from)]).await?;
    }
    let rows = connection.raw(SELECT_HEAD).await?;
    let mut head = Head::from_row(head_of(&rows)?)?;
    head.epoch += 1;
    connection.execute_all(vec![Statement::new("UPDATE head SET epoch = ?, clean_stop = 0").bind(head.epoch)]).await?;
    Ok(head)
}

// === impl Writer: transactions ===

impl Writer {
    /// Opens the transaction and checks that the head row is what this writer left.
    ///
    /// # Errors
    /// [`JournalError::Superseded`] when another leader has written since: stop leading. Call [`Writer::rollback`]
    /// before the next try.
    pub async fn begin(&mut self) -> Result<(), JournalError> {
        if self.in_transaction {
            return Err(JournalError::Statement(
                "a transaction is already open; commit it or roll it back first".into(),
            ));
        }
        let sql = match self.database.kind() {
            Kind::Sqlite => format!("BEGIN IMMEDIATE; {SELECT_HEAD}"),
            Kind::Postgres if head::is_checked() => format!("BEGIN; {SELECT_HEAD} FOR UPDATE"),
            Kind::Postgres => format!("BEGIN; {SELECT_HEAD}"),
        };
        self.failed = None;
        let rows = self.connection()?.raw(&sql).await;
        // Even when it failed: the BEGIN may have been done.
        self.in_transaction = true;
        let held = rows.and_then(|rows| self.head.holds(head_of(&rows)?));
        self.note_failure(held)
    }

    /// Writes everything of the batch and commits. The outbox rows of the batch are returned: they are now the log.
    ///
    /// # Errors
    /// On any error nothing is committed, except [`JournalError::CommitUnknown`]. Call [`Writer::rollback`] afterwards.
    pub async fn commit(&mut self) -> Result<Vec<Envelope>, JournalError> {
        self.check_usable()?;
        match Tear::planted() {
            Some(tear) => self.commit_torn(tear).await,
            None => self.commit_in_one().await,
        }
    }

    pub(crate) async fn commit_in_one(&mut self) -> Result<Vec<Envelope>, JournalError> {
        let mut statements = self.map.flush();
        let mut next = self.head.clone();
        let pending = std::mem::take(&mut self.pending);
        next.inbox_end += pending.inbox.len() as u64;
        next.outbox_end += pending.outbox.len() as u64;
        next.last_time = pending.last_time.unwrap_or(next.last_time).max(next.last_time);
        let first = self.head.inbox_end + 1;
        let outbox = pending.into_statements(first, &mut statements);
        let moved = Statement::new(
            "UPDATE head SET inbox_end = ?, outbox_end = ?, last_time = ? WHERE epoch = ? RETURNING epoch",
        )
        .bind(next.inbox_end)
        .bind(next.outbox_end)
        .bind(next.last_time)
        .bind(self.head.epoch);
        let written = self.write_and_commit(statements, Some(moved)).await;
        self.note_failure(written)?;
        self.in_transaction = false;
        self.head = next;
        self.map.committed();
        Ok(outbox)
    }

    /// A commit whose answer is lost is told apart from a refused statement, because only the former may have happened.
    /// On SQLite the writes and the commit are one call, so there every loss of the file or its thread counts as the former.
    ///
    /// `head` moves the head row. On PostgreSQL it must find it: another leader may have come since the transaction began
    /// without its lock. On SQLite nobody else can write meanwhile.
    pub(crate) async fn write_and_commit(
        &mut self,
        mut statements: Vec<Statement>,
        head: Option<Statement>,
    ) -> Result<(), JournalError> {
        let (kind, ours) = (self.database.kind(), self.head.epoch);
        let connection = self.connection()?;
        reach(Failpoint::OutboxBefore).await?;
        // With faults the two are apart on SQLite as well, so that something can happen between them.
        let in_one_call = kind == Kind::Sqlite && !pangaea_faults::is_active();
        let committed = if in_one_call {
            statements.extend(head);
            statements.push(Statement::new("COMMIT"));
            connection.execute_all(statements).await
        } else {
            connection.execute_all(statements).await?;
            if let Some(head) = head
                && connection.fetch(&head).await?.is_empty()
                && head::is_guarded()
            {
                let found = Head::from_row(head_of(&connection.raw(SELECT_HEAD).await?)?)?.epoch;
                return Err(JournalError::Superseded { ours, found });
            }
            reach(Failpoint::OutboxAfter).await?;
            reach(Failpoint::CommitBefore).await?;
            connection.raw("COMMIT").await.map(drop)
        };
        let answered = match committed {
            Ok(()) => reach(Failpoint::CommitAfter).await.map_err(JournalError::from),
            Err(error) => Err(error),
        };
        answered.map_err(|error| match error {
            JournalError::Unavailable(reason) => JournalError::CommitUnknown(reason),
            other => other,
        })
    }

    /// Drops the batch: the transaction, and all that was read or changed in it.
    ///
    /// # Errors
    /// When the connection is gone; [`Writer::reconnect`] then.
    pub async fn rollback(&mut self) -> Result<(), JournalError> {
        self.drop_batch();
        match self.connection()?.raw("ROLLBACK").await {
            // SQLite ends the transaction by itself on some errors.
            Err(JournalError::Statement(reason)) if reason.contains("no transaction is active") => Ok(()),
            other => other.map(drop),
        }
    }

    /// Opens a new writing connection after the old one broke, and takes over from whatever it left.
    ///
    /// # Errors
    /// When the database still cannot be reached, or [`JournalError::Superseded`] when another has led meanwhile.
    pub async fn reconnect(&mut self) -> Result<(), JournalError> {
        self.drop_batch();
        if let Some(old @ Connection::Sqlite(_)) = self.connection.take() {
            // Its thread may still hold the write lock; an error means that it does not.
            let _ = old.close().await;
        }
        let mut connection = match self.database.lead_again().await {
            // Nothing here is for good: the place was understood and opened before.
            Err(JournalError::Open { url, reason }) => {
                return Err(JournalError::Unavailable(format!("{url}: {reason}")));
            }
            Err(JournalError::Locked { what }) => return Err(self.locked_out(what).await),
            other => other?,
        };
        let found = Head::from_row(head_of(&connection.raw(SELECT_HEAD).await?)?)?;
        if found.epoch != self.head.epoch {
            return Err(JournalError::Superseded { ours: self.head.epoch, found: found.epoch });
        }
        self.head = Head { previous_stop_clean: false, ..found };
        self.connection = Some(connection);
        Ok(())
    }

    /// Who holds the lock: another leader, or still the session of the connection that broke? The server lets go of the
    /// latter when it notices, so that passes.
    async fn locked_out(&self, what: String) -> JournalError {
        match self.database.head().await {
            Ok(Some(found)) if found.epoch != self.head.epoch => {
                JournalError::Superseded { ours: self.head.epoch, found: found.epoch }
            }
            Ok(_) => JournalError::Unavailable(format!("{what} is still locked, perhaps by the session that broke")),
            Err(error) => error,
        }
    }

    fn drop_batch(&mut self) {
        self.map.clear();
        self.pending = Pending::default();
        self.in_transaction = false;
        self.failed = None;
    }

    pub(crate) fn note_failure<T>(&mut self, result: Result<T, JournalError>) -> Result<T, JournalError> {
        if let Err(error) = &result
            && self.failed.is_none()
        {
            self.failed = Some(error.to_string());
        }
        result
    }

    pub(crate) fn check_usable(&self) -> Result<(), JournalError> {
        if let Some(reason) = &self.failed {
            return Err(JournalError::Statement(format!("this transaction has failed, roll it back: {reason}")));
        }
        if !self.in_transaction {
            return Err(JournalError::Statement("no transaction is open; begin one first".into()));
        }
        Ok(())
    }
}
