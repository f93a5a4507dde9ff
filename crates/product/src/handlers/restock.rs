use pangaea_contracts::product::{AdjustStock, ReleaseStock, Restock, Restocked, StockLine, StockReleased};
use pangaea_contracts::{Message, Timestamp};
use pangaea_journal::Json;
use pangaea_kernel::{Answer, Cx, Failure, Problem, ProblemKind};

use super::moved;
use super::stock::{ReservationTimeout, stocks, unreserve};
use crate::domain::{AdjustRefusal, ReleaseStep, ReservationState, adjust, give_back, on_release, outstanding};
use crate::store::{MovementKind, ReservationRow, RestockRow, StockRow};
use crate::view::StockView;

/// Gives back whatever is held for an order, and refuses what may still come late.
pub(crate) async fn release_stock(cx: &mut Cx, command: ReleaseStock) -> Result<(), Failure> {
    let ReleaseStock { order_id } = command;
    let known = cx.get::<ReservationRow>(&order_id).await?;
    let step = on_release(known.as_ref().map(|row| row.state));
    let row = match known {
        Some(row) => release(cx, row, step).await?,
        None => ReservationRow {
            order_id: order_id.clone(),
            state: ReservationState::Tombstone,
            lines: Json(Vec::new()),
            returned: Json(Vec::new()),
            expires_at: Timestamp::default(),
            refusal: None,
        },
    };
    cx.put(row);
    cx.emit(&StockReleased { order_id });
    Ok(())
}

async fn release(cx: &mut Cx, mut row: ReservationRow, step: ReleaseStep) -> Result<ReservationRow, Failure> {
    match step {
        ReleaseStep::Unreserve => {
            unreserve(cx, &row.lines.0).await?;
            cx.cancel::<ReservationTimeout>(&ReservationTimeout { order_id: row.order_id.clone() }.key());
        }
        ReleaseStep::Restock => {
            // Units that came back with a refund are back already.
            let coming = outstanding(&row.lines.0, &row.returned.0);
            come_back(cx, &coming, row.order_id.as_str()).await?;
            row.returned = Json(row.lines.0.clone());
        }
        ReleaseStep::Nothing | ReleaseStep::Tombstone => {}
    }
    if row.state != ReservationState::Tombstone {
        row.state = ReservationState::Released;
    }
    Ok(row)
}

/// Sold units come back with a refund, once per refund, and never more than were sold.
pub(crate) async fn restock(cx: &mut Cx, command: Restock) -> Result<(), Failure> {
    let Restock { order_id, refund_id, lines } = command;
    if cx.get::<RestockRow>(&refund_id).await?.is_none() {
        let sold = cx.get::<ReservationRow>(&order_id).await?.filter(|row| row.state == ReservationState::Committed);
        let mut coming = Vec::new();
        if let Some(mut row) = sold {
            let returned;
            (coming, returned) = give_back(&row.lines.0, &row.returned.0, &lines);
            come_back(cx, &coming, refund_id.as_str()).await?;
            row.returned = Json(returned);
            cx.put(row);
        }
        let restocked_at = cx.now();
        cx.put(RestockRow {
            refund_id: refund_id.clone(),
            order_id: order_id.clone(),
            lines: Json(coming),
            restocked_at,
        });
    }
    cx.emit(&Restocked { order_id, refund_id });
    Ok(())
}

async fn come_back(cx: &mut Cx, lines: &[StockLine], cause: &str) -> Result<(), Failure> {
    for (line, mut stock) in stocks(cx, lines).await? {
        let back = moved(&mut stock, MovementKind::Return, line.quantity, cause, cx.now());
        cx.put(back);
        cx.put(stock);
    }
    Ok(())
}

/// Staff correct how many units there are.
pub(crate) async fn adjust_stock(cx: &mut Cx, command: AdjustStock) -> Result<Answer, Failure> {
    let AdjustStock { sku_id, delta, reason, expected_on_hand } = command;
    let Some(mut stock) = cx.get::<StockRow>(&sku_id).await? else {
        return Err(Problem::not_found("SKU").into());
    };
    adjust(stock.level(), delta, expected_on_hand).map_err(|refusal| refused(refusal, &stock))?;
    let mut movement = moved(&mut stock, MovementKind::Adjustment, delta, cx.input_id(), cx.now());
    movement.note = Some(reason);
    let answer = Answer::json(200, &StockView { sku_id, on_hand: stock.on_hand, reserved: stock.reserved })?;
    cx.put(movement);
    cx.put(stock);
    Ok(answer)
}

fn refused(refusal: AdjustRefusal, stock: &StockRow) -> Problem {
    let StockRow { on_hand, reserved, .. } = stock;
    let (pointer, detail) = match refusal {
        AdjustRefusal::Unexpected => {
            ("/expected_on_hand", format!("{on_hand} units are on hand; decide anew from there"))
        }
        AdjustRefusal::BelowReserved => (
            "/delta",
            format!(
                "{on_hand} units are on hand and {reserved} of them are reserved; at most {} may go",
                on_hand - reserved
            ),
        ),
        AdjustRefusal::TooMany => ("/delta", "that would be more units than can be counted".to_owned()),
    };
    Problem::new(ProblemKind::Conflict, detail.clone()).with_field(pointer, detail)
}
