use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};

use pangaea_contracts::Envelope;

/// The newest rows of a log in memory, so that readers at its end never touch the table.
///
/// The writer pushes what it has committed; [`LogSource::read`](crate::LogSource::read) asks the ring first and the
/// table when the ring no longer holds the position.
#[derive(Debug)]
pub struct LogRing {
    rows: RwLock<VecDeque<Arc<Envelope>>>,
    rows_max: usize,
}

// === impl LogRing ===

impl LogRing {
    /// A ring that holds at most `rows_max` rows (at least 1).
    pub fn new(rows_max: usize) -> Self {
        Self { rows: RwLock::new(VecDeque::new()), rows_max: rows_max.max(1) }
    }

    /// Adds rows that have been committed, in order. A row that does not follow the last one empties the ring first,
    /// because what it holds must be dense.
    pub fn push(&self, committed: impl IntoIterator<Item = Arc<Envelope>>) {
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        for row in committed {
            if rows.back().is_some_and(|last| last.position + 1 != row.position || last.log_id != row.log_id) {
                rows.clear();
            }
            if rows.len() == self.rows_max {
                rows.pop_front();
            }
            rows.push_back(row);
        }
    }

    /// At most `limit` rows from `after + 1` on, or `None` when the ring does not hold that position.
    pub fn read(&self, after: u64, limit: usize) -> Option<Vec<Arc<Envelope>>> {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        let first = rows.front()?.position;
        let skip = usize::try_from((after + 1).checked_sub(first)?).ok()?;
        (skip < rows.len()).then(|| rows.range(skip..rows.len().min(skip.saturating_add(limit))).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pangaea_contracts::{Actor, Envelope, Timestamp};

    use super::LogRing;

    fn row(position: u64) -> Arc<Envelope> {
        Arc::new(Envelope {
            id: format!("msg_{position}"),
            subject: "order.evt.placed.v1".into(),
            source: "order".into(),
            log_id: "log_1".into(),
            position,
            key: "ord_1".into(),
            causation_id: "c".into(),
            correlation_id: "c".into(),
            actor: Actor::system(),
            time: Timestamp::from_millis(0),
            traceparent: None,
            payload: "{}".into(),
        })
    }

    fn positions(ring: &LogRing, after: u64, limit: usize) -> Option<Vec<u64>> {
        Some(ring.read(after, limit)?.iter().map(|row| row.position).collect())
    }

    #[test]
    fn holds_the_newest_rows_only() {
        let ring = LogRing::new(3);
        assert_eq!(positions(&ring, 0, 10), None);
        ring.push((1..=5).map(row));
        assert_eq!(positions(&ring, 1, 10), None, "position 2 has left the ring");
        assert_eq!(positions(&ring, 2, 10), Some(vec![3, 4, 5]));
        assert_eq!(positions(&ring, 3, 1), Some(vec![4]));
        assert_eq!(positions(&ring, 5, 10), None);
    }

    #[test]
    fn never_shows_a_gap() {
        let ring = LogRing::new(8);
        ring.push([row(1), row(2), row(7)]);
        assert_eq!(positions(&ring, 0, 10), None);
        assert_eq!(positions(&ring, 6, 10), Some(vec![7]));
    }
}
