//! What payment and stock answer to a refund, and what is done when they do not.

use pangaea_contracts::order::Refunded as OrderRefunded;
use pangaea_contracts::payment::{self, RefundRefused};
use pangaea_contracts::product::{Restock, Restocked};
use pangaea_journal::Json;
use pangaea_kernel::{Cx, Failure};

use crate::OrderSettings;
use crate::domain::State;
use crate::refunding::{self, Outcome, RefundState, Restocking};
use crate::saga::note;
use crate::store::{OrderRow, RefundRow};
use crate::timers::RefundDeadline;

pub(crate) async fn refunded(cx: &mut Cx, event: payment::Refunded) -> Result<(), Failure> {
    let Some((mut order, mut refund)) = pending(cx, &event.refund_id).await? else { return Ok(()) };
    if event.amount != order.money(refund.amount) {
        let stated = order.money(refund.amount);
        return Err(Failure::poison(format!("payment refunded {} where {stated} was asked for", event.amount)));
    }
    refunding::end(&mut order.lines.0, &refund.lines.0, Outcome::Succeeded);
    order.refund_pending -= refund.amount;
    order.refunded += refund.amount;
    if order.refunded == order.captured {
        order.state = State::Refunded;
        order.state_since = cx.now();
    }
    note(cx, &mut order, "refunded", Some(event.amount.to_string()));
    refund.state = RefundState::Succeeded;
    refund.settled_at = Some(cx.now());
    cx.emit(&OrderRefunded {
        order_id: order.id.clone(),
        refund_id: refund.id.clone(),
        amount: event.amount,
        refunded_total: order.money(order.refunded),
    });
    if refund.restock == Restocking::Wanted {
        refund.restock = Restocking::Sent;
        send_restock(cx, &refund);
        set_deadline(cx, &refund, 0)?;
    } else {
        cx.cancel::<RefundDeadline>(refund.id.as_str());
    }
    cx.put(order);
    cx.put(refund);
    Ok(())
}

pub(crate) async fn refund_refused(cx: &mut Cx, event: RefundRefused) -> Result<(), Failure> {
    let Some((mut order, mut refund)) = pending(cx, &event.refund_id).await? else { return Ok(()) };
    refunding::end(&mut order.lines.0, &refund.lines.0, Outcome::Refused);
    order.refund_pending -= refund.amount;
    let detail = format!("{}: {}", event.reason.code, event.reason.detail);
    note(cx, &mut order, "refund_refused", Some(detail));
    refund.state = RefundState::Refused;
    refund.restock = Restocking::None;
    refund.settled_at = Some(cx.now());
    refund.reason = Some(Json(event.reason));
    cx.cancel::<RefundDeadline>(refund.id.as_str());
    cx.put(order);
    cx.put(refund);
    Ok(())
}

pub(crate) async fn restocked(cx: &mut Cx, event: Restocked) -> Result<(), Failure> {
    let Some(mut refund) = cx.get::<RefundRow>(&event.refund_id).await? else { return Ok(()) };
    if refund.restock != Restocking::Sent {
        return Ok(());
    }
    refund.restock = Restocking::Done;
    cx.cancel::<RefundDeadline>(refund.id.as_str());
    cx.put(refund);
    Ok(())
}

/// Asks again, without end: money and goods that are owed are never given up.
pub(crate) async fn deadline(cx: &mut Cx, timer: RefundDeadline) -> Result<(), Failure> {
    let Some(refund) = cx.get::<RefundRow>(&timer.refund_id).await? else { return Ok(()) };
    match (refund.state, refund.restock) {
        (RefundState::Pending, _) => send_refund(cx, &refund),
        (_, Restocking::Sent) => send_restock(cx, &refund),
        _ => return Ok(()),
    }
    let (state, attempt) = (refund.state, timer.attempt + 1);
    tracing::error!(order = %refund.order_id, refund = %refund.id, %state, attempt, "a refund is unanswered; asking again");
    set_deadline(cx, &refund, attempt)
}

/// Asks payment to give the money back.
pub(crate) fn send_refund(cx: &mut Cx, refund: &RefundRow) {
    let amount = pangaea_contracts::Money::new(refund.amount, refund.currency);
    cx.send(&payment::Refund { order_id: refund.order_id.clone(), refund_id: refund.id.clone(), amount });
}

fn send_restock(cx: &mut Cx, refund: &RefundRow) {
    let lines = refunding::stock_lines(&refund.lines.0);
    cx.send(&Restock { order_id: refund.order_id.clone(), refund_id: refund.id.clone(), lines });
}

/// # Errors
/// Never, for the module's own settings.
pub(crate) fn set_deadline(cx: &mut Cx, refund: &RefundRow, attempt: u32) -> Result<(), Failure> {
    let delay_ms = cx.settings::<OrderSettings>()?.compensation_backoff_ms(attempt);
    let (order_id, refund_id) = (refund.order_id.clone(), refund.id.clone());
    cx.after(delay_ms, &RefundDeadline { order_id, refund_id, attempt });
    Ok(())
}

/// The refund and its order, unless it is settled already or not known here.
async fn pending(cx: &mut Cx, id: &pangaea_contracts::RefundId) -> Result<Option<(OrderRow, RefundRow)>, Failure> {
    let Some(refund) = cx.get::<RefundRow>(id).await? else { return Ok(None) };
    if refund.state != RefundState::Pending {
        return Ok(None);
    }
    let order = cx.get::<OrderRow>(&refund.order_id).await?;
    Ok(order.map(|order| (order, refund)))
}
