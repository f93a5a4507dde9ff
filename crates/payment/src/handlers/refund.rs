use pangaea_contracts::order::Reason;
use pangaea_contracts::payment::{Refund, RefundRefused, Refunded};
use pangaea_contracts::{Money, RefundId};
use pangaea_journal::Json;
use pangaea_kernel::{Cx, Failure, Outcome, Performed};

use super::{go_on, known, money, save, void_later};
use crate::domain::{RefundState, VoidStep, nothing_captured};
use crate::effects::{RefundIntent, RefundRetry};
use crate::ledger::TransferState;
use crate::provider::ProviderStatus;
use crate::settings::PaymentSettings;
use crate::store::{PaymentRow, RefundRow};

/// Order asks to give money back.
pub(crate) async fn refund(cx: &mut Cx, command: Refund) -> Result<(), Failure> {
    if let Some(refund) = cx.get::<RefundRow>(&command.refund_id).await? {
        repeat(cx, &command, refund);
        return Ok(());
    }
    let Some(mut payment) = cx.get::<PaymentRow>(&command.order_id).await? else {
        refuse_new(cx, command, nothing_captured());
        return Ok(());
    };
    if let Err(reason) = payment.check_refund(command.amount) {
        refuse_new(cx, command, reason);
        return Ok(());
    }
    begin(cx, &mut payment, command.refund_id, command.amount, false)?;
    save(cx, payment);
    Ok(())
}

/// The current answer again.
fn repeat(cx: &mut Cx, command: &Refund, refund: RefundRow) {
    let RefundRow { order_id, refund_id, amount, currency, .. } = refund;
    if order_id != command.order_id {
        let reason = Reason::new("refund_id_reused", "this refund is of another order");
        cx.emit(&RefundRefused { order_id: command.order_id.clone(), refund_id, reason });
        return;
    }
    match (refund.state, refund.reason) {
        (RefundState::Pending, _) => {}
        (RefundState::Succeeded, _) => {
            cx.emit(&Refunded { order_id, refund_id, amount: Money::new(amount, currency) });
        }
        (RefundState::Refused, reason) => {
            let reason = reason.map_or_else(nothing_captured, |reason| reason.0);
            cx.emit(&RefundRefused { order_id, refund_id, reason });
        }
    }
}

/// A refusal is for good: it is kept, so that a repeat gets it too even where more has been captured since.
fn refuse_new(cx: &mut Cx, command: Refund, reason: Reason) {
    let Refund { order_id, refund_id, amount } = command;
    let mut refund = row(cx, &order_id, &refund_id, amount);
    refund.state = RefundState::Refused;
    refund.reason = Some(Json(reason.clone()));
    cx.put(refund);
    cx.emit(&RefundRefused { order_id, refund_id, reason });
}

fn row(cx: &Cx, order_id: &pangaea_contracts::OrderId, refund_id: &RefundId, amount: Money) -> RefundRow {
    RefundRow {
        refund_id: refund_id.clone(),
        order_id: order_id.clone(),
        amount: amount.amount,
        currency: amount.currency,
        state: RefundState::Pending,
        reason: None,
        for_void: false,
        provider_key: None,
        open_transfer: None,
        retry_round: 0,
        created_at: cx.now(),
        updated_at: cx.now(),
    }
}

/// The part of a void that comes after a capture.
pub(super) fn begin_for_void(cx: &mut Cx, payment: &mut PaymentRow, amount: i64) -> Result<(), Failure> {
    let (refund_id, amount) = (cx.id()?, money(payment, amount)?);
    begin(cx, payment, refund_id, amount, true)
}

fn begin(
    cx: &mut Cx,
    payment: &mut PaymentRow,
    refund_id: RefundId,
    amount: Money,
    for_void: bool,
) -> Result<(), Failure> {
    let now = cx.now();
    let mut refund = row(cx, &payment.order_id, &refund_id, amount);
    refund.for_void = for_void;
    payment.refund_pending += amount.amount;
    let transfer = payment.refund_transfer(TransferState::Pending, &refund_id, amount.amount, None, now);
    refund.open_transfer = transfer.as_ref().map(|row| row.id.clone());
    if let Some(row) = transfer {
        cx.put(row);
    }
    perform(cx, payment, &mut refund)?;
    cx.put(refund);
    Ok(())
}

fn perform(cx: &mut Cx, payment: &PaymentRow, refund: &mut RefundRow) -> Result<(), Failure> {
    let provider_intent =
        payment.provider_intent.clone().ok_or_else(|| Failure::poison("money was captured, but no intent is known"))?;
    let id = cx.perform(&RefundIntent {
        order_id: refund.order_id.clone(),
        refund_id: refund.refund_id.clone(),
        provider_key: refund.provider_key.clone(),
        provider_intent,
        amount: refund.amount,
    });
    refund.provider_key.get_or_insert(id);
    Ok(())
}

/// The provider has answered, or never will.
pub(crate) async fn refund_done(cx: &mut Cx, result: Performed<RefundIntent>) -> Result<(), Failure> {
    let mut payment = known(cx, &result.effect.order_id).await?;
    let mut refund = known_refund(cx, &result.effect.refund_id).await?;
    if refund.state != RefundState::Pending {
        return Ok(());
    }
    refund.updated_at = cx.now();
    match result.outcome {
        Outcome::Done(receipt) => match receipt.status {
            ProviderStatus::Succeeded => succeed(cx, payment, refund),
            ProviderStatus::Canceled | ProviderStatus::Failed => {
                let reason = Reason::new("refund_failed", "the provider could not give the money back");
                refuse(cx, &mut payment, refund, reason)?;
                go_on_unless_waiting(cx, payment)
            }
            _ => ask_again(cx, refund, "the provider has not decided yet"),
        },
        Outcome::Refused(reason) => {
            refuse(cx, &mut payment, refund, reason)?;
            go_on_unless_waiting(cx, payment)
        }
        Outcome::Unknown(reason) => ask_again(cx, refund, &reason.detail),
    }
}

fn succeed(cx: &mut Cx, mut payment: PaymentRow, mut refund: RefundRow) -> Result<(), Failure> {
    let now = cx.now();
    payment.refund_pending -= refund.amount;
    payment.refunded += refund.amount;
    let pending = refund.open_transfer.take();
    let posted = payment.refund_transfer(TransferState::Posted, &refund.refund_id, refund.amount, pending, now);
    if let Some(row) = posted {
        cx.put(row);
    }
    refund.state = RefundState::Succeeded;
    let RefundRow { order_id, refund_id, amount, currency, .. } = refund.clone();
    if !refund.for_void {
        cx.emit(&Refunded { order_id, refund_id, amount: Money::new(amount, currency) });
    }
    cx.put(refund);
    go_on(cx, payment)
}

fn refuse(cx: &mut Cx, payment: &mut PaymentRow, mut refund: RefundRow, reason: Reason) -> Result<(), Failure> {
    let now = cx.now();
    payment.refund_pending -= refund.amount;
    let pending = refund.open_transfer.take();
    let voided = payment.refund_transfer(TransferState::Voided, &refund.refund_id, refund.amount, pending, now);
    if let Some(row) = voided {
        cx.put(row);
    }
    refund.state = RefundState::Refused;
    refund.reason = Some(Json(reason.clone()));
    if !refund.for_void {
        let (order_id, refund_id) = (refund.order_id.clone(), refund.refund_id.clone());
        cx.emit(&RefundRefused { order_id, refund_id, reason: reason.clone() });
    }
    cx.put(refund);
    Ok(())
}

/// After a refused refund a void must not ask again at once: it would be refused again, in a tight loop.
fn go_on_unless_waiting(cx: &mut Cx, mut payment: PaymentRow) -> Result<(), Failure> {
    if !matches!(payment.next_void_step(), VoidStep::Refund(_)) {
        return go_on(cx, payment);
    }
    void_later(cx, &mut payment, "the provider refused the refund")?;
    save(cx, payment);
    Ok(())
}

/// Under the same key, so that a refund which did happen is found and not made again.
fn ask_again(cx: &mut Cx, mut refund: RefundRow, cause: &str) -> Result<(), Failure> {
    let settings = cx.settings::<PaymentSettings>()?;
    let pause_ms = settings.pause_ms(settings.retry_ms, refund.retry_round);
    refund.retry_round += 1;
    let (order_id, refund_id) = (refund.order_id.clone(), refund.refund_id.clone());
    tracing::warn!(%order_id, %refund_id, round = refund.retry_round, pause_ms, cause, "a refund has no outcome yet");
    cx.after(pause_ms, &RefundRetry { order_id, refund_id });
    cx.put(refund);
    Ok(())
}

/// Time to ask again for a refund without an outcome.
pub(crate) async fn refund_retry(cx: &mut Cx, timer: RefundRetry) -> Result<(), Failure> {
    let payment = known(cx, &timer.order_id).await?;
    let mut refund = known_refund(cx, &timer.refund_id).await?;
    if refund.state == RefundState::Pending {
        perform(cx, &payment, &mut refund)?;
        cx.put(refund);
    }
    Ok(())
}

async fn known_refund(cx: &mut Cx, refund_id: &RefundId) -> Result<RefundRow, Failure> {
    let refund = cx.get::<RefundRow>(refund_id).await?;
    refund.ok_or_else(|| Failure::poison(format!("there is no refund {refund_id}, but a result or timer for it")))
}
