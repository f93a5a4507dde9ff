use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};

use pangaea_contracts::Envelope;

/// The newest rows of a log in memory, so that readers at its end never touch the table.
///
/// The writer pushes what it has committed; [`LogSource::read`](crate::LogSource::read) asks the ring first and the
/// table when the ring no longer holds the position.
#[derive(Debug)]
pub struct LogRing {
    rows: RwLock<Rows>,
    rows_max: usize,
}

#[derive(Debug, Default)]
struct Rows {
    rows: VecDeque<Arc<Envelope>>,
    payload_bytes: usize,
}

/// Payloads in one ring, together: a payload may have 256 KiB, and there may be many thousands of rows.
const PAYLOAD_BYTES_MAX: usize = 64 * 1024 * 1024;

// === impl LogRing ===

impl LogRing {
    /// A ring that holds at most `rows_max` rows (at least 1).
    pub fn new(rows_max: usize) -> Self {
        Self { rows: RwLock::default(), rows_max: rows_max.max(1) }
    }

    /// Adds rows that have been committed, in order. A row that does not follow the last one empties the ring first,
    /// because what it holds must be dense.
    pub fn push(&self, committed: impl IntoIterator<Item = Arc<Envelope>>) {
        let mut ring = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        for row in committed {
            if ring.rows.back().is_some_and(|last| last.position + 1 != row.position || last.log_id != row.log_id) {
                *ring = Rows::default();
            }
            ring.payload_bytes += row.payload.len();
            ring.rows.push_back(row);
            while ring.rows.len() > self.rows_max || (ring.payload_bytes > PAYLOAD_BYTES_MAX && ring.rows.len() > 1) {
                let oldest = ring.rows.pop_front();
                ring.payload_bytes -= oldest.map_or(0, |row| row.payload.len());
            }
        }
    }

    /// At most `limit` rows from `after + 1` on, or `None` when the ring does not hold that position.
    pub fn read(&self, after: u64, limit: usize) -> Option<Vec<Arc<Envelope>>> {
        let rows = &self.rows.read().unwrap_or_else(PoisonError::into_inner).rows;
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
        row_with(position, "{}".into())
    }

    fn row_with(position: u64, payload: String) -> Arc<Envelope> {
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
            payload,
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
    fn holds_so_many_bytes_only() {
        let ring = LogRing::new(1_000);
        let large = super::PAYLOAD_BYTES_MAX / 4;
        ring.push((1..=6).map(|position| row_with(position, " ".repeat(large))));
        assert_eq!(positions(&ring, 1, 10), None);
        assert_eq!(positions(&ring, 2, 10), Some(vec![3, 4, 5, 6]));
        ring.push([row_with(7, " ".repeat(super::PAYLOAD_BYTES_MAX + 1))]);
        assert_eq!(positions(&ring, 6, 10), Some(vec![7]), "the newest is always there");
    }

    #[test]
    fn never_shows_a_gap() {
        let ring = LogRing::new(8);
        ring.push([row(1), row(2), row(7)]);
        assert_eq!(positions(&ring, 0, 10), None);
        assert_eq!(positions(&ring, 6, 10), Some(vec![7]));
    }
}
