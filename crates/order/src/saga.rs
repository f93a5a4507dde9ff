//! What stock and payment answer, and what is done when they do not: the state machine's decisions, carried out.

use pangaea_contracts::OrderId;
use pangaea_contracts::order::{Cancelled, Confirmed, ManualReview, Reason};
use pangaea_contracts::payment::{
    ActionRequired, Authorize, Authorized, Capture, CaptureFailed, Captured, Declined, Void, Voided,
};
use pangaea_contracts::product::{
    CommitRefused, CommitStock, ReleaseStock, ReservationExpired, ReserveStock, StockCommitted, StockRefused,
    StockReleased, StockReserved,
};
use pangaea_faults::{Change, Plant, changed, unguarded};
use pangaea_journal::Json;
use pangaea_kernel::{Cx, Failure};

use crate::OrderSettings;
use crate::changes::RenamedConfirmed;
use crate::domain::{self, Event, Say, State, Step};
use crate::measures;
use crate::placing::stock_lines;
use crate::store::{OrderRow, TimelineRow};
use crate::timers::Deadline;

pub(crate) async fn stock_reserved(cx: &mut Cx, event: StockReserved) -> Result<(), Failure> {
    happened(cx, &event.order_id, Event::StockReserved).await
}

pub(crate) async fn stock_refused(cx: &mut Cx, event: StockRefused) -> Result<(), Failure> {
    let code = if event.shortages.is_empty() { event.reason.code } else { "out_of_stock".to_owned() };
    happened(cx, &event.order_id, Event::StockRefused(Reason::new(code, event.reason.detail))).await
}

pub(crate) async fn stock_committed(cx: &mut Cx, event: StockCommitted) -> Result<(), Failure> {
    happened(cx, &event.order_id, Event::StockCommitted).await
}

pub(crate) async fn commit_refused(cx: &mut Cx, event: CommitRefused) -> Result<(), Failure> {
    happened(cx, &event.order_id, Event::CommitRefused(event.reason)).await
}

pub(crate) async fn stock_released(cx: &mut Cx, event: StockReleased) -> Result<(), Failure> {
    happened(cx, &event.order_id, Event::StockReleased).await
}

pub(crate) async fn reservation_expired(cx: &mut Cx, event: ReservationExpired) -> Result<(), Failure> {
    happened(cx, &event.order_id, Event::ReservationExpired).await
}

pub(crate) async fn authorized(cx: &mut Cx, event: Authorized) -> Result<(), Failure> {
    happened(cx, &event.order_id, Event::Authorized).await
}

pub(crate) async fn action_required(cx: &mut Cx, event: ActionRequired) -> Result<(), Failure> {
    happened(cx, &event.order_id, Event::ActionRequired).await
}

/// Callers compare one code, whatever the provider calls it.
pub(crate) async fn declined(cx: &mut Cx, event: Declined) -> Result<(), Failure> {
    let Reason { code, detail } = event.reason;
    let detail = if code == "payment_declined" { detail } else { format!("{detail} ({code})") };
    happened(cx, &event.order_id, Event::Declined(Reason::new("payment_declined", detail))).await
}

pub(crate) async fn captured(cx: &mut Cx, event: Captured) -> Result<(), Failure> {
    let currency = cx.get::<OrderRow>(&event.order_id).await?.map(|order| order.currency);
    if currency.is_some_and(|currency| currency != event.amount.currency) {
        return Err(Failure::poison(format!("{} was captured for an order in another currency", event.amount)));
    }
    happened(cx, &event.order_id, Event::Captured { amount: event.amount.amount }).await
}

pub(crate) async fn capture_failed(cx: &mut Cx, event: CaptureFailed) -> Result<(), Failure> {
    happened(cx, &event.order_id, Event::CaptureFailed(event.reason)).await
}

pub(crate) async fn voided(cx: &mut Cx, event: Voided) -> Result<(), Failure> {
    happened(cx, &event.order_id, Event::Voided).await
}

pub(crate) async fn deadline(cx: &mut Cx, timer: Deadline) -> Result<(), Failure> {
    let Some(order) = cx.get::<OrderRow>(&timer.order_id).await? else { return Ok(()) };
    if order.state != timer.state || order.attempt != timer.attempt {
        return Ok(());
    }
    if order.state == State::Cancelling {
        let (void, release) = (order.awaits_void, order.awaits_release);
        tracing::error!(order = %order.id, attempt = order.attempt, void, release, "a compensation is unanswered; asking again");
    }
    let waited_ms = cx.now().millis_since(order.state_since);
    apply(cx, order, &Event::Deadline { waited_ms }).await.map(drop)
}

/// Takes an event about an order into account. One about an unknown order is of a former life of this database.
async fn happened(cx: &mut Cx, order_id: &OrderId, event: Event) -> Result<(), Failure> {
    match cx.get::<OrderRow>(order_id).await? {
        Some(order) => apply(cx, order, &event).await.map(drop),
        None => {
            tracing::warn!(order = %order_id, ?event, "an event about an order that is not here");
            Ok(())
        }
    }
}

/// Carries out what the state machine decides, and gives the order as it is then.
pub(crate) async fn apply(cx: &mut Cx, mut order: OrderRow, event: &Event) -> Result<OrderRow, Failure> {
    let settings = cx.settings::<OrderSettings>()?;
    let Some(Step { saga, say, entry }) = domain::step(order.saga(), event, &settings) else { return Ok(order) };
    if say.contains(&Say::Capture) && saga.state != State::Committed && !unguarded(Plant::StockCommittedAfterCapture) {
        // Behind the state machine, because money that was taken for goods that are not there cannot be hidden again.
        return Err(Failure::poison(format!("the money of an order that is {} must not be taken yet", saga.state)));
    }
    let settles = saga.state.is_settled() && !order.state.is_settled();
    if order.state != saga.state {
        order.state = saga.state;
        order.state_since = cx.now();
    }
    order.attempt = saga.attempt;
    order.awaits_void = saga.awaits_void;
    order.awaits_release = saga.awaits_release;
    if let Event::Captured { amount } = event {
        order.captured = *amount;
        order.reason = None;
    }
    if let Some(entry) = entry {
        let detail = entry.reason.as_ref().map(|reason| format!("{}: {}", reason.code, reason.detail));
        note(cx, &mut order, entry.event, detail);
        if order.state != State::Committed {
            order.reason = entry.reason.map(Json).or(order.reason);
        }
    }
    for one in say {
        speak(cx, &order, one, &settings);
    }
    // While payment has not answered, the question may have to be asked again.
    if !matches!(order.state, State::Placed | State::Reserved) {
        order.payment_token = None;
    }
    set_deadline(cx, &order, &settings);
    cx.put(order.clone());
    if settles {
        measures::settled(cx, &order).await?;
    }
    Ok(order)
}

/// Adds an entry to the timeline; its number is the order's new version.
pub(crate) fn note(cx: &mut Cx, order: &mut OrderRow, event: &str, detail: Option<String>) {
    order.version += 1;
    cx.put(TimelineRow {
        order_id: order.id.clone(),
        seq: order.version,
        at: cx.now(),
        state: order.state,
        event: event.to_owned(),
        detail,
    });
}

/// There is one timer per order: each step moves it, and a settled order has none.
pub(crate) fn set_deadline(cx: &mut Cx, order: &OrderRow, settings: &OrderSettings) {
    match domain::deadline_ms(&order.saga(), settings) {
        Some(delay_ms) => {
            let timer = Deadline { order_id: order.id.clone(), state: order.state, attempt: order.attempt };
            cx.after(delay_ms, &timer);
        }
        None => cx.cancel::<Deadline>(order.id.as_str()),
    }
}

pub(crate) fn speak(cx: &mut Cx, order: &OrderRow, say: Say, settings: &OrderSettings) {
    let order_id = order.id.clone();
    let total = order.money(order.total);
    let reason = || match &order.reason {
        Some(Json(reason)) => reason.clone(),
        None => Reason::new("unknown", "no reason was recorded"),
    };
    match say {
        Say::ReserveStock => {
            let lines = stock_lines(&order.lines.0);
            cx.send(&ReserveStock { order_id, lines, ttl_ms: settings.reservation_ttl_ms });
        }
        Say::Authorize => {
            let payment_token = order.payment_token.clone().unwrap_or_default();
            cx.send(&Authorize { order_id, amount: total, payment_token });
        }
        Say::CommitStock => cx.send(&CommitStock { order_id }),
        Say::Capture => cx.send(&Capture { order_id }),
        Say::Void => cx.send(&Void { order_id }),
        Say::ReleaseStock if changed(Change::MissingCompensation) => {}
        Say::ReleaseStock => cx.send(&ReleaseStock { order_id }),
        Say::Confirmed if changed(Change::RenamedField) => cx.emit(&RenamedConfirmed { order_id, amount: total }),
        Say::Confirmed => cx.emit(&Confirmed { order_id, total }),
        Say::Cancelled if changed(Change::DroppedEvent) => {}
        Say::Cancelled => cx.emit(&Cancelled { order_id, reason: reason() }),
        Say::ManualReview => cx.emit(&ManualReview { order_id, reason: reason() }),
    }
}
