use pangaea_contracts::order::Reason;
use pangaea_contracts::payment::{Capture, CaptureFailed, Captured};
use pangaea_kernel::{Cx, Failure, Outcome, Performed};

use super::{book, end_flight, go_on, known, money, reconcile_later, save, tell};
use crate::domain::{CaptureReply, InFlight, State, not_authorized, outcome_unknown};
use crate::effects::CaptureIntent;
use crate::ledger::TransferKind;
use crate::provider::{ProviderStatus, Receipt};
use crate::store::PaymentRow;

/// Order asks to take the held money, all of it.
pub(crate) async fn capture(cx: &mut Cx, command: Capture) -> Result<(), Failure> {
    let order_id = command.order_id;
    let Some(payment) = cx.get::<PaymentRow>(&order_id).await? else {
        // Never from a sound order, whose log is read in its order; it gets an answer all the same, so as not to wait.
        let payment_id = cx.id()?;
        cx.emit(&CaptureFailed { order_id, payment_id, reason: not_authorized() });
        return Ok(());
    };
    let payment_id = payment.payment_id.clone();
    match payment.on_capture() {
        CaptureReply::Wait => {}
        CaptureReply::Start => start(cx, payment)?,
        CaptureReply::Captured => {
            let amount = money(&payment, payment.captured)?;
            cx.emit(&Captured { order_id, payment_id, amount });
        }
        CaptureReply::Failed(reason) => cx.emit(&CaptureFailed { order_id, payment_id, reason }),
    }
    Ok(())
}

/// After an unknown outcome the new effect has the old one's key: the provider captures once.
fn start(cx: &mut Cx, mut payment: PaymentRow) -> Result<(), Failure> {
    let now = cx.now();
    let amount = payment.held;
    let provider_intent =
        payment.provider_intent.clone().ok_or_else(|| Failure::poison("money is held, but no intent is known"))?;
    if let Some(row) = payment.open(TransferKind::Capture, amount, now) {
        cx.put(row);
    }
    let provider_key = payment.capturing.0.key.clone();
    let order_id = payment.order_id.clone();
    let id = cx.perform(&CaptureIntent { order_id, provider_key, provider_intent, amount });
    payment.capturing.0.key.get_or_insert(id);
    payment.in_flight = Some(InFlight::Capture);
    save(cx, payment);
    Ok(())
}

/// The provider has answered, or never will.
pub(crate) async fn capture_done(cx: &mut Cx, result: Performed<CaptureIntent>) -> Result<(), Failure> {
    let mut payment = known(cx, &result.effect.order_id).await?;
    end_flight(&mut payment, InFlight::Capture);
    match result.outcome {
        Outcome::Done(receipt) => settle(cx, &mut payment, &receipt)?,
        Outcome::Refused(reason) => refuse(cx, &mut payment, reason),
        Outcome::Unknown(reason) => {
            payment.capturing.0.unknown = true;
            fail(cx, &payment, outcome_unknown(&reason));
            reconcile_later(cx, &payment)?;
        }
    }
    go_on(cx, payment)
}

/// Takes in how the intent stands after a capture, in time or late.
pub(super) fn settle(cx: &mut Cx, payment: &mut PaymentRow, receipt: &Receipt) -> Result<(), Failure> {
    book(cx, payment, receipt);
    match receipt.status {
        ProviderStatus::Succeeded => {
            if payment.state == State::RequiresCapture {
                payment.state = State::Succeeded;
                let amount = money(payment, payment.captured)?;
                let (order_id, payment_id) = (payment.order_id.clone(), payment.payment_id.clone());
                tell(cx, payment, &Captured { order_id, payment_id, amount });
            }
        }
        ProviderStatus::Canceled | ProviderStatus::Failed => {
            payment.state = State::Canceled;
            let reason = Reason::new("intent_ended", "the provider let go of the money before it was captured");
            payment.reason = Some(pangaea_journal::Json(reason.clone()));
            fail(cx, payment, reason);
        }
        ProviderStatus::RequiresCapture | ProviderStatus::RequiresAction | ProviderStatus::Processing => {
            payment.capturing.0.unknown = true;
            let cause = Reason::new("not_captured", "the intent is still open after its capture");
            fail(cx, payment, outcome_unknown(&cause));
            reconcile_later(cx, payment)?;
        }
    }
    Ok(())
}

/// Nothing was taken. The refusal is kept under its key, so another capture will need a new one.
pub(super) fn refuse(cx: &mut Cx, payment: &mut PaymentRow, reason: Reason) {
    let now = cx.now();
    payment.capturing.0.key = None;
    if let Some(row) = payment.close(TransferKind::Capture, now) {
        cx.put(row);
    }
    fail(cx, payment, reason);
}

fn fail(cx: &mut Cx, payment: &PaymentRow, reason: Reason) {
    let (order_id, payment_id) = (payment.order_id.clone(), payment.payment_id.clone());
    tell(cx, payment, &CaptureFailed { order_id, payment_id, reason });
}
