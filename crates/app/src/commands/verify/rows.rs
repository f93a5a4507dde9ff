//! What is compared between modules: narrow rows, a range of keys at a time.

use pangaea_contracts::{OrderId, PaymentId};
use pangaea_journal::{Database, JournalError, Statement};

/// A page of any of these reads.
pub(super) const PAGE: u32 = 500;

/// What payment says of an order's money, in minor units.
#[derive(Clone, Debug)]
pub(super) struct PaymentFacts {
    pub(super) order_id: OrderId,
    pub(super) payment_id: PaymentId,
    /// None where a void came before any authorization.
    pub(super) currency: Option<String>,
    pub(super) held: i64,
    pub(super) captured: i64,
    pub(super) refunded: i64,
    pub(super) refund_pending: i64,
    /// A call, an undoing or the payer is waited for.
    pub(super) under_way: bool,
}

/// What product says of an order's hold on the stock.
#[derive(Clone, Debug)]
pub(super) struct ReservationFacts {
    pub(super) order_id: OrderId,
    /// `open`, `committed`, `released`, `expired`, `refused` or `tombstone`.
    pub(super) state: String,
}

/// Orders' ids behind `after` and, when given, up to `until`.
#[derive(Clone, Debug)]
pub(super) struct Range {
    pub(super) after: String,
    pub(super) until: Option<String>,
}

/// At most [`PAGE`] payments of a range, by order id.
///
/// # Errors
/// When the database cannot be read.
pub(super) async fn payments(database: &Database, range: &Range) -> Result<Vec<PaymentFacts>, JournalError> {
    let select = "SELECT order_id, payment_id, currency, held, captured, refunded, refund_pending, \
        CASE WHEN in_flight IS NOT NULL OR void IN ('cleanup', 'wanted') OR state IN ('processing', 'requires_action') \
        THEN 1 ELSE 0 END FROM payment";
    let rows = database.fetch(range.of(select)).await?;
    rows.iter()
        .map(|row| {
            Ok(PaymentFacts {
                order_id: row.get(0)?,
                payment_id: row.get(1)?,
                currency: row.get(2)?,
                held: row.get(3)?,
                captured: row.get(4)?,
                refunded: row.get(5)?,
                refund_pending: row.get(6)?,
                under_way: row.get(7)?,
            })
        })
        .collect()
}

/// At most [`PAGE`] reservations of a range, by order id.
///
/// # Errors
/// When the database cannot be read.
pub(super) async fn reservations(database: &Database, range: &Range) -> Result<Vec<ReservationFacts>, JournalError> {
    let rows = database.fetch(range.of("SELECT order_id, state FROM reservation")).await?;
    rows.iter().map(|row| Ok(ReservationFacts { order_id: row.get(0)?, state: row.get(1)? })).collect()
}

// === impl Range ===

impl Range {
    /// What is left behind a page of so many rows; `None` when that was all.
    pub(super) fn behind(&self, rows: usize, last: Option<&OrderId>) -> Option<Self> {
        let last = last.filter(|_| rows as u64 >= u64::from(PAGE))?;
        Some(Self { after: last.to_string(), until: self.until.clone() })
    }

    fn of(&self, select: &str) -> Statement {
        let mut statement = Statement::new(select).and("WHERE order_id > ?").bind(self.after.as_str());
        if let Some(until) = &self.until {
            statement = statement.and("AND order_id <= ?").bind(until.as_str());
        }
        statement.and(&format!("ORDER BY order_id LIMIT {PAGE}"))
    }
}
