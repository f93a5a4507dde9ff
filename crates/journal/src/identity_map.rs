use std::any::{Any, TypeId};
use std::collections::{BTreeMap, BTreeSet};

use crate::record::{AnyRecord, Table};
use crate::statement::padded;
use crate::{JournalError, Record, Statement, Value};

/// Rows of one generation, at most, beside those of one batch. Two are kept between batches, and after the commit that fills
/// the younger the older goes: so what a saga under way needs stays, and no clock or list of uses has to be kept for it.
/// Emptying the whole map at a bound was tried and rejected: every saga under way then reads its rows again.
const GENERATION_ROWS_MAX: usize = 2_500;
/// Values in one statement, at most: SQLite takes 32,766, PostgreSQL 65,535.
const VALUES_PER_STATEMENT_MAX: usize = 16_000;

/// A place in the history of the transaction's changes, to go back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(usize);

/// The rows this writer knows, by table and key, with what has changed since the last flush.
///
/// A row that is known to be absent is kept too. Because there is one writer, what the map holds *is* what the database
/// holds, plus the changes to be flushed; so rows stay from batch to batch. Every change records what it replaced, so that
/// one input's changes can be taken back without touching the database.
#[derive(Default)]
pub(crate) struct IdentityMap {
    tables: BTreeMap<&'static str, TableRows>,
    undo: Vec<Undo>,
    /// Changes that are in the database already and cannot be taken back here. They count in a [`Mark`], so that a mark
    /// made before a flush still tells whether anything has changed since.
    settled: usize,
    /// Rows of the younger generation, of all tables.
    young: usize,
}

type Rows = BTreeMap<Vec<Value>, Option<Box<dyn AnyRecord>>>;

struct TableRows {
    table: Table,
    record: TypeId,
    /// The younger generation: what was read or changed since the last change of generations.
    rows: Rows,
    /// The older one. No key is in both.
    older: Rows,
    dirty: BTreeSet<Vec<Value>>,
}

/// What an input did to one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowChange {
    pub table: &'static str,
    pub columns: &'static [&'static str],
    /// Values by column; `None`: there was no such row, or none is known to have been.
    pub before: Option<Vec<Value>>,
    /// `None`: it was removed.
    pub after: Option<Vec<Value>>,
}

struct Undo {
    table: &'static str,
    key: Vec<Value>,
    /// `None` when the key was not known: after taking back, it is unknown again.
    before: Option<Option<Box<dyn AnyRecord>>>,
    was_dirty: bool,
}

// === impl IdentityMap ===

impl IdentityMap {
    /// `None`: not known, ask the database. `Some(None)`: known to be absent.
    pub(crate) fn get<R: Record>(&mut self, key: &[Value]) -> Option<Option<R>> {
        let row = self.known(R::TABLE, key)?;
        Some(row.as_deref().and_then(|row| (row as &dyn Any).downcast_ref::<R>().cloned()))
    }

    pub(crate) fn knows(&mut self, table: &'static str, key: &[Value]) -> bool {
        self.known(table, key).is_some()
    }

    /// Two record types over one table would each keep rows that the other does not see.
    ///
    /// # Errors
    /// When the map holds rows of another type for this table.
    pub(crate) fn check_type<R: Record>(&self) -> Result<(), JournalError> {
        match self.tables.get(R::TABLE) {
            Some(rows) if rows.record != TypeId::of::<R>() => {
                let reason = format!("two record types are declared for the table {}; declare one", R::TABLE);
                Err(JournalError::Statement(reason))
            }
            _ => Ok(()),
        }
    }

    /// Takes in what the database said of a key.
    pub(crate) fn learn<R: Record>(&mut self, key: Vec<Value>, row: Option<R>) {
        self.insert(key, row);
    }

    /// Changes a row, or removes it.
    pub(crate) fn write<R: Record>(&mut self, key: Vec<Value>, row: Option<R>) {
        let before = self.insert(key.clone(), row);
        let was_dirty = !self.table::<R>().dirty.insert(key.clone());
        self.undo.push(Undo { table: R::TABLE, key, before, was_dirty });
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark(self.settled + self.undo.len())
    }

    pub(crate) fn changed_since(&self, mark: Mark) -> bool {
        self.mark().0 > mark.0
    }

    /// Whether all changes since `mark` are still here and not yet in the database.
    pub(crate) fn can_roll_back_to(&self, mark: Mark) -> bool {
        self.settled <= mark.0
    }

    /// Rows changed since `mark` that are another now than then, by table and key. What went past the map is not seen.
    pub(crate) fn changes_since(&self, mark: Mark) -> Vec<RowChange> {
        let mut changes = BTreeMap::new();
        for undo in self.undo.iter().skip(mark.0.saturating_sub(self.settled)) {
            changes.entry((undo.table, &undo.key)).or_insert(undo.before.as_ref());
        }
        let changes = changes.into_iter().filter_map(|((table, key), before)| {
            let rows = self.tables.get(table)?;
            let values = |row: &Option<Box<dyn AnyRecord>>| row.as_ref().map(|row| row.values());
            let (before, after) = (before.and_then(values), rows.rows.get(key).and_then(values));
            (before != after).then_some(RowChange { table, columns: rows.table.columns, before, after })
        });
        changes.collect()
    }

    /// Takes back every change since `mark`, the newest first.
    pub(crate) fn rollback_to(&mut self, mark: Mark) {
        let keep = mark.0.saturating_sub(self.settled);
        while self.undo.len() > keep {
            let Some(Undo { table, key, before, was_dirty }) = self.undo.pop() else { return };
            let Some(rows) = self.tables.get_mut(table) else { continue };
            if !was_dirty {
                rows.dirty.remove(&key);
            }
            match before {
                Some(row) => drop(rows.rows.insert(key, row)),
                None => {
                    rows.rows.remove(&key);
                    self.young -= 1;
                }
            }
        }
    }

    /// Counts a change that was made in the database past the map.
    pub(crate) fn changed_outside(&mut self) {
        self.settled += 1;
    }

    /// The statements that write all changed rows: a delete and an upsert per table, in the tables' order of name.
    pub(crate) fn flush(&mut self) -> Vec<Statement> {
        self.settled += self.undo.len();
        self.undo.clear();
        let mut statements = Vec::new();
        for rows in self.tables.values_mut() {
            let dirty = std::mem::take(&mut rows.dirty);
            let (mut upserts, mut deletes) = (Vec::new(), Vec::new());
            for key in dirty {
                match rows.rows.get(&key) {
                    Some(Some(row)) => upserts.push(row.values()),
                    _ => deletes.push(key),
                }
            }
            // Deletes first: a row may take over a unique value that a deleted one had.
            let table = rows.table;
            statements.extend(delete_rows(table.name, &table.columns[..table.key_columns], deletes));
            statements.extend(upsert(table, upserts));
        }
        statements
    }

    /// After a commit: what is known stays, within the bound.
    pub(crate) fn committed(&mut self) {
        self.undo.clear();
        self.settled = 0;
        if self.young > GENERATION_ROWS_MAX {
            self.young = 0;
            for rows in self.tables.values_mut() {
                rows.older = std::mem::take(&mut rows.rows);
            }
        }
    }

    /// Drops what is known and what was changed. Marks of the transaction keep their meaning.
    pub(crate) fn forget(&mut self) {
        self.settled += self.undo.len();
        self.tables.clear();
        self.undo.clear();
        self.young = 0;
    }

    /// As before the first transaction.
    pub(crate) fn clear(&mut self) {
        self.forget();
        self.settled = 0;
    }

    /// What is known of a key, which counts as a use of it.
    fn known(&mut self, table: &'static str, key: &[Value]) -> Option<&Option<Box<dyn AnyRecord>>> {
        let rows = self.tables.get_mut(table)?;
        if !rows.rows.contains_key(key) {
            let (key, row) = rows.older.remove_entry(key)?;
            rows.rows.insert(key, row);
            self.young += 1;
        }
        rows.rows.get(key)
    }

    /// Gives what was known of the key before.
    fn insert<R: Record>(&mut self, key: Vec<Value>, row: Option<R>) -> Option<Option<Box<dyn AnyRecord>>> {
        let rows = self.table::<R>();
        let older = rows.older.remove(&key);
        let young = rows.rows.insert(key, row.map(|row| Box::new(row) as Box<dyn AnyRecord>));
        self.young += usize::from(young.is_none());
        young.or(older)
    }

    fn table<R: Record>(&mut self) -> &mut TableRows {
        let new = || TableRows {
            table: Table::of::<R>(),
            record: TypeId::of::<R>(),
            rows: Rows::new(),
            older: Rows::new(),
            dirty: BTreeSet::new(),
        };
        self.tables.entry(R::TABLE).or_insert_with(new)
    }
}

/// `INSERT … VALUES (…), (…)` in as few statements as the bound on values allows.
pub(crate) fn insert_rows(head: &str, columns: usize, rows: Vec<Vec<Value>>, tail: &str) -> Vec<Statement> {
    let per_statement = (VALUES_PER_STATEMENT_MAX / columns.max(1)).max(1);
    let placeholders = format!("({})", vec!["?"; columns].join(", "));
    let mut statements = Vec::new();
    let mut rows = rows.into_iter().peekable();
    while rows.peek().is_some() {
        let chunk: Vec<Vec<Value>> = rows.by_ref().take(per_statement).collect();
        let sql = format!("{head} VALUES {}{tail}", vec![placeholders.as_str(); chunk.len()].join(", "));
        statements.push(Statement { sql, values: chunk.into_iter().flatten().collect() });
    }
    statements
}

fn upsert(table: Table, rows: Vec<Vec<Value>>) -> Vec<Statement> {
    let (keys, others) = table.columns.split_at(table.key_columns);
    let updates: Vec<String> = others.iter().map(|column| format!("{column} = excluded.{column}")).collect();
    let action = if updates.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {}", updates.join(", ")) };
    let head = format!("INSERT INTO {} ({})", table.name, table.columns.join(", "));
    let tail = format!(" ON CONFLICT ({}) DO {action}", keys.join(", "));
    insert_rows(&head, table.columns.len(), rows, &tail)
}

/// `DELETE … WHERE key IN (…)` in as few statements as the bound on values allows.
pub(crate) fn delete_rows(table: &str, key_columns: &[&str], keys: Vec<Vec<Value>>) -> Vec<Statement> {
    let per_statement = (VALUES_PER_STATEMENT_MAX / key_columns.len().max(1)).max(1);
    let delete = |keys: &[Vec<Value>]| where_key_in(Statement::new(format!("DELETE FROM {table}")), key_columns, keys);
    keys.chunks(per_statement).map(delete).collect()
}

/// Appends ` WHERE <key> IN (<keys>)`, for keys of one column or more.
pub(crate) fn where_key_in(statement: Statement, key_columns: &[&str], keys: &[Vec<Value>]) -> Statement {
    if let [column] = key_columns {
        return statement.and(&format!("WHERE {column}")).and_in(keys.iter().flatten().cloned());
    }
    let one = format!("({})", vec!["?"; key_columns.len()].join(", "));
    let keys = padded(keys.iter().collect());
    let list = vec![one.as_str(); keys.len()].join(", ");
    let mut statement = statement.and(&format!("WHERE ({}) IN (VALUES {list})", key_columns.join(", ")));
    statement.values.extend(keys.into_iter().flatten().cloned());
    statement
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::record! {
        struct Thing in "thing" {
            key { id: i64 }
            weight: i64,
        }
    }

    fn key(id: usize) -> Vec<Value> {
        vec![(id as i64).into()]
    }

    #[test]
    fn what_is_used_stays_and_what_is_not_goes_within_two_generations() {
        let mut map = IdentityMap::default();
        map.learn(key(0), Some(Thing { id: 0, weight: 7 }));
        map.learn::<Thing>(key(1), None);
        for id in 2..4 * GENERATION_ROWS_MAX {
            map.learn::<Thing>(key(id), None);
            if id % 1_000 == 0 {
                assert_eq!(map.get::<Thing>(&key(0)).flatten().unwrap().weight, 7);
                map.committed();
            }
        }
        assert!(map.knows("thing", &key(0)));
        assert!(!map.knows("thing", &key(1)));
        let kept = &map.tables["thing"];
        assert!(kept.rows.len() + kept.older.len() <= 2 * (GENERATION_ROWS_MAX + 1_000));
        assert_eq!(map.young, kept.rows.len());
    }

    #[test]
    fn a_row_of_the_older_generation_is_changed_and_taken_back() {
        let mut map = IdentityMap::default();
        map.learn(key(0), Some(Thing { id: 0, weight: 7 }));
        for id in 1..=GENERATION_ROWS_MAX {
            map.learn::<Thing>(key(id), None);
        }
        map.committed();
        assert_eq!(map.young, 0);
        let mark = map.mark();
        map.write(key(0), Some(Thing { id: 0, weight: 8 }));
        let before = map.changes_since(mark).remove(0).before;
        assert_eq!(before, Some(vec![0_i64.into(), 7_i64.into()]));
        map.rollback_to(mark);
        assert_eq!(map.get::<Thing>(&key(0)).flatten().unwrap().weight, 7);
        assert!(map.flush().is_empty());
    }
}
