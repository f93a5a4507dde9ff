//! What must be true of the stock, asked of the database as a whole: each check is one statement that finds breaches only.
//! And what `pangaea verify` compares with the other modules.

use pangaea_contracts::{Message, OrderId};
use pangaea_journal::{Database, JournalError, Kind, Row, Statement};

use crate::domain::ReservationState;
use crate::handlers::ReservationTimeout;

/// Breaches told per check, at most; the sentence after the last says that there are more.
const BREACHES_PER_CHECK_MAX: usize = 100;

/// An order's hold on the stock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    pub order_id: OrderId,
    pub state: ReservationState,
}

/// Checks that stock is conserved: what is on hand is the sum of its movements, what is reserved is the sum of the open
/// reservations, and every open reservation will end. Each check reads one snapshot; rows stay in the database.
///
/// Returns the breaches as sentences; none in a sound store.
///
/// # Errors
/// When the database cannot be read.
pub async fn verify(database: &Database) -> Result<Vec<String>, JournalError> {
    let mut breaches = Vec::new();
    for (statement, say) in checks(database.kind()) {
        let rows = database.fetch(statement.and(&format!("LIMIT {}", BREACHES_PER_CHECK_MAX + 1))).await?;
        for row in rows.iter().take(BREACHES_PER_CHECK_MAX) {
            breaches.push(say(row)?);
        }
        if rows.len() > BREACHES_PER_CHECK_MAX {
            breaches.push(format!("… and more of this kind than the {BREACHES_PER_CHECK_MAX} named"));
        }
    }
    Ok(breaches)
}

/// The reservations of the orders behind `after` (from the first without it) up to and with `until` (to the last without
/// it), by order id, at most `limit`.
///
/// # Errors
/// When the database cannot be read.
pub async fn reservations(
    database: &Database,
    after: Option<&OrderId>,
    until: Option<&OrderId>,
    limit: u32,
) -> Result<Vec<Reservation>, JournalError> {
    let mut statement = Statement::new("SELECT order_id, state FROM reservation WHERE 1 = 1");
    if let Some(after) = after {
        statement = statement.and("AND order_id > ?").bind_column(after);
    }
    if let Some(until) = until {
        statement = statement.and("AND order_id <= ?").bind_column(until);
    }
    let rows = database.fetch(statement.and("ORDER BY order_id LIMIT ?").bind(i64::from(limit))).await?;
    rows.iter().map(|row| Ok(Reservation { order_id: row.get(0)?, state: row.get(1)? })).collect()
}

type Say = fn(&Row) -> Result<String, JournalError>;

fn checks(kind: Kind) -> Vec<(Statement, Say)> {
    let open_lines = open_lines(kind);
    let on_hand = "SELECT s.sku_id, s.on_hand, COALESCE(m.moved, 0), s.movements, COALESCE(m.count, 0), COALESCE(m.last, 0) \
        FROM stock s LEFT JOIN (SELECT sku_id, CAST(SUM(quantity) AS BIGINT) AS moved, COUNT(*) AS count, MAX(number) AS last \
        FROM stock_movement GROUP BY sku_id) m ON m.sku_id = s.sku_id \
        WHERE s.on_hand <> COALESCE(m.moved, 0) OR s.movements <> COALESCE(m.count, 0) OR s.movements <> COALESCE(m.last, 0) \
        ORDER BY s.sku_id";
    let reserved = format!(
        "SELECT s.sku_id, s.reserved, COALESCE(r.held, 0) FROM stock s \
        LEFT JOIN (SELECT sku_id, CAST(SUM(quantity) AS BIGINT) AS held FROM ({open_lines}) l GROUP BY sku_id) r \
        ON r.sku_id = s.sku_id WHERE s.reserved <> COALESCE(r.held, 0) ORDER BY s.sku_id"
    );
    let strangers = format!(
        "SELECT l.order_id, l.sku_id FROM ({open_lines}) l LEFT JOIN stock s ON s.sku_id = l.sku_id \
        WHERE s.sku_id IS NULL ORDER BY l.order_id"
    );
    let bounds = "SELECT sku_id, on_hand, reserved FROM stock WHERE reserved < 0 OR reserved > on_hand ORDER BY sku_id";
    let unstocked = "SELECT k.sku_id, k.code FROM sku k LEFT JOIN stock s ON s.sku_id = k.sku_id \
        WHERE s.sku_id IS NULL ORDER BY k.sku_id";
    let endless = "SELECT r.order_id FROM reservation r LEFT JOIN timer t ON t.key = r.order_id AND t.subject = ? \
        WHERE r.state = 'open' AND t.key IS NULL ORDER BY r.order_id";
    vec![
        (Statement::new(on_hand), |row| {
            let (sku, on_hand, moved): (String, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let (movements, count, last): (i64, i64, i64) = (row.get(3)?, row.get(4)?, row.get(5)?);
            Ok(format!(
                "product: {sku} has {on_hand} on hand, but its movements sum to {moved} ({movements} noted, {count} there, the last has number {last})"
            ))
        }),
        (Statement::new(reserved), |row| {
            let (sku, reserved, held): (String, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(format!("product: {sku} has {reserved} reserved, but its open reservations sum to {held}"))
        }),
        (Statement::new(strangers), |row| {
            let (order, sku): (String, String) = (row.get(0)?, row.get(1)?);
            Ok(format!("product: the open reservation of {order} holds {sku}, which has no stock"))
        }),
        (Statement::new(bounds), |row| {
            let (sku, on_hand, reserved): (String, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(format!("product: {sku} breaks 0 <= reserved <= on_hand: {reserved} reserved, {on_hand} on hand"))
        }),
        (Statement::new(unstocked), |row| {
            let (sku, code): (String, String) = (row.get(0)?, row.get(1)?);
            Ok(format!("product: {sku} ({code}) has no stock row"))
        }),
        (Statement::new(endless).bind(ReservationTimeout::SUBJECT), |row| {
            let order: String = row.get(0)?;
            Ok(format!("product: the open reservation of {order} has no timer, so it would never end"))
        }),
    ]
}

/// The lines of open reservations as rows (order_id, sku_id, quantity). The one place where the databases' JSON functions
/// differ; a row per line was rejected, because it would cost every order two more writes per line.
fn open_lines(kind: Kind) -> &'static str {
    match kind {
        Kind::Sqlite => {
            "SELECT r.order_id, json_extract(j.value, '$.sku_id') AS sku_id, json_extract(j.value, '$.quantity') AS quantity \
            FROM reservation r, json_each(r.lines) j WHERE r.state = 'open'"
        }
        Kind::Postgres => {
            "SELECT r.order_id, j.line ->> 'sku_id' AS sku_id, CAST(j.line ->> 'quantity' AS BIGINT) AS quantity \
            FROM reservation r CROSS JOIN LATERAL json_array_elements(CAST(r.lines AS json)) AS j (line) WHERE r.state = 'open'"
        }
    }
}
