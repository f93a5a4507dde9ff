use pangaea_contracts::{Currency, OrderId, PaymentId, UserId};
use pangaea_journal::{Database, JournalError, Record, Statement};

use super::{PaymentRow, TransferRow};

/// Whose payments a list shows.
#[derive(Clone, Debug)]
pub(crate) enum Owner {
    Anyone,
    Only(UserId),
}

/// Sums over the posted transfers of a currency, in minor units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balance {
    pub currency: Currency,
    /// Held: neither captured nor voided.
    pub authorized: i64,
    pub captured: i64,
    pub refunded: i64,
}

fn select<R: Record>() -> String {
    format!("SELECT {} FROM {}", R::COLUMNS.join(", "), R::TABLE)
}

/// # Errors
/// When the database cannot be read.
pub(crate) async fn by_id(database: &Database, payment_id: &PaymentId) -> Result<Option<PaymentRow>, JournalError> {
    let sql = Statement::new(select::<PaymentRow>()).and("WHERE payment_id = ?").bind_column(payment_id);
    database.fetch(sql).await?.first().map(PaymentRow::from_row).transpose()
}

/// Payments by order, the newest order first, after the order `after`, at most `limit`.
///
/// # Errors
/// When the database cannot be read.
pub(crate) async fn page(
    database: &Database,
    owner: &Owner,
    order_id: Option<&OrderId>,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<PaymentRow>, JournalError> {
    let mut sql = Statement::new(select::<PaymentRow>()).and("WHERE 1 = 1");
    if let Owner::Only(user_id) = owner {
        sql = sql.and("AND owner_id = ?").bind_column(user_id);
    }
    if let Some(order_id) = order_id {
        sql = sql.and("AND order_id = ?").bind_column(order_id);
    }
    if let Some(after) = after {
        sql = sql.and("AND order_id < ?").bind(after);
    }
    let sql = sql.and("ORDER BY order_id DESC LIMIT ?").bind(i64::from(limit));
    database.fetch(sql).await?.iter().map(PaymentRow::from_row).collect()
}

/// A payment's transfers in the order in which they were written, after number `after`, at most `limit`.
///
/// # Errors
/// When the database cannot be read.
pub(crate) async fn transfers(
    database: &Database,
    order_id: &OrderId,
    after: i64,
    limit: u32,
) -> Result<Vec<TransferRow>, JournalError> {
    let sql = Statement::new(select::<TransferRow>())
        .and("WHERE order_id = ? AND number > ? ORDER BY number LIMIT ?")
        .bind_column(order_id)
        .bind(after)
        .bind(i64::from(limit));
    database.fetch(sql).await?.iter().map(TransferRow::from_row).collect()
}

/// # Errors
/// When the database cannot be read.
pub async fn balances(database: &Database) -> Result<Vec<Balance>, JournalError> {
    let sql = "SELECT currency, \
        CAST(SUM(CASE WHEN debit_account = 'authorized_holds' THEN amount \
                      WHEN credit_account = 'authorized_holds' THEN -amount ELSE 0 END) AS BIGINT), \
        CAST(SUM(CASE WHEN debit_account = 'captured' THEN amount ELSE 0 END) AS BIGINT), \
        CAST(SUM(CASE WHEN credit_account = 'refunds' THEN amount ELSE 0 END) AS BIGINT) \
        FROM transfer WHERE state = 'posted' GROUP BY currency ORDER BY currency";
    let rows = database.fetch(Statement::new(sql)).await?;
    rows.iter()
        .map(|row| {
            Ok(Balance { currency: row.get(0)?, authorized: row.get(1)?, captured: row.get(2)?, refunded: row.get(3)? })
        })
        .collect()
}
