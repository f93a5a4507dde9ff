use pangaea_kernel::{Cx, Failure, Outcome, Performed};

use super::{authorize, capture, go_on, known, reconcile_later, save};
use crate::domain::InFlight;
use crate::effects::{Asked, QueryOperation, Reconcile};
use crate::ledger::TransferKind;
use crate::settings::PaymentSettings;
use crate::store::PaymentRow;

/// Time to ask again what became of a call whose outcome is unknown.
pub(crate) async fn reconcile(cx: &mut Cx, timer: Reconcile) -> Result<(), Failure> {
    let mut payment = known(cx, &timer.order_id).await?;
    let Some((asked, provider_key)) = open_question(&payment) else { return Ok(()) };
    let settings = cx.settings::<PaymentSettings>()?;
    if payment.reconcile_round >= settings.reconcile_rounds_max {
        give_up(cx, &mut payment, asked);
    } else {
        payment.reconcile_round += 1;
        cx.perform(&QueryOperation { order_id: timer.order_id, provider_key, asked });
    }
    save(cx, payment);
    Ok(())
}

/// The provider has said what it did under the key.
pub(crate) async fn query_done(cx: &mut Cx, result: Performed<QueryOperation>) -> Result<(), Failure> {
    let mut payment = known(cx, &result.effect.order_id).await?;
    let asked = result.effect.asked;
    let still_open =
        open_question(&payment).is_some_and(|(open, key)| open == asked && key == result.effect.provider_key);
    if !still_open {
        return Ok(());
    }
    match (result.outcome, asked) {
        (Outcome::Done(Some(receipt)), Asked::Authorize) => {
            payment.authorizing.0.unknown = false;
            payment.reconcile_round = 0;
            authorize::settle(cx, &mut payment, &receipt)?;
        }
        (Outcome::Done(Some(receipt)), Asked::Capture) => {
            payment.capturing.0.unknown = false;
            capture::settle(cx, &mut payment, &receipt)?;
        }
        // The answer under the key was a refusal: nothing happened.
        (Outcome::Refused(_), Asked::Authorize) => close(cx, &mut payment, TransferKind::Authorize),
        (Outcome::Refused(_), Asked::Capture) => {
            payment.capturing.0.key = None;
            close(cx, &mut payment, TransferKind::Capture);
        }
        (Outcome::Done(None) | Outcome::Unknown(_), _) => reconcile_later(cx, &payment)?,
    }
    go_on(cx, payment)
}

/// The call whose outcome is unknown, and its key. While a newer effect of it is under way, that one will tell.
fn open_question(payment: &PaymentRow) -> Option<(Asked, String)> {
    let (authorizing, capturing) = (&payment.authorizing.0, &payment.capturing.0);
    if authorizing.unknown && payment.in_flight != Some(InFlight::Authorize) {
        return authorizing.key.clone().map(|key| (Asked::Authorize, key));
    }
    if capturing.unknown && payment.in_flight != Some(InFlight::Capture) {
        return capturing.key.clone().map(|key| (Asked::Capture, key));
    }
    None
}

/// The provider has had every chance. An authorization that was never seen is taken not to be there; a capture stays open,
/// because order decides what becomes of it.
fn give_up(cx: &mut Cx, payment: &mut PaymentRow, asked: Asked) {
    let rounds = payment.reconcile_round;
    tracing::warn!(order_id = %payment.order_id, rounds, ?asked, "the provider knows nothing of a call; no longer asking");
    if asked == Asked::Authorize {
        close(cx, payment, TransferKind::Authorize);
    }
}

fn close(cx: &mut Cx, payment: &mut PaymentRow, kind: TransferKind) {
    let now = cx.now();
    if let Some(row) = payment.close(kind, now) {
        cx.put(row);
    }
}
