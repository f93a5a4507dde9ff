use pangaea_contracts::{OrderId, PaymentId};
use pangaea_journal::{Database, JournalError, Row, Statement};

use crate::domain::State;

/// Breaches of one kind that are reported, at most: the rest has the same cause more often than not.
const BREACHES_MAX: u32 = 100;

/// What an order's payment has moved, in minor units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderTotals {
    pub order_id: OrderId,
    pub payment_id: PaymentId,
    pub state: State,
    /// As it is stored, so that a comparison names one that is spoilt; `None` where a void came before any authorization.
    pub currency: Option<String>,
    /// Held, neither captured nor voided.
    pub held: i64,
    pub captured: i64,
    pub refunded: i64,
    /// Refunds asked for, without a result.
    pub refund_pending: i64,
    /// A call, an undoing or the payer is waited for.
    pub under_way: bool,
}

/// Checks what must hold in this module's tables at every moment, and says each breach in a sentence.
///
/// Each check is one statement, so that it sees one moment of a live store.
///
/// # Errors
/// When the database cannot be read.
pub async fn verify(database: &Database) -> Result<Vec<String>, JournalError> {
    let mut breaches = Vec::new();
    for (sql, say) in CHECKS {
        let sql = format!("{sql} LIMIT {BREACHES_MAX}");
        for row in database.fetch(Statement::new(sql)).await? {
            breaches.push(say(&row)?);
        }
    }
    Ok(breaches)
}

/// What the payments of the orders behind `after` (from the first without it) up to and with `until` (to the last without
/// it) have moved, by order id, at most `limit`.
///
/// # Errors
/// When the database cannot be read.
pub async fn totals(
    database: &Database,
    after: Option<&OrderId>,
    until: Option<&OrderId>,
    limit: u32,
) -> Result<Vec<OrderTotals>, JournalError> {
    let mut statement = Statement::new(TOTALS);
    if let Some(after) = after {
        statement = statement.and("AND order_id > ?").bind_column(after);
    }
    if let Some(until) = until {
        statement = statement.and("AND order_id <= ?").bind_column(until);
    }
    let rows = database.fetch(statement.and("ORDER BY order_id LIMIT ?").bind(i64::from(limit))).await?;
    rows.iter()
        .map(|row| {
            Ok(OrderTotals {
                order_id: row.get(0)?,
                payment_id: row.get(1)?,
                state: row.get(2)?,
                currency: row.get(3)?,
                held: row.get(4)?,
                captured: row.get(5)?,
                refunded: row.get(6)?,
                refund_pending: row.get(7)?,
                under_way: row.get(8)?,
            })
        })
        .collect()
}

const TOTALS: &str = "SELECT order_id, payment_id, state, currency, held, captured, refunded, refund_pending, \
    CASE WHEN in_flight IS NOT NULL OR void IN ('cleanup', 'wanted') OR state IN ('processing', 'requires_action') \
    THEN 1 ELSE 0 END FROM payment WHERE 1 = 1";

type Say = fn(&Row) -> Result<String, JournalError>;

/// A query for rows that must not exist, and what each of them means.
const CHECKS: &[(&str, Say)] = &[
    (UNBALANCED, |row| {
        Ok(format!("ledger: the accounts of {} sum to {}, not to zero", row.get::<String>(0)?, row.get::<i64>(1)?))
    }),
    (REFUNDED_TOO_MUCH, |row| {
        Ok(format!(
            "ledger: {} of {} was refunded of {} captured",
            row.get::<i64>(2)?,
            row.get::<String>(0)?,
            row.get::<i64>(1)?
        ))
    }),
    (DIFFERS, |row| {
        Ok(format!(
            "payment of {}: the row says held {}, captured {}, refunded {}; the ledger says {}, {}, {}",
            row.get::<String>(0)?,
            row.get::<i64>(1)?,
            row.get::<i64>(2)?,
            row.get::<i64>(3)?,
            row.get::<i64>(4)?,
            row.get::<i64>(5)?,
            row.get::<i64>(6)?
        ))
    }),
    (PENDING_DIFFERS, |row| {
        Ok(format!(
            "payment of {}: {} is pending to be refunded, its refunds say {}",
            row.get::<String>(0)?,
            row.get::<i64>(1)?,
            row.get::<i64>(2)?
        ))
    }),
    (GAPS, |row| {
        Ok(format!(
            "ledger: order {} has {} transfers, its payment counts {}",
            row.get::<String>(0)?,
            row.get::<i64>(2)?,
            row.get::<i64>(1)?
        ))
    }),
    (SETTLED_TWICE, |row| {
        Ok(format!("ledger: the pending transfer {} is settled {} times", row.get::<String>(0)?, row.get::<i64>(1)?))
    }),
    (STUCK, |row| {
        Ok(format!(
            "payment of {}: it is {} (undoing: {}) and neither an effect nor a timer will move it",
            row.get::<String>(0)?,
            row.get::<String>(1)?,
            row.get::<String>(2)?
        ))
    }),
    (STUCK_REFUND, |row| {
        Ok(format!(
            "refund {} of {}: it is pending and neither an effect nor a timer will move it",
            row.get::<String>(0)?,
            row.get::<String>(1)?
        ))
    }),
];

/// Every account's balance is summed by itself, so that a transfer with one side missing or altered shows.
const UNBALANCED: &str = "SELECT currency, CAST(SUM(amount) AS BIGINT) FROM ( \
    SELECT currency, amount FROM transfer WHERE state = 'posted' \
        AND debit_account IN ('customer', 'authorized_holds', 'captured', 'refunds') \
    UNION ALL SELECT currency, -amount FROM transfer WHERE state = 'posted' \
        AND credit_account IN ('customer', 'authorized_holds', 'captured', 'refunds') \
    ) AS sides GROUP BY currency HAVING SUM(amount) <> 0";

const REFUNDED_TOO_MUCH: &str = "SELECT currency, captured, refunded FROM ( \
    SELECT currency, \
        CAST(SUM(CASE WHEN debit_account = 'captured' THEN amount ELSE 0 END) AS BIGINT) AS captured, \
        CAST(SUM(CASE WHEN credit_account = 'refunds' THEN amount ELSE 0 END) AS BIGINT) AS refunded \
    FROM transfer WHERE state = 'posted' GROUP BY currency) AS sums WHERE refunded > captured";

const DIFFERS: &str = "SELECT order_id, held, captured, refunded, ledger_held, ledger_captured, ledger_refunded FROM ( \
    SELECT p.order_id AS order_id, p.held AS held, p.captured AS captured, p.refunded AS refunded, \
        CAST(SUM(CASE WHEN t.debit_account = 'authorized_holds' THEN t.amount \
                      WHEN t.credit_account = 'authorized_holds' THEN -t.amount ELSE 0 END) AS BIGINT) AS ledger_held, \
        CAST(SUM(CASE WHEN t.debit_account = 'captured' THEN t.amount ELSE 0 END) AS BIGINT) AS ledger_captured, \
        CAST(SUM(CASE WHEN t.credit_account = 'refunds' THEN t.amount ELSE 0 END) AS BIGINT) AS ledger_refunded \
    FROM payment p LEFT JOIN transfer t ON t.order_id = p.order_id AND t.state = 'posted' \
    GROUP BY p.order_id, p.held, p.captured, p.refunded) AS sums \
    WHERE held <> ledger_held OR captured <> ledger_captured OR refunded <> ledger_refunded";

const PENDING_DIFFERS: &str = "SELECT order_id, pending, asked FROM ( \
    SELECT p.order_id AS order_id, p.refund_pending AS pending, \
        CAST(COALESCE(SUM(r.amount), 0) AS BIGINT) AS asked \
    FROM payment p LEFT JOIN refund r ON r.order_id = p.order_id AND r.state = 'pending' \
    GROUP BY p.order_id, p.refund_pending) AS sums WHERE pending <> asked";

const GAPS: &str = "SELECT order_id, counted, found FROM ( \
    SELECT p.order_id AS order_id, p.transfers AS counted, COUNT(t.id) AS found \
    FROM payment p LEFT JOIN transfer t ON t.order_id = p.order_id \
    GROUP BY p.order_id, p.transfers) AS counts WHERE counted <> found";

const SETTLED_TWICE: &str = "SELECT pending_id, COUNT(*) FROM transfer WHERE pending_id IS NOT NULL \
    GROUP BY pending_id HAVING COUNT(*) > 1";

/// A dead letter of its key also waits for somebody: it is reported with the dead letters.
const STUCK: &str = "SELECT p.order_id, p.state, p.void FROM payment p \
    WHERE (p.state IN ('processing', 'requires_action') OR p.in_flight IS NOT NULL OR p.void IN ('cleanup', 'wanted')) \
    AND NOT EXISTS (SELECT 1 FROM effect e WHERE e.state = 'pending' AND e.key = p.order_id) \
    AND NOT EXISTS (SELECT 1 FROM timer t WHERE t.key = p.order_id) \
    AND NOT EXISTS (SELECT 1 FROM refund r JOIN timer t ON t.key = r.refund_id WHERE r.order_id = p.order_id) \
    AND NOT EXISTS (SELECT 1 FROM dead_letter d WHERE d.key = p.order_id)";

const STUCK_REFUND: &str = "SELECT r.refund_id, r.order_id FROM refund r WHERE r.state = 'pending' \
    AND NOT EXISTS (SELECT 1 FROM effect e WHERE e.state = 'pending' AND e.key = r.order_id) \
    AND NOT EXISTS (SELECT 1 FROM timer t WHERE t.key = r.refund_id) \
    AND NOT EXISTS (SELECT 1 FROM dead_letter d WHERE d.key = r.order_id OR d.key = r.refund_id)";
