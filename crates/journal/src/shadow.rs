//! Tables that are built beside a module's own, and put in their place in one transaction.
//!
//! A shadow has the columns and the key of its table and none of its checks: those are asked when its rows take their place.
//! It is no part of the module's state, and what a rebuild that was broken off leaves is dropped by the next one.

use std::collections::HashSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::contents::{SHADOW_SUFFIX, shadow_of};
use crate::identity_map::{delete_rows, insert_rows, where_key_in};
use crate::snapshot::handled;
use crate::{Handled, JournalError, Kind, Statement, TableShape, Value, Writer};

/// Some rows on their way into a shadow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShadowRows {
    pub shape: Arc<TableShape>,
    /// In the order of the shape's columns. One of the same key is replaced.
    pub rows: Vec<Vec<Value>>,
    /// Keys without a row.
    pub gone: Vec<Vec<Value>>,
}

/// What a table was, and what it is since its shadow took its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableChange {
    pub table: String,
    pub rows_before: u64,
    pub rows_after: u64,
    /// Rows of the same key that are others now.
    pub changed: u64,
    pub added: u64,
    pub removed: u64,
}

// === impl Writer: shadows ===

impl Writer {
    /// Makes an empty shadow of each table in the open transaction, and drops all that are left of a rebuild before.
    ///
    /// # Errors
    /// When a table has no primary key, or the database refuses.
    pub async fn make_shadows(&mut self, shapes: &[Arc<TableShape>]) -> Result<(), JournalError> {
        self.drop_shadows().await?;
        for shape in shapes {
            let shape_is_sound = shape.can_be_shadowed().map_err(JournalError::Statement);
            self.note_failure(shape_is_sound)?;
            self.run(Statement::new(create(shape))).await?;
        }
        Ok(())
    }

    /// Drops every shadow in the open transaction.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn drop_shadows(&mut self) -> Result<(), JournalError> {
        for table in self.shadows().await? {
            self.run(Statement::new(format!("DROP TABLE {table}"))).await?;
        }
        Ok(())
    }

    /// Whether each of these tables has a shadow, as the open transaction sees it.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn has_shadows(&mut self, shapes: &[Arc<TableShape>]) -> Result<bool, JournalError> {
        let shadows = self.shadows().await?;
        Ok(shapes.iter().all(|shape| shadows.contains(&shadow_of(&shape.table))))
    }

    /// Puts rows into a shadow in the open transaction.
    ///
    /// # Errors
    /// When there is no such shadow, or the rows do not fit.
    pub async fn fill_shadow(&mut self, filling: &ShadowRows) -> Result<(), JournalError> {
        self.check_usable()?;
        let shape = &filling.shape;
        let (shadow, keys) = (shadow_of(&shape.table), shape.key_names());
        let others = shape.columns.iter().filter(|column| !keys.contains(&column.as_str()));
        let updates: Vec<String> = others.map(|column| format!("{column} = excluded.{column}")).collect();
        let action = if updates.is_empty() { "NOTHING".into() } else { format!("UPDATE SET {}", updates.join(", ")) };
        let head = format!("INSERT INTO {shadow} ({})", shape.columns.join(", "));
        let tail = format!(" ON CONFLICT ({}) DO {action}", keys.join(", "));
        let rows = filling.rows.iter().map(|row| shape.typed(row)).collect();
        let mut statements = delete_rows(&shadow, &keys, filling.gone.clone());
        statements.extend(insert_rows(&head, shape.columns.len(), rows, &tail));
        let filled = match statements.is_empty() {
            true => Ok(()),
            false => self.connection()?.execute_all(statements).await,
        };
        self.note_failure(filled)
    }

    /// Makes a table hold what its shadow holds, and drops the shadow, in the open transaction.
    ///
    /// Only rows that differ are written, so that a transaction that began before goes on reading what it read: a table that
    /// takes the name of another would be empty to it on PostgreSQL.
    ///
    /// # Errors
    /// When there is no such shadow, or its rows break a rule of the table's.
    pub async fn swap_shadow(&mut self, shape: &TableShape) -> Result<TableChange, JournalError> {
        let (table, shadow) = (&shape.table, shadow_of(&shape.table));
        let pairs = |op: &str, columns: &[&str]| -> Vec<String> {
            columns.iter().map(|column| format!("{table}.{column} {op} {shadow}.{column}")).collect()
        };
        let keys = shape.key_names();
        let same_key = pairs("=", &keys).join(" AND ");
        let others: Vec<&str> = shape.columns.iter().map(String::as_str).filter(|name| !keys.contains(name)).collect();
        let of_key = |from: &str| format!("SELECT 1 FROM {from} WHERE {same_key}");

        let removed = self.run(Statement::new(format!("DELETE FROM {table} WHERE NOT EXISTS ({})", of_key(&shadow))));
        let removed = removed.await?;
        let mut changed = 0;
        if !others.is_empty() {
            let differs = pairs("IS DISTINCT FROM", &others).join(" OR ");
            let delete = format!("DELETE FROM {table} WHERE EXISTS ({} AND ({differs}))", of_key(&shadow));
            changed = self.run(Statement::new(delete)).await?;
        }
        let columns = shape.columns.join(", ");
        let missing = format!(
            "INSERT INTO {table} ({columns}) SELECT {columns} FROM {shadow} WHERE NOT EXISTS ({})",
            of_key(table)
        );
        let added = self.run(Statement::new(missing)).await? - changed;
        let rows = self.read(Statement::new(format!("SELECT COUNT(*) FROM {shadow}"))).await?;
        let rows_after: u64 = rows.first().map_or(Ok(0), |row| row.get(0))?;
        self.run(Statement::new(format!("DROP TABLE {shadow}"))).await?;
        // What the map knows of the table is no longer so.
        self.map.forget();
        self.map.changed_outside();
        let rows_before = rows_after + removed - added;
        Ok(TableChange { table: table.clone(), rows_before, rows_after, changed, added, removed })
    }

    async fn shadows(&mut self) -> Result<Vec<String>, JournalError> {
        let sql = match self.database.kind() {
            Kind::Sqlite => "SELECT name FROM sqlite_master WHERE type = 'table'",
            Kind::Postgres => {
                "SELECT CAST(table_name AS TEXT) FROM information_schema.tables \
                 WHERE table_schema = current_schema() AND table_type = 'BASE TABLE'"
            }
        };
        let rows = self.read(Statement::new(sql)).await?;
        let names: Result<Vec<String>, _> = rows.iter().map(|row| row.get(0)).collect();
        Ok(names?.into_iter().filter(|name| name.ends_with(SHADOW_SUFFIX)).collect())
    }

    async fn run(&mut self, statement: Statement) -> Result<u64, JournalError> {
        self.check_usable()?;
        let ran = self.connection()?.execute_counted(&statement).await;
        self.note_failure(ran)
    }

    async fn read(&mut self, statement: Statement) -> Result<Vec<crate::Row>, JournalError> {
        self.check_usable()?;
        let read = self.connection()?.fetch(&statement).await;
        self.note_failure(read)
    }
}

fn create(shape: &TableShape) -> String {
    let column = |name: &String| format!("{name} {}", if shape.is_text(name) { "TEXT" } else { "BIGINT" });
    let columns: Vec<String> = shape.columns.iter().map(column).collect();
    let shadow = shadow_of(&shape.table);
    format!("CREATE TABLE {shadow} ({}, PRIMARY KEY ({}))", columns.join(", "), shape.key_names().join(", "))
}

// === impl Writer: the newest of the history ===

impl Writer {
    /// The inputs from this position on as the open transaction sees them, in order, at most `limit`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn inbox_from(&mut self, position: u64, limit: usize) -> Result<Vec<Handled>, JournalError> {
        let rows = self.read(crate::snapshot::select_handled(true, position, limit)).await?;
        rows.iter().map(|row| handled(row, true)).collect()
    }

    /// Messages of the log after `after` as the open transaction sees them, in order, at most `limit`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn outbox_after(
        &mut self,
        after: u64,
        limit: usize,
    ) -> Result<Vec<pangaea_contracts::Envelope>, JournalError> {
        let rows = self.read(crate::snapshot::select_messages(after, limit)).await?;
        let (module, log_id) = (self.database.module(), &self.head.log_id);
        rows.iter().map(|row| crate::rows::outbox_envelope(row, module, log_id)).collect()
    }
}

// === impl Writer: what changes in a scratch database ===

impl Writer {
    /// Notes from now on the key of every row of these tables that changes, whoever changes it and how: triggers see what
    /// rows by key do not. For a scratch database on SQLite, between two transactions.
    ///
    /// # Errors
    /// When the database is not SQLite, or refuses.
    pub async fn note_changes(&mut self, shapes: &[Arc<TableShape>]) -> Result<(), JournalError> {
        if self.database.kind() != Kind::Sqlite {
            return Err(JournalError::Statement("changes are noted on SQLite only".to_owned()));
        }
        let sql: String = shapes.iter().map(|shape| notes_of(shape)).collect();
        self.connection()?.raw(&sql).await.map(drop)
    }

    /// Rows of a table that have changed and whose notes are still kept, as they are now, at most `limit`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn noted_changes(&mut self, shape: &Arc<TableShape>, limit: u64) -> Result<ShadowRows, JournalError> {
        let keys = shape.key_names();
        let select = format!("SELECT {} FROM {} LIMIT ?", keys.join(", "), shadow_of(&shape.table));
        let changed = self.connection()?.fetch(&Statement::new(select).bind(limit)).await?;
        let changed: Vec<Vec<Value>> = changed.into_iter().map(|row| row.0).collect();
        let mut rows = Vec::with_capacity(changed.len());
        for part in changed.chunks(KEYS_PER_STATEMENT_MAX) {
            let select = Statement::new(format!("SELECT {} FROM {}", shape.columns.join(", "), shape.table));
            rows.extend(
                self.connection()?.fetch(&where_key_in(select, &keys, part)).await?.into_iter().map(|row| row.0),
            );
        }
        let there: HashSet<Vec<Value>> = rows.iter().map(|row| shape.key_in(row)).collect();
        let gone = changed.into_iter().filter(|key| !there.contains(key)).collect();
        Ok(ShadowRows { shape: shape.clone(), rows, gone })
    }

    /// Forgets the notes on these rows: they have arrived where they were wanted.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn forget_changes(&mut self, changes: &ShadowRows) -> Result<(), JournalError> {
        let shape = &changes.shape;
        let keys = changes.rows.iter().map(|row| shape.key_in(row)).chain(changes.gone.iter().cloned()).collect();
        self.connection()?.execute_all(delete_rows(&shadow_of(&shape.table), &shape.key_names(), keys)).await
    }
}

const KEYS_PER_STATEMENT_MAX: usize = 500;

/// A conflict clause in a trigger gives way to that of the statement that fires it, so each asks before it inserts.
fn notes_of(shape: &TableShape) -> String {
    let (table, notes, keys) = (&shape.table, shadow_of(&shape.table), shape.key_names());
    let columns: Vec<String> =
        keys.iter().map(|key| format!("{key} {}", if shape.is_text(key) { "TEXT" } else { "BIGINT" })).collect();
    let note = |of: &str| {
        let values: Vec<String> = keys.iter().map(|key| format!("{of}.{key}")).collect();
        let known: Vec<String> = keys.iter().map(|key| format!("{key} IS {of}.{key}")).collect();
        format!(
            "INSERT INTO {notes} SELECT {} WHERE NOT EXISTS (SELECT 1 FROM {notes} WHERE {});",
            values.join(", "),
            known.join(" AND ")
        )
    };
    let (old, new) = (note("OLD"), note("NEW"));
    format!(
        "CREATE TABLE {notes} ({}, PRIMARY KEY ({}));\n\
         CREATE TRIGGER {notes}_insert AFTER INSERT ON {table} BEGIN {new} END;\n\
         CREATE TRIGGER {notes}_update AFTER UPDATE ON {table} BEGIN {old} {new} END;\n\
         CREATE TRIGGER {notes}_delete AFTER DELETE ON {table} BEGIN {old} END;\n",
        columns.join(", "),
        keys.join(", ")
    )
}

// === impl TableChange ===

impl TableChange {
    /// Whether the table is as it was.
    pub fn is_none(&self) -> bool {
        self.changed == 0 && self.added == 0 && self.removed == 0
    }
}
