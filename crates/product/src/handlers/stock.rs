use pangaea_contracts::order::Reason;
use pangaea_contracts::product::{
    CommitRefused, CommitStock, ReservationExpired, ReserveStock, StockCommitted, StockLine, StockRefused,
    StockReserved,
};
use pangaea_contracts::{Message, OrderId};
use pangaea_faults::{Change, Plant, changed, planted};
use pangaea_journal::{Column, Json};
use pangaea_kernel::{Cx, Failure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::moved;
use crate::domain::{
    CommitStep, Level, Refusal, ReservationState, ReserveStep, check_availability, on_commit, on_reserve, sum_lines,
};
use crate::settings::ProductSettings;
use crate::store::{MovementKind, ReservationRow, StockRow};

/// A reservation's time is up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ReservationTimeout {
    pub(crate) order_id: OrderId,
}

impl Message for ReservationTimeout {
    const SUBJECT: &'static str = "product.tmr.reservation_expired.v1";

    fn key(&self) -> String {
        self.order_id.to_string()
    }
}

/// Holds the units of an order, all or none, until a time.
pub(crate) async fn reserve_stock(cx: &mut Cx, command: ReserveStock) -> Result<(), Failure> {
    let ReserveStock { order_id, lines, ttl_ms } = command;
    let known = cx.get::<ReservationRow>(&order_id).await?;
    if let ReserveStep::Again(_) = on_reserve(known.as_ref().map(|row| row.state)) {
        known.iter().for_each(|row| say_state(cx, row));
        return Ok(());
    }
    let ttl_ms = cx.settings::<ProductSettings>()?.bounded_ttl_ms(ttl_ms);
    let mut row = ReservationRow {
        order_id,
        state: ReservationState::Open,
        lines: Json(Vec::new()),
        returned: Json(Vec::new()),
        expires_at: cx.now().plus_millis(ttl_ms),
        refusal: None,
    };
    let evaluated = match sum_lines(&lines) {
        Ok(summed) => take(cx, &summed, false, reserve_units).await?.map(|()| summed),
        Err(refusal) => Err(refusal),
    };
    match evaluated {
        Ok(summed) => {
            row.lines = Json(summed);
            cx.after(ttl_ms, &ReservationTimeout { order_id: row.order_id.clone() });
        }
        Err(refusal) => {
            row.state = ReservationState::Refused;
            row.refusal = Some(Json(refusal));
        }
    }
    say_state(cx, &row);
    cx.put(row);
    Ok(())
}

/// Turns reserved units into sold ones.
pub(crate) async fn commit_stock(cx: &mut Cx, command: CommitStock) -> Result<(), Failure> {
    let CommitStock { order_id } = command;
    let known = cx.get::<ReservationRow>(&order_id).await?;
    let step = on_commit(known.as_ref().map(|row| row.state));
    let refuse = |cx: &mut Cx, reason: Reason| cx.emit(&CommitRefused { order_id: order_id.clone(), reason });
    let Some(mut row) = known else {
        refuse(cx, Reason::new("not_reserved", "nothing was reserved for this order"));
        return Ok(());
    };
    match step {
        CommitStep::Already => {}
        CommitStep::Refuse(code) => {
            refuse(cx, Reason::new(code, format!("nothing is reserved for this order: it is {}", row.state)));
            return Ok(());
        }
        CommitStep::Commit => {
            sell(cx, &order_id, &row.lines.0, true).await?;
            cx.cancel::<ReservationTimeout>(&ReservationTimeout { order_id: order_id.clone() }.key());
        }
        CommitStep::ReserveAgain => {
            // What was withdrawn meanwhile may still be sold to who had reserved it.
            if let Err(Refusal { reason, .. }) = take(cx, &row.lines.0, true, |_| {}).await? {
                let detail = format!("the reservation had expired, and its units are gone: {}", reason.detail);
                refuse(cx, Reason::new("reservation_expired", detail));
                return Ok(());
            }
            sell(cx, &order_id, &row.lines.0, false).await?;
        }
    }
    if row.state != ReservationState::Committed {
        row.state = ReservationState::Committed;
        cx.put(row);
    }
    if changed(Change::ExtraEvent) {
        cx.emit(&StockCommitted { order_id: order_id.clone() });
    }
    cx.emit(&StockCommitted { order_id });
    Ok(())
}

/// Gives back what was reserved for longer than promised.
pub(crate) async fn reservation_expired(cx: &mut Cx, timeout: ReservationTimeout) -> Result<(), Failure> {
    let Some(mut row) = cx.get::<ReservationRow>(&timeout.order_id).await? else { return Ok(()) };
    if row.state != ReservationState::Open || row.expires_at > cx.now() {
        return Ok(());
    }
    unreserve(cx, &row.lines.0).await?;
    row.state = ReservationState::Expired;
    say_state(cx, &row);
    cx.put(row);
    Ok(())
}

/// Makes reserved units available again.
pub(super) async fn unreserve(cx: &mut Cx, lines: &[StockLine]) -> Result<(), Failure> {
    for (line, mut stock) in stocks(cx, lines).await? {
        stock.reserved -= line.quantity;
        cx.put(stock);
    }
    Ok(())
}

/// The stock rows of lines that are known to have one.
pub(super) async fn stocks<'a>(cx: &mut Cx, lines: &'a [StockLine]) -> Result<Vec<(&'a StockLine, StockRow)>, Failure> {
    cx.prefetch::<StockRow>(lines.iter().map(|line| vec![line.sku_id.to_value()])).await?;
    let mut found = Vec::with_capacity(lines.len());
    for line in lines {
        let missing = || Failure::poison(format!("{} was reserved but has no stock row", line.sku_id));
        found.push((line, cx.get::<StockRow>(&line.sku_id).await?.ok_or_else(missing)?));
    }
    Ok(found)
}

/// Checks that all of `lines` are available, and changes each stock row by `change` and the quantity. All or none.
async fn take(
    cx: &mut Cx,
    lines: &[StockLine],
    withdrawn_too: bool,
    change: impl Fn(&mut (StockRow, i64)),
) -> Result<Result<(), Refusal>, Failure> {
    cx.prefetch::<StockRow>(lines.iter().map(|line| vec![line.sku_id.to_value()])).await?;
    let mut rows = Vec::with_capacity(lines.len());
    for line in lines {
        let row = cx.get::<StockRow>(&line.sku_id).await?;
        rows.push(row.filter(|row| withdrawn_too || !row.withdrawn));
    }
    let levels: Vec<Option<Level>> = rows.iter().map(|row| row.as_ref().map(StockRow::level)).collect();
    if let Err(refusal) = check_availability(lines, &levels)
        && !planted(Plant::StockWithoutGuard)
    {
        return Ok(Err(refusal));
    }
    for (row, line) in rows.into_iter().flatten().zip(lines) {
        let mut changed = (row, line.quantity);
        change(&mut changed);
        cx.put(changed.0);
    }
    Ok(Ok(()))
}

fn reserve_units((row, quantity): &mut (StockRow, i64)) {
    row.reserved += *quantity;
}

/// Units leave the store; `reserved` tells whether they were held until now.
async fn sell(cx: &mut Cx, order_id: &OrderId, lines: &[StockLine], reserved: bool) -> Result<(), Failure> {
    for (line, mut stock) in stocks(cx, lines).await? {
        if reserved {
            stock.reserved -= line.quantity;
        }
        let sale = moved(&mut stock, MovementKind::Sale, -line.quantity, order_id.as_str(), cx.now());
        cx.put(sale);
        cx.put(stock);
    }
    Ok(())
}

/// Tells order how its reservation stands: the answer to the first message and to every repeat.
pub(super) fn say_state(cx: &mut Cx, row: &ReservationRow) {
    let order_id = row.order_id.clone();
    match row.state {
        ReservationState::Open => cx.emit(&StockReserved { order_id, expires_at: row.expires_at }),
        ReservationState::Committed => cx.emit(&StockCommitted { order_id }),
        ReservationState::Expired => cx.emit(&ReservationExpired { order_id }),
        ReservationState::Refused | ReservationState::Released | ReservationState::Tombstone => {
            let Refusal { reason, shortages } = match &row.refusal {
                Some(refusal) => refusal.0.clone(),
                None => Refusal {
                    reason: Reason::new("released", "this order had given its stock back before it asked for it"),
                    shortages: Vec::new(),
                },
            };
            cx.emit(&StockRefused { order_id, reason, shortages });
        }
    }
}
