//! What must be true of the module's tables at any time, read from committed rows.

use pangaea_contracts::{Money, OrderId};
use pangaea_journal::{Database, JournalError, Record, Statement};

use crate::domain::State;
use crate::refunding::RefundState;
use crate::store::{OrderRow, RefundRow};
use crate::timers::{Deadline, RefundDeadline};
use pangaea_contracts::Message;

/// Breaches named of one kind, at most.
const BREACHES_MAX: usize = 100;
/// Orders read at once.
const PAGE: usize = 500;

/// What `pangaea verify` compares with payment's ledger and product's stock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderTotals {
    pub order_id: OrderId,
    pub state: State,
    pub total: Money,
    /// Zero until the order is confirmed.
    pub captured: Money,
    pub refunded: Money,
    /// Asked for, not answered yet.
    pub refund_pending: Money,
}

/// Sentences about what is wrong; empty when all is well. Each statement sees one snapshot, so a live store reports no
/// breach that is only a transaction under way.
///
/// # Errors
/// When the database cannot be read.
pub async fn verify(database: &Database) -> Result<Vec<String>, JournalError> {
    let mut breaches = Vec::new();
    breaches.extend(without_deadline(database).await?);
    breaches.extend(refunds_without_deadline(database).await?);
    breaches.extend(uneven_timelines(database).await?);
    breaches.extend(wrong_sums(database).await?);
    breaches.extend(wrong_lines(database).await?);
    Ok(breaches)
}

/// The sums of the orders behind `after` (from the first without it), by id, at most `limit`.
///
/// # Errors
/// When the database cannot be read.
pub async fn totals(
    database: &Database,
    after: Option<&OrderId>,
    limit: u32,
) -> Result<Vec<OrderTotals>, JournalError> {
    let mut statement =
        Statement::new("SELECT id, state, currency, total, captured, refunded, refund_pending FROM orders");
    if let Some(after) = after {
        statement = statement.and("WHERE id > ?").bind_column(after);
    }
    let rows = database.fetch(statement.and(&format!("ORDER BY id LIMIT {limit}"))).await?;
    rows.iter()
        .map(|row| {
            let currency = row.get(2)?;
            let money = |column| row.get(column).map(|amount| Money::new(amount, currency));
            Ok(OrderTotals {
                order_id: row.get(0)?,
                state: row.get(1)?,
                total: money(3)?,
                captured: money(4)?,
                refunded: money(5)?,
                refund_pending: money(6)?,
            })
        })
        .collect()
}

/// Every order is settled or has a live deadline.
async fn without_deadline(database: &Database) -> Result<Vec<String>, JournalError> {
    let settled: Vec<String> =
        State::ALL.into_iter().filter(|state| state.is_settled()).map(|state| format!("'{state}'")).collect();
    let sql = format!(
        "SELECT o.id, o.state FROM orders o WHERE o.state NOT IN ({}) AND NOT EXISTS \
         (SELECT 1 FROM timer t WHERE t.key = o.id AND t.subject = '{}') ORDER BY o.id LIMIT {BREACHES_MAX}",
        settled.join(", "),
        Deadline::SUBJECT
    );
    named(database, sql, |id, state| format!("order {id} is {state} and has no deadline")).await
}

/// Every refund has been answered, and its units are back where that was wanted, or it has a live deadline.
async fn refunds_without_deadline(database: &Database) -> Result<Vec<String>, JournalError> {
    let sql = format!(
        "SELECT r.id, r.order_id FROM refund r WHERE (r.state = '{}' OR r.restock = 'sent') AND NOT EXISTS \
         (SELECT 1 FROM timer t WHERE t.key = r.id AND t.subject = '{}') ORDER BY r.id LIMIT {BREACHES_MAX}",
        RefundState::Pending,
        RefundDeadline::SUBJECT
    );
    named(database, sql, |id, order| format!("refund {id} of order {order} is under way and has no deadline")).await
}

/// A timeline is dense from 1, and its newest number is its order's version.
async fn uneven_timelines(database: &Database) -> Result<Vec<String>, JournalError> {
    let sql = format!(
        "SELECT o.id, o.state FROM orders o LEFT JOIN timeline t ON t.order_id = o.id GROUP BY o.id, o.state, o.version \
         HAVING COUNT(t.seq) <> o.version OR MIN(t.seq) <> 1 OR MAX(t.seq) <> o.version ORDER BY o.id LIMIT {BREACHES_MAX}"
    );
    named(database, sql, |id, _| format!("the timeline of order {id} has gaps or does not end at its version")).await
}

/// What the orders say of refunded and pending money is what their refunds add up to, and never more than was captured.
async fn wrong_sums(database: &Database) -> Result<Vec<String>, JournalError> {
    let sum = |state| {
        format!("(SELECT COALESCE(SUM(r.amount), 0) FROM refund r WHERE r.order_id = o.id AND r.state = '{state}')")
    };
    let sql = format!(
        "SELECT o.id, o.state FROM orders o WHERE o.refunded <> {} OR o.refund_pending <> {} \
         OR o.refunded + o.refund_pending > o.captured OR o.captured > o.total ORDER BY o.id LIMIT {BREACHES_MAX}",
        sum(RefundState::Succeeded),
        sum(RefundState::Pending)
    );
    named(database, sql, |id, state| format!("the refunds of order {id} ({state}) do not add up")).await
}

async fn named(
    database: &Database,
    sql: String,
    sentence: impl Fn(String, String) -> String,
) -> Result<Vec<String>, JournalError> {
    let rows = database.fetch(Statement::new(sql)).await?;
    rows.iter().map(|row| Ok(sentence(row.get(0)?, row.get(1)?))).collect()
}

/// The lines of every order with refunds say the same as the refunds, and no more units come back than were ordered.
async fn wrong_lines(database: &Database) -> Result<Vec<String>, JournalError> {
    let mut breaches = Vec::new();
    let mut after = String::new();
    let columns =
        |alias: &str, names: &[&str]| names.iter().map(|name| format!("{alias}.{name}")).collect::<Vec<_>>().join(", ");
    let order_columns = columns("o", OrderRow::COLUMNS);
    loop {
        let page = format!(
            "SELECT {order_columns} FROM orders o WHERE o.id > ? AND EXISTS (SELECT 1 FROM refund r WHERE r.order_id = o.id) \
             ORDER BY o.id LIMIT {PAGE}"
        );
        let rows = database.fetch(Statement::new(page).bind(after.as_str())).await?;
        let Some(last) = rows.last() else { return Ok(breaches) };
        after = last.get(0)?;
        for row in &rows {
            let order = OrderRow::from_row(row)?;
            if breaches.len() < BREACHES_MAX && !lines_agree(database, &order).await? {
                breaches.push(format!("the lines of order {} do not agree with its refunds", order.id));
            }
        }
    }
}

/// Judges an order only where its version stood still while its refunds were read.
async fn lines_agree(database: &Database, order: &OrderRow) -> Result<bool, JournalError> {
    let refunds = format!("SELECT {} FROM refund WHERE order_id = ? ORDER BY id", RefundRow::COLUMNS.join(", "));
    let rows = database.fetch(Statement::new(refunds).bind_column(&order.id)).await?;
    let refunds = rows.iter().map(RefundRow::from_row).collect::<Result<Vec<_>, _>>()?;
    let units = |line: u32, state: RefundState| -> i64 {
        let of_state = refunds.iter().filter(|refund| refund.state == state);
        of_state.flat_map(|refund| &refund.lines.0).filter(|one| one.line == line).map(|one| one.quantity).sum()
    };
    let agree = order.lines.0.iter().all(|line| {
        line.left() >= 0
            && line.refunded == units(line.line, RefundState::Succeeded)
            && line.refund_pending == units(line.line, RefundState::Pending)
    });
    let sums = refunds.iter().all(|refund| refund.lines.0.iter().map(|line| line.amount).sum::<i64>() == refund.amount);
    if agree && sums {
        return Ok(true);
    }
    let now = crate::store::order(database, &order.id).await?;
    Ok(now.is_none_or(|now| now.version != order.version))
}
