//! What a handler does on the [`Writer`]: rows by key, and SQL past them.

use crate::identity_map::{insert_rows, where_key_in};
use crate::record::Table;
use crate::{IntoKey, JournalError, Mark, Record, Row, RowChange, Statement, TableShape, Value, Writer};

impl Writer {
    /// # Errors
    /// When the row cannot be read.
    pub async fn get<R: Record>(&mut self, key: impl IntoKey) -> Result<Option<R>, JournalError> {
        let key = key.into_key();
        let checked = self.map.check_type::<R>();
        self.note_failure(checked)?;
        if let Some(known) = self.map.get::<R>(&key) {
            return Ok(known);
        }
        self.load::<R>(std::slice::from_ref(&key)).await?;
        Ok(self.map.get::<R>(&key).flatten())
    }

    /// Reads the rows of many keys with one statement per few hundred keys; those already known cost nothing.
    ///
    /// # Errors
    /// When the rows cannot be read.
    pub async fn prefetch<R: Record>(
        &mut self,
        keys: impl IntoIterator<Item = Vec<Value>>,
    ) -> Result<(), JournalError> {
        const KEYS_PER_STATEMENT_MAX: usize = 500;
        let mut unknown: Vec<Vec<Value>> = keys.into_iter().filter(|key| !self.map.knows(R::TABLE, key)).collect();
        unknown.sort();
        unknown.dedup();
        for keys in unknown.chunks(KEYS_PER_STATEMENT_MAX) {
            self.load::<R>(keys).await?;
        }
        Ok(())
    }

    pub fn put<R: Record>(&mut self, row: R) {
        let key = row.to_values().into_iter().take(R::KEY_COLUMNS).collect();
        self.write(key, Some(row));
    }

    pub fn delete<R: Record>(&mut self, key: impl IntoKey) {
        self.write::<R>(key.into_key(), None);
    }

    fn write<R: Record>(&mut self, key: Vec<Value>, row: Option<R>) {
        let checked = self.map.check_type::<R>();
        // Nothing can be returned here; the commit refuses.
        if self.note_failure(checked).is_ok() {
            self.map.write(key, row);
        }
    }

    /// The way out for what rows by key cannot say: flushes what has changed, then runs the statement in the same
    /// transaction. The map forgets what it knew, because the statement may have written.
    ///
    /// Changes that it has flushed, and those of the statement, cannot be taken back by [`Writer::rollback_to`].
    ///
    /// # Errors
    /// When the database refuses the statement or a row, or no transaction is open.
    pub async fn sql(&mut self, statement: Statement) -> Result<Vec<Row>, JournalError> {
        self.check_usable()?;
        let flushed = self.map.flush();
        self.map.forget();
        if !statement.only_reads() {
            self.map.changed_outside();
        }
        let connection = self.connection()?;
        let written = if flushed.is_empty() { Ok(()) } else { connection.execute_all(flushed).await };
        let rows = match written {
            Ok(()) => connection.fetch(&statement).await,
            Err(error) => Err(error),
        };
        self.note_failure(rows)
    }

    /// Puts rows into a table, in a transaction of their own: the state that a replay begins with. The shape is this
    /// database's own, see [`Snapshot::tables`](crate::Snapshot::tables); `columns` are the ones that the rows have.
    ///
    /// # Errors
    /// When the table has no such column, or the rows do not fit.
    pub async fn load_rows(
        &mut self,
        shape: &TableShape,
        columns: &[String],
        rows: Vec<Vec<Value>>,
    ) -> Result<(), JournalError> {
        let table = &shape.table;
        // Names become SQL, so none is taken from outside.
        if let Some(unknown) = columns.iter().find(|column| !shape.columns.contains(column)) {
            return Err(JournalError::Statement(format!("the table {table} has no column {unknown}")));
        }
        if rows.iter().any(|row| row.len() != columns.len()) {
            return Err(JournalError::Statement(format!("a row of {table} has not {} values", columns.len())));
        }
        // A null has a type on PostgreSQL, and none where it comes from.
        let kinds: Vec<_> = columns.iter().map(|column| shape.kind_of(column)).collect();
        let typed = |row: Vec<Value>| {
            let values = row.into_iter().zip(&kinds);
            values.map(|(value, kind)| if value.is_null() { Value::null(*kind) } else { value }).collect()
        };
        let rows = rows.into_iter().map(typed).collect();
        self.begin().await?;
        let head = format!("INSERT INTO {table} ({})", columns.join(", "));
        let mut statements = insert_rows(&head, columns.len(), rows, "");
        statements.push(Statement::new("COMMIT"));
        let loaded = self.connection()?.execute_all(statements).await;
        if loaded.is_err() {
            self.rollback().await?;
        }
        self.in_transaction = false;
        self.map.clear();
        loaded
    }

    /// Where the changes of rows stand now. The journal's own rows (inbox, outbox, timers …) are not part of it.
    pub fn mark(&self) -> Mark {
        self.map.mark()
    }

    pub fn changed_since(&self, mark: Mark) -> bool {
        self.map.changed_since(mark)
    }

    /// What has happened to rows since `mark`, in the order of tables and keys. What [`Writer::sql`] did is not seen.
    pub fn changes_since(&self, mark: Mark) -> Vec<RowChange> {
        self.map.changes_since(mark)
    }

    /// Whether [`Writer::rollback_to`] can take back everything since `mark`: not when [`Writer::sql`] has sent changes
    /// to the database since. Then only [`Writer::rollback`] can.
    pub fn can_roll_back_to(&self, mark: Mark) -> bool {
        self.map.can_roll_back_to(mark)
    }

    /// Takes back every change of rows since `mark`. Where that cannot be done, see [`Writer::can_roll_back_to`], the
    /// whole transaction is spoilt and [`Writer::commit`] refuses.
    pub fn rollback_to(&mut self, mark: Mark) {
        if !self.map.can_roll_back_to(mark) {
            let reason = "changes that were sent to the database by sql() cannot be taken back one input at a time";
            let _: Result<(), _> = self.note_failure(Err(JournalError::Statement(reason.into())));
        }
        self.map.rollback_to(mark);
    }

    async fn load<R: Record>(&mut self, keys: &[Vec<Value>]) -> Result<(), JournalError> {
        let table = Table::of::<R>();
        let select = Statement::new(format!("SELECT {} FROM {}", table.columns.join(", "), table.name));
        let statement = where_key_in(select, &table.columns[..table.key_columns], keys);
        let rows = self.connection()?.fetch(&statement).await;
        let rows = self.note_failure(rows)?;
        let mut records = Vec::with_capacity(rows.len());
        for row in rows {
            let record = R::from_row(&row)?;
            records.push((row.0[..table.key_columns].to_vec(), record));
        }
        for key in keys {
            self.map.learn::<R>(key.clone(), None);
        }
        for (key, record) in records {
            self.map.learn(key, Some(record));
        }
        Ok(())
    }
}
