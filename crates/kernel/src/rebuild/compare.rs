//! Tables of a store beside those that its history makes, row by row.

use std::cmp::Ordering;
use std::collections::VecDeque;

use pangaea_journal::{JournalError, Snapshot, TableChange, TablePlace, TableShape, Value};

use super::RebuildError;

/// Rows read at once.
const PAGE: usize = 500;

/// What would change in a table if what `rebuilt` holds took the place of what `stored` holds.
pub(super) async fn compare_table(
    shape: &TableShape,
    stored: &mut Snapshot,
    rebuilt: &mut Snapshot,
) -> Result<TableChange, RebuildError> {
    let mut change =
        TableChange { table: shape.table.clone(), rows_before: 0, rows_after: 0, changed: 0, added: 0, removed: 0 };
    let (mut before, mut after) = (Rows::default(), Rows::default());
    loop {
        before.fill(stored, shape).await.map_err(RebuildError::Database)?;
        after.fill(rebuilt, shape).await.map_err(RebuildError::Scratch)?;
        let order = match (before.rows.front(), after.rows.front()) {
            (None, None) => return Ok(change),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            // Both come by key: integers by value, texts by their bytes.
            (Some(was), Some(is)) => shape.key_in(was).cmp(&shape.key_in(is)),
        };
        let was = if order.is_le() { before.rows.pop_front() } else { None };
        let is = if order.is_ge() { after.rows.pop_front() } else { None };
        change.rows_before += u64::from(was.is_some());
        change.rows_after += u64::from(is.is_some());
        match (was, is) {
            (Some(was), Some(is)) => change.changed += u64::from(!is_same(&was, &is)),
            (Some(_), None) => change.removed += 1,
            (None, _) => change.added += 1,
        }
    }
}

#[derive(Default)]
struct Rows {
    rows: VecDeque<Vec<Value>>,
    place: TablePlace,
    is_read: bool,
}

// === impl Rows ===

impl Rows {
    async fn fill(&mut self, snapshot: &mut Snapshot, shape: &TableShape) -> Result<(), JournalError> {
        if self.rows.is_empty() && !self.is_read {
            self.rows.extend(snapshot.rows(shape, &mut self.place, PAGE).await?);
            self.is_read = self.rows.is_empty();
        }
        Ok(())
    }
}

/// SQLite does not say of which type a null is.
fn is_same(was: &[Value], is: &[Value]) -> bool {
    was.iter().zip(is).all(|(was, is)| was == is || (was.is_null() && is.is_null()))
}
