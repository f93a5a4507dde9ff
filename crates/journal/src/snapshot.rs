//! A module's whole database as of one commit, read page by page while its leader goes on.

use pangaea_contracts::{Envelope, Timestamp};

use crate::connection::Connection;
use crate::contents::{is_own, shadow_of};
use crate::head::SELECT_HEAD;
use crate::lineage::{Halving, History, admitted};
use crate::rows::{INBOX_SELECT, OUTBOX_SELECT, outbox_envelope};
use crate::{Admitted, Column, ColumnType, Database, Head, JournalError, Kind, Row, Statement, Value};

/// One transaction that only reads: everything in it is of one moment. It lasts until it is dropped or closed; SQLite's
/// write-ahead log and PostgreSQL's dead rows are kept as long, so it is for tools that come to an end.
pub struct Snapshot {
    connection: Connection,
    kind: Kind,
    module: String,
    head: Head,
    knows_asked: bool,
}

/// A table of the module's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableShape {
    pub table: String,
    /// In the order in which the table has them.
    pub columns: Vec<String>,
    /// Positions in `columns` of what makes the primary key; of all columns where there is none.
    pub key: Vec<usize>,
    /// Which columns are texts.
    is_text: Vec<bool>,
    has_key: bool,
}

/// An input as it was handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handled {
    pub admitted: Admitted,
    /// The timers and effects that it asked for, as they were given to [`Writer::append_inbox`](crate::Writer); empty: none.
    /// `None` where a release handled it that did not write it down.
    pub asked: Option<String>,
}

/// Where the reading of a table stands.
#[derive(Debug, Default)]
pub struct TablePlace {
    after: Option<Vec<Value>>,
    is_open: bool,
}

// === impl Database ===

impl Database {
    /// Begins a snapshot of what is committed now.
    ///
    /// # Errors
    /// When the database cannot be read, or has no journal.
    pub async fn snapshot(&self) -> Result<Snapshot, JournalError> {
        let mut connection = self.connect_to_read().await?;
        if self.kind() == Kind::Sqlite {
            connection.raw("PRAGMA query_only = on").await?;
        }
        let head = begin(&mut connection, self.kind()).await?;
        let (kind, module) = (self.kind(), self.module().to_owned());
        let mut snapshot = Snapshot { connection, kind, module, head, knows_asked: false };
        snapshot.knows_asked = snapshot.has_asked().await?;
        Ok(snapshot)
    }
}

/// The moment, and the head row at it.
async fn begin(connection: &mut Connection, kind: Kind) -> Result<Head, JournalError> {
    let begin = match kind {
        Kind::Sqlite => "BEGIN",
        Kind::Postgres => {
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
             SET LOCAL idle_in_transaction_session_timeout = '10min'"
        }
    };
    // The first read fixes the moment.
    let rows = connection.raw(&format!("{begin}; {SELECT_HEAD}")).await?;
    let head = rows.first().map(Head::from_row).transpose()?;
    head.ok_or_else(|| JournalError::Decode("no store has ever run on this database".to_owned()))
}

// === impl Snapshot: its moment ===

impl Snapshot {
    /// Ends the moment and keeps the session, which then keeps nothing in the database from going. What is read next is of
    /// the moment that [`Snapshot::renew`] begins.
    ///
    /// # Errors
    /// When the session is gone.
    pub async fn rest(&mut self) -> Result<(), JournalError> {
        self.connection.raw("ROLLBACK").await.map(drop)
    }

    /// Begins again with what is committed now, after [`Snapshot::rest`].
    ///
    /// # Errors
    /// When the session is gone, or the database cannot be read.
    pub async fn renew(&mut self) -> Result<(), JournalError> {
        let head = begin(&mut self.connection, self.kind).await?;
        let is_led_by_another = head.epoch != self.head.epoch;
        self.head = head;
        // Who leads now may be of another release, and have brought the column with it.
        if is_led_by_another {
            self.knows_asked = self.has_asked().await?;
        }
        Ok(())
    }

    async fn has_asked(&mut self) -> Result<bool, JournalError> {
        Ok(self.columns_of("inbox").await?.iter().any(|(name, _)| name == "asked"))
    }
}

// === impl Snapshot: the histories ===

impl Snapshot {
    pub fn module(&self) -> &str {
        &self.module
    }

    /// Ends of inbox and outbox are those of the snapshot.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The inputs from this position on, in order, at most `limit`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn inbox_from(&mut self, position: u64, limit: usize) -> Result<Vec<Handled>, JournalError> {
        let rows = self.connection.fetch(&select_handled(self.knows_asked, position, limit)).await?;
        rows.iter().map(|row| handled(row, self.knows_asked)).collect()
    }

    /// The first position of the inbox that was admitted at `at` or later; one behind its end when there is none.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn inbox_position_at(&mut self, at: Timestamp) -> Result<u64, JournalError> {
        let mut search = Halving::new(History::Inbox, &self.head, at);
        while let Some(question) = search.question() {
            search.answer(&self.connection.fetch(&question).await?)?;
        }
        Ok(search.position())
    }

    /// Messages of the log after `after`, in order, at most `limit`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn outbox_after(&mut self, after: u64, limit: usize) -> Result<Vec<Envelope>, JournalError> {
        let rows = self.connection.fetch(&select_messages(after, limit)).await?;
        rows.iter().map(|row| outbox_envelope(row, &self.module, &self.head.log_id)).collect()
    }

    /// # Errors
    /// When the session cannot be ended in order; it is gone all the same.
    pub async fn close(mut self) -> Result<(), JournalError> {
        self.connection.raw("ROLLBACK").await?;
        self.connection.close().await
    }
}

pub(crate) fn select_handled(knows_asked: bool, position: u64, limit: usize) -> Statement {
    let asked = if knows_asked { ", asked FROM inbox" } else { " FROM inbox" };
    let select = INBOX_SELECT.replace(" FROM inbox", asked);
    Statement::new(format!("{select} WHERE position >= ? ORDER BY position LIMIT {limit}")).bind(position)
}

pub(crate) fn handled(row: &Row, knows_asked: bool) -> Result<Handled, JournalError> {
    let asked = if knows_asked { row.get(15)? } else { None };
    Ok(Handled { admitted: admitted(row)?, asked })
}

pub(crate) fn select_messages(after: u64, limit: usize) -> Statement {
    Statement::new(format!("{OUTBOX_SELECT} WHERE position > ? ORDER BY position LIMIT {limit}")).bind(after)
}

// === impl Snapshot: the tables ===

impl Snapshot {
    /// The names of the migrations that made the tables, in no order.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn migrations(&mut self) -> Result<Vec<String>, JournalError> {
        let rows = self.connection.raw("SELECT name FROM migration").await?;
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Every table but the journal's own, by name.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn tables(&mut self) -> Result<Vec<TableShape>, JournalError> {
        let sql = match self.kind {
            Kind::Sqlite => "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
            Kind::Postgres => {
                "SELECT CAST(table_name AS TEXT) FROM information_schema.tables \
                 WHERE table_schema = current_schema() AND table_type = 'BASE TABLE'"
            }
        };
        let rows = self.connection.fetch(&Statement::new(sql)).await?;
        let mut names: Vec<String> = rows.iter().map(|row| row.get(0)).collect::<Result<_, _>>()?;
        names.retain(|name| !is_own(name));
        names.sort();
        let mut shapes = Vec::with_capacity(names.len());
        for table in names {
            let (columns, is_text): (Vec<String>, Vec<bool>) = self.columns_of(&table).await?.into_iter().unzip();
            let key = self.key_of(&table).await?;
            let position = |name: &String| columns.iter().position(|column| column == name);
            let key: Vec<usize> = key.iter().filter_map(position).collect();
            let has_key = !key.is_empty();
            let key = if has_key { key } else { (0..columns.len()).collect() };
            shapes.push(TableShape { table, columns, key, is_text, has_key });
        }
        Ok(shapes)
    }

    /// The next rows of a table by its primary key, integers by value and texts by their bytes, at most `limit`. None: it
    /// has been read to its end. One table is read at a time.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn rows(
        &mut self,
        shape: &TableShape,
        place: &mut TablePlace,
        limit: usize,
    ) -> Result<Vec<Vec<Value>>, JournalError> {
        let rows = match self.kind {
            Kind::Sqlite => self.rows_after(shape, place.after.take(), limit).await?,
            Kind::Postgres => {
                if !std::mem::replace(&mut place.is_open, true) {
                    // An index orders texts by the database's collation, so this sorts: once, and not for every page.
                    let sql = format!(
                        "CLOSE ALL; DECLARE place NO SCROLL CURSOR FOR SELECT {} FROM {} ORDER BY {}",
                        shape.columns.join(", "),
                        shape.table,
                        shape.key_order("COLLATE \"C\"")
                    );
                    self.connection.raw(&sql).await?;
                }
                self.connection.raw(&format!("FETCH {limit} FROM place")).await?
            }
        };
        let rows: Vec<Vec<Value>> = rows.into_iter().map(|row| row.0).collect();
        place.after = rows.last().map(|row| shape.key_in(row));
        Ok(rows)
    }

    async fn rows_after(
        &mut self,
        shape: &TableShape,
        after: Option<Vec<Value>>,
        limit: usize,
    ) -> Result<Vec<Row>, JournalError> {
        let mut select = Statement::new(format!("SELECT {} FROM {}", shape.columns.join(", "), shape.table));
        if let Some(after) = after {
            let names = shape.key_names();
            let marks = vec!["?"; after.len()].join(", ");
            select = select.and(&format!("WHERE ({}) > ({marks})", names.join(", ")));
            for value in after {
                select = select.bind(value);
            }
        }
        let select = select.and(&format!("ORDER BY {} LIMIT {limit}", shape.key_order("")));
        self.connection.fetch(&select).await
    }

    /// Names, and whether each is a text.
    async fn columns_of(&mut self, table: &str) -> Result<Vec<(String, bool)>, JournalError> {
        let sql = match self.kind {
            Kind::Sqlite => "SELECT name, CAST(upper(type) = 'TEXT' AS BIGINT) FROM pragma_table_info(?) ORDER BY cid",
            Kind::Postgres => {
                "SELECT CAST(column_name AS TEXT), CAST(data_type = 'text' AS INT) FROM information_schema.columns \
                 WHERE table_schema = current_schema() AND table_name = ? ORDER BY ordinal_position"
            }
        };
        let rows = self.connection.fetch(&Statement::new(sql).bind(table)).await?;
        rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
    }

    async fn key_of(&mut self, table: &str) -> Result<Vec<String>, JournalError> {
        let sql = match self.kind {
            Kind::Sqlite => "SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk",
            Kind::Postgres => {
                "SELECT CAST(a.attname AS TEXT) FROM pg_index i JOIN pg_attribute a \
                 ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey) \
                 WHERE i.indisprimary AND i.indrelid = to_regclass(?) \
                 ORDER BY array_position(CAST(i.indkey AS INT2[]), a.attnum)"
            }
        };
        let rows = self.connection.fetch(&Statement::new(sql).bind(table)).await?;
        rows.iter().map(|row| String::from_value(&row.0[0])).collect()
    }
}

// === impl TableShape ===

impl TableShape {
    /// Whether a shadow can take its place.
    ///
    /// # Errors
    /// Says what is in the way.
    pub fn can_be_shadowed(&self) -> Result<(), String> {
        // PostgreSQL cuts longer names off.
        const NAME_BYTES_MAX: usize = 63;
        if !self.has_key {
            return Err(format!("the table {} has no primary key, so its rows cannot be told apart", self.table));
        }
        if shadow_of(&self.table).len() > NAME_BYTES_MAX {
            return Err(format!("the name of the table {} is too long to have a shadow beside it", self.table));
        }
        Ok(())
    }

    pub fn key_names(&self) -> Vec<&str> {
        self.key.iter().map(|column| self.columns[*column].as_str()).collect()
    }

    /// The key of one of its rows.
    pub fn key_in(&self, row: &[Value]) -> Vec<Value> {
        self.key.iter().map(|column| row[*column].clone()).collect()
    }

    pub(crate) fn is_text(&self, column: &str) -> bool {
        self.kind_of(column) == ColumnType::Text
    }

    /// A null has a type on PostgreSQL, and none where it comes from.
    pub(crate) fn typed(&self, row: &[Value]) -> Vec<Value> {
        let typed = |(value, column): (&Value, &String)| match value.is_null() {
            true => Value::null(self.kind_of(column)),
            false => value.clone(),
        };
        row.iter().zip(&self.columns).map(typed).collect()
    }

    pub(crate) fn kind_of(&self, column: &str) -> ColumnType {
        let position = self.columns.iter().position(|known| known == column);
        let is_text = position.is_none_or(|position| self.is_text[position]);
        if is_text { ColumnType::Text } else { ColumnType::Int }
    }

    fn key_order(&self, text_collation: &str) -> String {
        let column = |column: &usize| {
            let name = &self.columns[*column];
            if self.is_text[*column] { format!("{name} {text_collation}") } else { name.clone() }
        };
        self.key.iter().map(column).collect::<Vec<_>>().join(", ")
    }
}
