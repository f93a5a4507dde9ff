//! What is done with each message. Commands come from order; results and timers are this module's own.

mod action;
mod authorize;
mod capture;
mod reconcile;
mod refund;
mod void;

use pangaea_contracts::{Message, Money, OrderId};
use pangaea_kernel::{Cx, Failure};

use crate::domain::{InFlight, State, VoidStage};
use crate::effects::{ActionPoll, Reconcile, VoidRetry};
use crate::ledger::TransferKind;
use crate::provider::{ProviderStatus, Receipt};
use crate::settings::PaymentSettings;
use crate::store::PaymentRow;

pub(crate) use action::{action_poll, show_done};
pub(crate) use authorize::{authorize, authorize_done};
pub(crate) use capture::{capture, capture_done};
pub(crate) use reconcile::{query_done, reconcile};
pub(crate) use refund::{refund, refund_done, refund_retry};
pub(crate) use void::{void, void_done, void_retry};

/// The payment that one of our own messages is about.
async fn known(cx: &mut Cx, order_id: &OrderId) -> Result<PaymentRow, Failure> {
    let payment = cx.get::<PaymentRow>(order_id).await?;
    payment.ok_or_else(|| Failure::poison(format!("there is no payment of {order_id}, but a result or timer for it")))
}

/// Takes the next step of a void, if one is under way, and writes the row.
fn go_on(cx: &mut Cx, mut payment: PaymentRow) -> Result<(), Failure> {
    void::next_step(cx, &mut payment)?;
    save(cx, payment);
    Ok(())
}

fn save(cx: &mut Cx, mut payment: PaymentRow) {
    payment.version += 1;
    payment.updated_at = cx.now();
    cx.put(payment);
}

/// Brings row and ledger to what a receipt says of the intent. Safe to repeat: only what is new is booked.
fn book(cx: &mut Cx, payment: &mut PaymentRow, receipt: &Receipt) {
    let now = cx.now();
    let mut rows = Vec::new();
    payment.provider_intent = Some(receipt.id.clone());
    payment.intent_open = receipt.status.is_open();
    let was_held = matches!(receipt.status, ProviderStatus::RequiresCapture | ProviderStatus::Succeeded);
    if was_held && !payment.authorizing.0.posted {
        rows.extend(payment.post(TransferKind::Authorize, payment.amount, now));
        payment.held = payment.amount;
    }
    if receipt.status == ProviderStatus::Succeeded {
        let more = receipt.amount_captured.saturating_sub(payment.captured).clamp(0, payment.held);
        rows.extend(payment.post(TransferKind::Capture, more, now));
        payment.captured += more;
        payment.held -= more;
    }
    if !payment.intent_open {
        rows.extend(payment.post(TransferKind::Void, payment.held, now));
        payment.held = 0;
        // What was asked for and has not come by now will not come.
        for kind in [TransferKind::Authorize, TransferKind::Capture, TransferKind::Void] {
            rows.extend(payment.close(kind, now));
        }
        stop_watching(cx, payment);
    }
    rows.into_iter().for_each(|row| cx.put(row));
}

/// Takes back the timer of the next look; where there never was one, nothing is written for it.
fn stop_watching(cx: &mut Cx, payment: &mut PaymentRow) {
    if payment.action_until.take().is_some() {
        cx.cancel::<ActionPoll>(payment.order_id.as_str());
    }
}

/// An amount in the payment's currency.
///
/// # Errors
/// When the payment never began: nothing of it can be said in money.
fn money(payment: &PaymentRow, amount: i64) -> Result<Money, Failure> {
    let currency = payment.currency.ok_or_else(|| Failure::poison("a payment that never began has no amount"))?;
    Ok(Money::new(amount, currency))
}

/// Asks again later what became of a call.
fn reconcile_later(cx: &mut Cx, payment: &PaymentRow) -> Result<(), Failure> {
    let settings = cx.settings::<PaymentSettings>()?;
    let pause_ms = settings.pause_ms(settings.reconcile_ms, payment.reconcile_round);
    cx.after(pause_ms, &Reconcile { order_id: payment.order_id.clone() });
    Ok(())
}

/// Tries a void again later, without end: money of a payer hangs on it.
fn void_later(cx: &mut Cx, payment: &mut PaymentRow, cause: &str) -> Result<(), Failure> {
    let settings = cx.settings::<PaymentSettings>()?;
    let pause_ms = settings.pause_ms(settings.retry_ms, payment.retry_round);
    payment.retry_round += 1;
    let (order_id, round) = (&payment.order_id, payment.retry_round);
    tracing::warn!(%order_id, round, pause_ms, cause, "a void did not succeed; it is tried again");
    cx.after(pause_ms, &VoidRetry { order_id: payment.order_id.clone() });
    Ok(())
}

/// Says something to order, unless the payment is being undone: then only the end of that is news.
fn tell<M: Message>(cx: &mut Cx, payment: &PaymentRow, event: &M) {
    if payment.void == VoidStage::None {
        cx.emit(event);
    }
}

fn end_flight(payment: &mut PaymentRow, of: InFlight) {
    if payment.in_flight == Some(of) {
        payment.in_flight = None;
    }
}

/// What is left of a payment that stopped before it succeeded.
fn undone_state(state: State) -> State {
    match state {
        State::Processing | State::RequiresAction | State::RequiresCapture | State::Canceled => State::Canceled,
        State::Succeeded | State::Failed | State::Expired => state,
    }
}
