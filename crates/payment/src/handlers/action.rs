use pangaea_contracts::order::Reason;
use pangaea_contracts::payment::Declined;
use pangaea_journal::Json;
use pangaea_kernel::{Cx, Failure, Outcome, Performed};

use super::{authorize, go_on, known, tell};
use crate::domain::{State, VoidStage};
use crate::effects::{ActionPoll, ShowIntent};
use crate::provider::ProviderStatus;
use crate::settings::PaymentSettings;
use crate::store::PaymentRow;

/// Time to look whether the payer has acted.
pub(crate) async fn action_poll(cx: &mut Cx, timer: ActionPoll) -> Result<(), Failure> {
    let payment = known(cx, &timer.order_id).await?;
    if let (true, Some(intent)) = (waits(&payment), &payment.provider_intent) {
        cx.perform(&ShowIntent { order_id: timer.order_id, provider_intent: intent.clone() });
    }
    Ok(())
}

/// How the intent stands.
pub(crate) async fn show_done(cx: &mut Cx, result: Performed<ShowIntent>) -> Result<(), Failure> {
    let mut payment = known(cx, &result.effect.order_id).await?;
    if !waits(&payment) {
        return Ok(());
    }
    match result.outcome {
        Outcome::Done(receipt) if decided(receipt.status) => authorize::settle(cx, &mut payment, &receipt)?,
        _ if payment.action_until.is_some_and(|until| cx.now() >= until) => expire(cx, &mut payment),
        Outcome::Done(receipt) => authorize::settle(cx, &mut payment, &receipt)?,
        Outcome::Refused(_) | Outcome::Unknown(_) => {
            let settings = cx.settings::<PaymentSettings>()?;
            cx.after(settings.action_poll_ms, &ActionPoll { order_id: payment.order_id.clone() });
        }
    }
    go_on(cx, payment)
}

fn waits(payment: &PaymentRow) -> bool {
    let open = matches!(payment.state, State::RequiresAction | State::Processing);
    open && payment.in_flight.is_none() && payment.void == VoidStage::None
}

fn decided(status: ProviderStatus) -> bool {
    !matches!(status, ProviderStatus::RequiresAction | ProviderStatus::Processing)
}

/// The payer did not act in time. The intent is canceled, whatever becomes of it in the meantime.
fn expire(cx: &mut Cx, payment: &mut PaymentRow) {
    let reason = Reason::new("action_expired", "the customer did not confirm the payment in time");
    payment.state = State::Expired;
    payment.reason = Some(Json(reason.clone()));
    let (order_id, payment_id) = (payment.order_id.clone(), payment.payment_id.clone());
    tell(cx, payment, &Declined { order_id, payment_id, reason });
    payment.void = VoidStage::Cleanup;
}
