//! What callers ask for: place, cancel, refund. What needs no state has been checked at the edge.

use pangaea_contracts::order::{CancelOrder, PlaceOrder, Placed, Reason, RefundOrder};
use pangaea_contracts::{Actor, OrderId, RefundId, SkuId, UserId};
use pangaea_faults::{Change, changed};
use pangaea_journal::Json;
use pangaea_kernel::{Answer, Cx, Failure, Problem, ProblemKind};

use crate::OrderSettings;
use crate::changes::wall_clock;
use crate::domain::{CancelRefusal, Event, Saga, Say, State, may_cancel};
use crate::placing::{self, Priced};
use crate::refunding::{self, RefundState, Restocking};
use crate::refunds::{send_refund, set_deadline as set_refund_deadline};
use crate::saga::{apply, note, set_deadline, speak};
use crate::store::{OrderRow, RefundRow, SkuPrice};
use crate::views::{OrderView, RefundView};

/// How many refunds an order may have had: more are a mistake of the caller, and lists of them stay bounded.
const REFUNDS_OF_AN_ORDER_MAX: i64 = 10_000;

pub(crate) async fn place(cx: &mut Cx, command: PlaceOrder) -> Result<Answer, Failure> {
    let mut prices = Vec::with_capacity(command.lines.len());
    for line in &command.lines {
        prices.push(cx.get::<SkuPrice>(&SkuId::from_id_or_code(&line.sku)).await?);
    }
    let priced = placing::price(&command.lines, &prices)?;
    placing::check_total(&priced)?;
    let Priced { lines, total } = priced;
    let settings = cx.settings::<OrderSettings>()?;
    let mut order = OrderRow {
        id: cx.id()?,
        version: 0,
        state: State::Placed,
        state_since: cx.now(),
        attempt: Saga::PLACED.attempt,
        awaits_void: false,
        awaits_release: false,
        placed_at: if changed(Change::WallClock) { wall_clock() } else { cx.now() },
        customer_id: customer_id(cx.actor()),
        customer_reference: command.customer_reference,
        currency: total.currency,
        total: total.amount,
        captured: 0,
        refunded: 0,
        refund_pending: 0,
        lines: Json(lines),
        reason: None,
        payment_token: Some(command.payment_token),
        shipping_address: command.shipping_address.map(Json),
    };
    let overridden = order.lines.0.iter().filter(|line| line.price_override).count();
    let detail = (overridden > 0).then(|| format!("prices of {overridden} lines set by {}", cx.actor().subject));
    note(cx, &mut order, "placed", detail);
    if changed(Change::SwappedOutputs) {
        speak(cx, &order, Say::ReserveStock, &settings);
    }
    cx.emit(&Placed {
        order_id: order.id.clone(),
        customer_id: order.customer_id.clone(),
        lines: placing::ordered_lines(&order.lines.0, total.currency),
        total,
    });
    if !changed(Change::SwappedOutputs) {
        speak(cx, &order, Say::ReserveStock, &settings);
    }
    set_deadline(cx, &order, &settings);
    let answer = order_answer(202, &order)?;
    cx.put(order);
    Ok(answer)
}

pub(crate) async fn cancel(cx: &mut Cx, command: CancelOrder) -> Result<Answer, Failure> {
    let order = reached(cx, &command.order_id).await?;
    let staff = cx.actor().is_staff();
    may_cancel(order.state, staff).map_err(|refusal| Problem::new(ProblemKind::Conflict, advice(refusal)))?;
    let (code, who) = if staff { ("cancelled_by_staff", "staff") } else { ("cancelled_by_customer", "the customer") };
    let detail = command.reason.unwrap_or_else(|| format!("{who} cancelled the order"));
    let order = apply(cx, order, &Event::Cancel(Reason::new(code, detail))).await?;
    order_answer(202, &order)
}

pub(crate) async fn refund(cx: &mut Cx, command: RefundOrder) -> Result<Answer, Failure> {
    let mut order = reached(cx, &command.order_id).await?;
    if !matches!(order.state, State::Confirmed | State::Refunded) {
        let detail =
            format!("the order is {}; only a confirmed one can be refunded, before that cancel it", order.state);
        return Err(Failure::refusal(ProblemKind::Conflict, detail));
    }
    if order.version >= REFUNDS_OF_AN_ORDER_MAX {
        return Err(Failure::refusal(
            ProblemKind::Conflict,
            "this order has had too many refunds; refund several units at once",
        ));
    }
    let available = order.captured - order.refunded - order.refund_pending;
    let (lines, amount) = refunding::decide(&order.lines.0, &command.lines, available)?;
    let refund = RefundRow {
        id: cx.id::<RefundId>()?,
        order_id: order.id.clone(),
        state: RefundState::Pending,
        restock: if command.restock { Restocking::Wanted } else { Restocking::None },
        amount,
        currency: order.currency,
        lines: Json(lines),
        stated_reason: command.reason,
        reason: None,
        requested_at: cx.now(),
        settled_at: None,
    };
    refunding::begin(&mut order.lines.0, &refund.lines.0);
    order.refund_pending += amount;
    let detail = order.money(amount).to_string();
    note(cx, &mut order, "refund_requested", Some(detail));
    send_refund(cx, &refund);
    set_refund_deadline(cx, &refund, 0)?;
    let location = format!("/v1/orders/{}/refunds/{}", order.id, refund.id);
    let answer = Answer::json(202, &RefundView::from(&refund))?.with_header("location", location);
    cx.put(order);
    cx.put(refund);
    Ok(answer)
}

/// The order, if it is there and the caller's: another's is as good as none.
async fn reached(cx: &mut Cx, id: &OrderId) -> Result<OrderRow, Failure> {
    let order = cx.get::<OrderRow>(id).await?;
    let actor = cx.actor();
    let reaches = |order: &OrderRow| {
        actor.is_staff() || order.customer_id.as_ref().is_some_and(|owner| owner.as_str() == actor.subject)
    };
    order.filter(reaches).ok_or_else(|| Problem::not_found("order").into())
}

/// Staff place for guests and for customers known by a reference; an order of theirs has no account.
fn customer_id(actor: &Actor) -> Option<UserId> {
    if actor.is_staff() { None } else { actor.subject.parse().ok() }
}

fn order_answer(status: u16, order: &OrderRow) -> Result<Answer, Failure> {
    let answer = Answer::json(status, &OrderView::from(order))?;
    let location = format!("/v1/orders/{}", order.id);
    Ok(answer.with_header("location", location).with_header("etag", format!("\"{}\"", order.version)))
}

fn advice(refusal: CancelRefusal) -> &'static str {
    match refusal {
        CancelRefusal::Capturing => {
            "the payment is being taken; once the order is confirmed, ask for a refund: POST …/refunds"
        }
        CancelRefusal::Captured => "the payment has been taken; ask for a refund instead: POST …/refunds",
        CancelRefusal::InReview => "a person is looking at this order; only staff can end it",
    }
}
