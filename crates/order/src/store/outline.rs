//! An order in outline, for tools that look at a store from outside: what happened when, and nothing personal.

use pangaea_contracts::{Currency, Money, OrderId, Timestamp};
use pangaea_journal::{Database, JournalError, Statement};

use super::{order, timeline};
use crate::State;

/// Longer than any id, in letters that sort behind all others that an id may have, in every collation.
const LAST: &str = "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz";

/// How far an order has come, without who placed it, what is in it and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    pub id: OrderId,
    pub state: State,
    pub state_since: Timestamp,
    pub placed_at: Timestamp,
    pub version: i64,
    /// The code of the reason for its state, where there is one. The sentence may be a customer's, and is left out.
    pub reason_code: Option<String>,
    pub total: Money,
    pub captured: Money,
    pub refunded: Money,
    pub refund_pending: Money,
    /// The moments at which its timeline grew, each once, in order.
    pub moments: Vec<Timestamp>,
}

/// An order in outline, with at most `moments_max` of its moments, the oldest.
///
/// # Errors
/// When the database cannot be read.
pub async fn outline(database: &Database, id: &OrderId, moments_max: u32) -> Result<Option<Outline>, JournalError> {
    let Some(row) = order(database, id).await? else { return Ok(None) };
    let mut moments: Vec<Timestamp> =
        timeline(database, id, 0, moments_max).await?.into_iter().map(|entry| entry.at).collect();
    moments.dedup();
    let money = |amount: i64, currency: Currency| Money::new(amount, currency);
    Ok(Some(Outline {
        state: row.state,
        state_since: row.state_since,
        placed_at: row.placed_at,
        version: row.version,
        reason_code: row.reason.map(|reason| reason.0.code),
        total: money(row.total, row.currency),
        captured: money(row.captured, row.currency),
        refunded: money(row.refunded, row.currency),
        refund_pending: money(row.refund_pending, row.currency),
        id: row.id,
        moments,
    }))
}

/// Orders whose ids begin so, the newest first, at most `limit`.
///
/// # Errors
/// When the database cannot be read.
pub async fn orders_with_prefix(database: &Database, prefix: &str, limit: u32) -> Result<Vec<OrderId>, JournalError> {
    let statement = Statement::new("SELECT id FROM orders WHERE id >= ? AND id <= ?")
        .and(&format!("ORDER BY id DESC LIMIT {limit}"))
        .bind(prefix)
        .bind(format!("{prefix}{LAST}"));
    database.fetch(statement).await?.iter().map(|row| row.get(0)).collect()
}
