//! What the module does with each message.

mod catalogue;
mod create;
mod restock;
mod stock;

pub(crate) use catalogue::{revise_product, set_price, withdraw_product};
pub(crate) use create::{create_product, create_products, invalid_product};
pub(crate) use restock::{adjust_stock, release_stock, restock};
pub(crate) use stock::{ReservationTimeout, commit_stock, reservation_expired, reserve_stock};

use pangaea_contracts::Timestamp;
use pangaea_kernel::{Answer, Failure, Problem, ProblemKind};

use crate::store::{MovementKind, MovementRow, StockRow};

/// Changes what is on hand and says why, in one step, so that neither can be without the other.
fn moved(stock: &mut StockRow, kind: MovementKind, quantity: i64, cause: &str, now: Timestamp) -> MovementRow {
    stock.on_hand += quantity;
    stock.movements += 1;
    MovementRow {
        sku_id: stock.sku_id.clone(),
        number: stock.movements,
        kind,
        quantity,
        cause: cause.to_owned(),
        note: None,
        moved_at: now,
    }
}

fn check_version(version: i64, expected: Option<i64>) -> Result<(), Failure> {
    if expected.is_none_or(|expected| expected == version) {
        return Ok(());
    }
    let detail = format!("it is at version {version} now; read it again and decide anew");
    Err(Problem::new(ProblemKind::PreconditionFailed, detail).into())
}

fn with_etag(answer: Answer, version: i64) -> Answer {
    answer.with_header("etag", format!("\"{version}\""))
}
