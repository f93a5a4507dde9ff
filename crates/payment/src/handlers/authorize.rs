use pangaea_contracts::order::Reason;
use pangaea_contracts::payment::{ActionRequired, Authorize, Authorized, Declined};
use pangaea_faults::{Change, changed};
use pangaea_kernel::{Cx, Failure, Outcome, Performed};

use super::{book, end_flight, go_on, known, money, reconcile_later, save, stop_watching, tell};
use crate::changes::{of_another_currency, random_id};
use crate::domain::{AuthorizeReply, InFlight, State, VoidStage, check_amount, declined, outcome_unknown, owner_of};
use crate::effects::{ActionPoll, AuthorizeIntent};
use crate::ledger::TransferKind;
use crate::provider::{ProviderStatus, Receipt};
use crate::settings::PaymentSettings;
use crate::store::PaymentRow;

/// Order asks to hold the money.
pub(crate) async fn authorize(cx: &mut Cx, command: Authorize) -> Result<(), Failure> {
    match cx.get::<PaymentRow>(&command.order_id).await? {
        Some(payment) => repeat(cx, &payment),
        None => begin(cx, command),
    }
}

fn begin(cx: &mut Cx, command: Authorize) -> Result<(), Failure> {
    let Authorize { order_id, amount, payment_token } = command;
    let payment_id = if changed(Change::RandomId) { random_id()? } else { cx.id()? };
    let now = cx.now();
    let mut payment = PaymentRow::new(order_id, payment_id, amount, now);
    payment.owner_id = owner_of(cx.actor());
    if let Err(reason) = check_amount(amount) {
        payment.amount = 0;
        fail(cx, &mut payment, reason);
        save(cx, payment);
        return Ok(());
    }
    if let Some(row) = payment.open(TransferKind::Authorize, amount.amount, now) {
        cx.put(row);
    }
    let amount = if changed(Change::WrongCurrency) { of_another_currency(amount) } else { amount };
    let effect = AuthorizeIntent { order_id: payment.order_id.clone(), provider_key: None, amount, payment_token };
    payment.authorizing.0.key = Some(cx.perform(&effect));
    payment.in_flight = Some(InFlight::Authorize);
    save(cx, payment);
    Ok(())
}

/// The current answer again. A payment begins once: another amount or token under the same order changes nothing.
fn repeat(cx: &mut Cx, payment: &PaymentRow) -> Result<(), Failure> {
    let (order_id, payment_id) = (payment.order_id.clone(), payment.payment_id.clone());
    match payment.on_authorize() {
        AuthorizeReply::Wait => {}
        AuthorizeReply::Authorized => {
            let amount = money(payment, payment.amount)?;
            cx.emit(&Authorized { order_id, payment_id, amount });
        }
        AuthorizeReply::ActionRequired => cx.emit(&ActionRequired { order_id, payment_id }),
        AuthorizeReply::Declined(reason) => cx.emit(&Declined { order_id, payment_id, reason }),
    }
    Ok(())
}

/// The provider has answered, or never will.
pub(crate) async fn authorize_done(cx: &mut Cx, result: Performed<AuthorizeIntent>) -> Result<(), Failure> {
    let mut payment = known(cx, &result.effect.order_id).await?;
    end_flight(&mut payment, InFlight::Authorize);
    match result.outcome {
        Outcome::Done(receipt) => settle(cx, &mut payment, &receipt)?,
        Outcome::Refused(reason) => fail(cx, &mut payment, declined(&reason)),
        Outcome::Unknown(reason) => {
            // The pending transfer stays: the money may be held after all, and is voided as soon as that is seen.
            payment.authorizing.0.unknown = true;
            say_failed(cx, &mut payment, outcome_unknown(&reason));
            reconcile_later(cx, &payment)?;
        }
    }
    go_on(cx, payment)
}

/// Takes in how the intent of an authorization stands, in time or late.
pub(super) fn settle(cx: &mut Cx, payment: &mut PaymentRow, receipt: &Receipt) -> Result<(), Failure> {
    book(cx, payment, receipt);
    if !matches!(payment.state, State::Processing | State::RequiresAction) {
        undo_late(payment);
        return Ok(());
    }
    match receipt.status {
        ProviderStatus::RequiresCapture => hold(cx, payment, State::RequiresCapture)?,
        ProviderStatus::Succeeded => hold(cx, payment, State::Succeeded)?,
        ProviderStatus::RequiresAction => {
            if payment.state != State::RequiresAction {
                payment.state = State::RequiresAction;
                let (order_id, payment_id) = (payment.order_id.clone(), payment.payment_id.clone());
                tell(cx, payment, &ActionRequired { order_id, payment_id });
            }
            watch(cx, payment)?;
        }
        ProviderStatus::Processing => watch(cx, payment)?,
        ProviderStatus::Canceled | ProviderStatus::Failed => {
            let cause = Reason::new("intent_ended", "the provider ended the payment before the money was held");
            fail(cx, payment, declined(&cause));
        }
    }
    Ok(())
}

/// Nobody waits for this money any more: what is there is given back.
fn undo_late(payment: &mut PaymentRow) {
    let ended = matches!(payment.state, State::Failed | State::Expired | State::Canceled);
    let something = payment.intent_open || payment.refundable() > 0;
    if ended && something && payment.void != VoidStage::Wanted {
        payment.void = VoidStage::Cleanup;
    }
}

fn hold(cx: &mut Cx, payment: &mut PaymentRow, state: State) -> Result<(), Failure> {
    payment.state = state;
    stop_watching(cx, payment);
    let amount = money(payment, payment.amount)?;
    let (order_id, payment_id) = (payment.order_id.clone(), payment.payment_id.clone());
    tell(cx, payment, &Authorized { order_id, payment_id, amount });
    Ok(())
}

/// Looks again soon; the first look sets until when there will be others.
fn watch(cx: &mut Cx, payment: &mut PaymentRow) -> Result<(), Failure> {
    let settings = cx.settings::<PaymentSettings>()?;
    let now = cx.now();
    payment.action_until.get_or_insert_with(|| now.plus_millis(settings.action_wait_ms));
    cx.after(settings.action_poll_ms, &ActionPoll { order_id: payment.order_id.clone() });
    Ok(())
}

/// No money is held, and none will be.
pub(super) fn fail(cx: &mut Cx, payment: &mut PaymentRow, reason: Reason) {
    let now = cx.now();
    payment.intent_open = false;
    if let Some(row) = payment.close(TransferKind::Authorize, now) {
        cx.put(row);
    }
    say_failed(cx, payment, reason);
}

fn say_failed(cx: &mut Cx, payment: &mut PaymentRow, reason: Reason) {
    payment.state = State::Failed;
    payment.reason = Some(pangaea_journal::Json(reason.clone()));
    let (order_id, payment_id) = (payment.order_id.clone(), payment.payment_id.clone());
    tell(cx, payment, &Declined { order_id, payment_id, reason });
}
