//! The module's tables, and every SQL text that reads them at the edge.

mod outline;
mod verify;

use pangaea_contracts::order::{Address, Reason};
use pangaea_contracts::{Currency, Money, OrderId, RefundId, SkuId, Timestamp, UserId};
use pangaea_journal::{Database, JournalError, Json, Migration, Record, Statement, record, text_column};

use crate::domain::{Saga, State};
use crate::placing::Line;
use crate::refunding::{RefundState, Restocking, ReturnedLine};

pub use outline::{Outline, orders_with_prefix, outline};
pub use verify::{OrderTotals, totals, verify};

pub(crate) const MIGRATIONS: &[Migration] =
    &[Migration { name: "0001_orders", sql: include_str!("../migrations/0001_orders.sql") }];

text_column!(State, RefundState, Restocking);

record! {
    /// A SKU's price, as product last published it.
    pub(crate) struct SkuPrice in "sku_price" {
        key { sku_id: SkuId }
        /// As the merchant writes it.
        code: String,
        name: String,
        /// Minor units.
        unit_price: i64,
        currency: Currency,
        price_version: i64,
        withdrawn: bool,
    }
}

record! {
    pub(crate) struct OrderRow in "orders" {
        key { id: OrderId }
        /// Grows by one with every entry of the timeline; the entity tag.
        version: i64,
        state: State,
        state_since: Timestamp,
        attempt: u32,
        awaits_void: bool,
        awaits_release: bool,
        placed_at: Timestamp,
        customer_id: Option<UserId>,
        customer_reference: Option<String>,
        currency: Currency,
        /// Minor units, as the other sums.
        total: i64,
        captured: i64,
        refunded: i64,
        refund_pending: i64,
        lines: Json<Vec<Line>>,
        reason: Option<Json<Reason>>,
        /// Kept until payment has answered, so that an unanswered question can be asked again.
        payment_token: Option<String>,
        shipping_address: Option<Json<Address>>,
    }
}

record! {
    pub(crate) struct TimelineRow in "timeline" {
        key { order_id: OrderId, seq: i64 }
        at: Timestamp,
        state: State,
        event: String,
        detail: Option<String>,
    }
}

record! {
    pub(crate) struct RefundRow in "refund" {
        key { id: RefundId }
        order_id: OrderId,
        state: RefundState,
        restock: Restocking,
        /// Minor units.
        amount: i64,
        currency: Currency,
        lines: Json<Vec<ReturnedLine>>,
        /// What the caller gave as a reason.
        stated_reason: Option<String>,
        /// Why it was refused.
        reason: Option<Json<Reason>>,
        requested_at: Timestamp,
        settled_at: Option<Timestamp>,
    }
}

const BY_STATE: &str = "SELECT state, COUNT(*) FROM orders GROUP BY state";

/// Which orders a list shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) customer_id: Option<UserId>,
    pub(crate) customer_reference: Option<String>,
    pub(crate) state: Option<State>,
}

// === impl OrderRow ===

impl OrderRow {
    pub(crate) fn saga(&self) -> Saga {
        let Self { state, attempt, awaits_void, awaits_release, .. } = *self;
        Saga { state, attempt, awaits_void, awaits_release }
    }

    /// Whether nothing is under way, so that only a caller can make something happen.
    pub(crate) fn is_quiet(&self) -> bool {
        self.state.is_settled() && self.refund_pending == 0
    }

    pub(crate) fn money(&self, amount: i64) -> Money {
        Money::new(amount, self.currency)
    }
}

// === reads at the edge ===

fn select<R: Record>() -> Statement {
    Statement::new(format!("SELECT {} FROM {}", R::COLUMNS.join(", "), R::TABLE))
}

async fn rows<R: Record>(database: &Database, statement: Statement) -> Result<Vec<R>, JournalError> {
    database.fetch(statement).await?.iter().map(R::from_row).collect()
}

pub(crate) async fn order(database: &Database, id: &OrderId) -> Result<Option<OrderRow>, JournalError> {
    let found = rows(database, select::<OrderRow>().and("WHERE id = ?").bind_column(id)).await?;
    Ok(found.into_iter().next())
}

/// A page of orders, the newest first, beginning behind `after`. Ids sort by the time of placing.
pub(crate) async fn orders(
    database: &Database,
    filter: &Filter,
    after: Option<&OrderId>,
    limit: u32,
) -> Result<Vec<OrderRow>, JournalError> {
    let mut statement = select::<OrderRow>().and("WHERE 1 = 1");
    if let Some(customer_id) = &filter.customer_id {
        statement = statement.and("AND customer_id = ?").bind_column(customer_id);
    }
    if let Some(reference) = &filter.customer_reference {
        statement = statement.and("AND customer_reference = ?").bind(reference.as_str());
    }
    if let Some(state) = &filter.state {
        statement = statement.and("AND state = ?").bind_column(state);
    }
    if let Some(after) = after {
        statement = statement.and("AND id < ?").bind_column(after);
    }
    rows(database, statement.and(&format!("ORDER BY id DESC LIMIT {limit}"))).await
}

/// How many orders are in each state that has any. The index on states answers it without a look at the orders.
pub(crate) async fn by_state(database: &Database) -> Result<Vec<(String, i64)>, JournalError> {
    let rows = database.fetch(Statement::new(BY_STATE)).await?;
    rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
}

/// Entries of an order's timeline behind `after`, in order.
pub(crate) async fn timeline(
    database: &Database,
    id: &OrderId,
    after: i64,
    limit: u32,
) -> Result<Vec<TimelineRow>, JournalError> {
    let statement = select::<TimelineRow>().and("WHERE order_id = ? AND seq > ?").bind_column(id).bind(after);
    rows(database, statement.and(&format!("ORDER BY seq LIMIT {limit}"))).await
}

pub(crate) async fn refund(database: &Database, id: &RefundId) -> Result<Option<RefundRow>, JournalError> {
    let found = rows(database, select::<RefundRow>().and("WHERE id = ?").bind_column(id)).await?;
    Ok(found.into_iter().next())
}

/// Refunds of an order behind `after`, the oldest first.
pub(crate) async fn refunds(
    database: &Database,
    id: &OrderId,
    after: Option<&RefundId>,
    limit: u32,
) -> Result<Vec<RefundRow>, JournalError> {
    let mut statement = select::<RefundRow>().and("WHERE order_id = ?").bind_column(id);
    if let Some(after) = after {
        statement = statement.and("AND id > ?").bind_column(after);
    }
    rows(database, statement.and(&format!("ORDER BY id LIMIT {limit}"))).await
}

#[cfg(test)]
mod tests {
    use pangaea_journal::DatabaseOptions;

    use super::*;

    /// A look at `/metrics` of a store with many orders must not read all of them.
    #[tokio::test]
    async fn an_index_alone_counts_orders_by_state() {
        let options =
            DatabaseOptions { url: "sqlite::memory:".into(), read_connections_max: 1, synchronous_full: false };
        let database = Database::open("order", &options).await.unwrap();
        let writer = database.writer(MIGRATIONS, "test").await.unwrap();
        let plan = writer.database().fetch(Statement::new(format!("EXPLAIN QUERY PLAN {BY_STATE}"))).await.unwrap();
        let steps: Vec<String> = plan.iter().map(|row| row.get(3).unwrap()).collect();
        assert_eq!(steps, ["SCAN orders USING COVERING INDEX orders_in_state"]);
    }
}
