use pangaea_contracts::payment::{Void, Voided};
use pangaea_journal::Json;
use pangaea_kernel::{Cx, Failure, Outcome, Performed};

use super::{book, end_flight, go_on, known, refund, save, stop_watching, undone_state, void_later};
use crate::domain::{InFlight, State, VoidStage, VoidStep, voided};
use crate::effects::{VoidIntent, VoidRetry};
use crate::ledger::TransferKind;
use crate::provider::ProviderStatus;
use crate::store::PaymentRow;

/// Order lets go of the money.
pub(crate) async fn void(cx: &mut Cx, command: Void) -> Result<(), Failure> {
    let order_id = command.order_id;
    let Some(mut payment) = cx.get::<PaymentRow>(&order_id).await? else {
        let tombstone = PaymentRow::tombstone(order_id.clone(), cx.id()?, cx.now());
        save(cx, tombstone);
        cx.emit(&Voided { order_id });
        return Ok(());
    };
    if payment.void == VoidStage::Done {
        cx.emit(&Voided { order_id });
        return Ok(());
    }
    payment.void = VoidStage::Wanted;
    go_on(cx, payment)
}

/// Takes the next step towards a payment that holds nothing, unless a result has to come first.
pub(super) fn next_step(cx: &mut Cx, payment: &mut PaymentRow) -> Result<(), Failure> {
    match payment.next_void_step() {
        VoidStep::Wait => Ok(()),
        VoidStep::Cancel => cancel(cx, payment),
        VoidStep::Refund(amount) => refund::begin_for_void(cx, payment, amount),
        VoidStep::Finish => {
            finish(cx, payment);
            Ok(())
        }
    }
}

fn cancel(cx: &mut Cx, payment: &mut PaymentRow) -> Result<(), Failure> {
    let now = cx.now();
    let provider_intent =
        payment.provider_intent.clone().ok_or_else(|| Failure::poison("an intent is open, but none is known"))?;
    if let Some(row) = payment.open(TransferKind::Void, payment.held, now) {
        cx.put(row);
    }
    let (order_id, provider_key) = (payment.order_id.clone(), payment.voiding.0.key.clone());
    let id = cx.perform(&VoidIntent { order_id, provider_key, provider_intent });
    payment.voiding.0.key.get_or_insert(id);
    payment.in_flight = Some(InFlight::Void);
    stop_watching(cx, payment);
    Ok(())
}

fn finish(cx: &mut Cx, payment: &mut PaymentRow) {
    payment.retry_round = 0;
    if payment.void == VoidStage::Cleanup {
        payment.void = VoidStage::None;
        return;
    }
    payment.void = VoidStage::Done;
    payment.state = undone_state(payment.state);
    if payment.state == State::Canceled && payment.reason.is_none() {
        payment.reason = Some(Json(voided()));
    }
    cx.emit(&Voided { order_id: payment.order_id.clone() });
}

/// The provider has said how the intent ended, or has not.
pub(crate) async fn void_done(cx: &mut Cx, result: Performed<VoidIntent>) -> Result<(), Failure> {
    let mut payment = known(cx, &result.effect.order_id).await?;
    end_flight(&mut payment, InFlight::Void);
    match result.outcome {
        Outcome::Done(receipt) if !receipt.status.is_open() => {
            book(cx, &mut payment, &receipt);
            if receipt.status == ProviderStatus::Succeeded && payment.state == State::RequiresCapture {
                payment.state = State::Succeeded;
            }
            return go_on(cx, payment);
        }
        Outcome::Done(receipt) => {
            payment.voiding.0.key = None;
            void_later(cx, &mut payment, &format!("the intent is open after its void ({:?})", receipt.status))?;
        }
        Outcome::Refused(reason) => {
            payment.voiding.0.key = None;
            void_later(cx, &mut payment, &reason.detail)?;
        }
        Outcome::Unknown(reason) => {
            payment.voiding.0.unknown = true;
            void_later(cx, &mut payment, &reason.detail)?;
        }
    }
    save(cx, payment);
    Ok(())
}

/// Time to go on with a void that did not succeed.
pub(crate) async fn void_retry(cx: &mut Cx, timer: VoidRetry) -> Result<(), Failure> {
    let payment = known(cx, &timer.order_id).await?;
    if payment.is_undone() { go_on(cx, payment) } else { Ok(()) }
}
