//! What a payment may do next: pure decisions on its row.

use std::fmt;
use std::str::FromStr;

use pangaea_contracts::order::Reason;
use pangaea_contracts::{Actor, Currency, Money, OrderId, PaymentId, Role, Timestamp, UserId};
use pangaea_journal::{Json, text_column};
use serde::{Deserialize, Serialize};

use crate::store::PaymentRow;

/// The largest amount that one payment may have, in minor units: sums over a lifetime of payments stay far from overflow.
pub const AMOUNT_MAX: i64 = 1_000_000_000_000;

macro_rules! text_enums {
    ($($(#[$doc:meta])* $vis:vis enum $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)? })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        $vis enum $name { $($(#[$variant_doc])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($text => Ok($name::$variant),)+
                    _ => Err(format!(concat!("{:?} is not a ", stringify!($name)), text)),
                }
            }
        }

        text_column!($name);
    )+};
}
pub(crate) use text_enums;

text_enums! {
    /// Where a payment stands.
    #[derive(utoipa::ToSchema)]
    #[schema(as = PaymentState)]
    pub enum State {
        /// The provider has been asked to hold the money.
        Processing = "processing",
        /// The payer has something to do first.
        RequiresAction = "requires_action",
        /// The money is held.
        RequiresCapture = "requires_capture",
        /// The money was taken; some or all of it may have been refunded since.
        Succeeded = "succeeded",
        /// Voided, or refused before it began.
        Canceled = "canceled",
        /// Declined, or its outcome was unknown; what turns up later is voided.
        Failed = "failed",
        /// The payer did not act in time.
        Expired = "expired",
    }

    /// How far the undoing of a payment has come.
    pub enum VoidStage {
        None = "none",
        /// We undo by ourselves what nobody wants any more.
        Cleanup = "cleanup",
        /// Order has asked and waits for the event.
        Wanted = "wanted",
        Done = "done",
    }

    /// The call that is under way for a payment. Refunds are counted apart: there may be several at once.
    pub enum InFlight {
        Authorize = "authorize",
        Capture = "capture",
        Void = "void",
    }

    /// Where a refund stands.
    pub enum RefundState {
        Pending = "pending",
        Succeeded = "succeeded",
        Refused = "refused",
    }
}

/// What is kept of a call to the provider across the effects that make it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Operation {
    /// The provider's idempotency key: the id of the first effect, given to every later one of the same call, so that the
    /// provider does it once. Cleared when the provider has refused for good, because a refusal is kept under its key.
    pub key: Option<String>,
    /// The ledger's pending transfer.
    pub open: Option<OpenTransfer>,
    /// The last effect ended without an answer that can be trusted.
    pub unknown: bool,
    /// It is in the ledger for good.
    pub posted: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenTransfer {
    pub id: String,
    /// Minor units.
    pub amount: i64,
}

/// What a repeated authorize command gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthorizeReply {
    /// The answer is on its way.
    Wait,
    Authorized,
    ActionRequired,
    Declined(Reason),
}

/// What a capture command gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaptureReply {
    Wait,
    Start,
    Captured,
    Failed(Reason),
}

/// What comes next on the way to a payment that holds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoidStep {
    /// Nothing is to be undone, or a result has to come first.
    Wait,
    /// Cancel the provider's intent.
    Cancel,
    /// It was captured: give this much back.
    Refund(i64),
    Finish,
}

// === impl PaymentRow: making ===

impl PaymentRow {
    pub fn new(order_id: OrderId, payment_id: PaymentId, amount: Money, now: Timestamp) -> Self {
        Self {
            amount: amount.amount.max(0),
            currency: Some(amount.currency),
            ..Self::tombstone(order_id, payment_id, now)
        }
        .with_state(State::Processing, VoidStage::None)
    }

    /// A payment that was voided before it began: it refuses the late authorization.
    pub fn tombstone(order_id: OrderId, payment_id: PaymentId, now: Timestamp) -> Self {
        Self {
            order_id,
            payment_id,
            owner_id: None,
            currency: None,
            amount: 0,
            state: State::Canceled,
            reason: Some(Json(voided())),
            provider_intent: None,
            intent_open: false,
            held: 0,
            captured: 0,
            refunded: 0,
            refund_pending: 0,
            void: VoidStage::Done,
            in_flight: None,
            authorizing: Json(Operation::default()),
            capturing: Json(Operation::default()),
            voiding: Json(Operation::default()),
            reconcile_round: 0,
            retry_round: 0,
            action_until: None,
            transfers: 0,
            version: 0,
            created_at: now,
            updated_at: now,
        }
    }

    fn with_state(mut self, state: State, void: VoidStage) -> Self {
        self.state = state;
        self.void = void;
        self.reason = None;
        self
    }
}

// === impl PaymentRow: decisions ===

impl PaymentRow {
    /// Whether anybody undoes this payment.
    pub fn is_undone(&self) -> bool {
        matches!(self.void, VoidStage::Cleanup | VoidStage::Wanted)
    }

    /// What was captured and is neither refunded nor about to be, in minor units.
    pub fn refundable(&self) -> i64 {
        self.captured - self.refunded - self.refund_pending
    }

    pub fn on_authorize(&self) -> AuthorizeReply {
        match (self.state, self.void) {
            (_, VoidStage::Wanted) | (State::Processing, _) => AuthorizeReply::Wait,
            (State::RequiresAction, _) => AuthorizeReply::ActionRequired,
            (State::RequiresCapture | State::Succeeded, VoidStage::None) => AuthorizeReply::Authorized,
            (State::RequiresCapture | State::Succeeded | State::Canceled, _) => AuthorizeReply::Declined(voided()),
            (State::Failed | State::Expired, _) => AuthorizeReply::Declined(self.why()),
        }
    }

    pub fn on_capture(&self) -> CaptureReply {
        match (self.state, self.void, self.in_flight) {
            (State::RequiresCapture, VoidStage::None, None) => CaptureReply::Start,
            (State::RequiresCapture, VoidStage::None, Some(_)) => CaptureReply::Wait,
            (State::Succeeded, VoidStage::None, _) => CaptureReply::Captured,
            (State::RequiresCapture | State::Succeeded | State::Canceled, ..) => CaptureReply::Failed(voided()),
            (State::Processing | State::RequiresAction, ..) => CaptureReply::Failed(not_authorized()),
            (State::Failed | State::Expired, ..) => CaptureReply::Failed(self.why()),
        }
    }

    pub fn next_void_step(&self) -> VoidStep {
        if !self.is_undone() || self.in_flight.is_some() {
            return VoidStep::Wait;
        }
        match (self.intent_open, self.refundable(), self.refund_pending) {
            (true, ..) => VoidStep::Cancel,
            (false, 1.., _) => VoidStep::Refund(self.refundable()),
            (false, _, 1..) => VoidStep::Wait,
            (false, ..) => VoidStep::Finish,
        }
    }

    /// # Errors
    /// Why this much cannot be refunded.
    pub fn check_refund(&self, amount: Money) -> Result<(), Reason> {
        if amount.amount <= 0 {
            return Err(Reason::new("invalid_amount", "a refund is of at least one minor unit"));
        }
        if self.captured == 0 {
            return Err(nothing_captured());
        }
        if self.currency != Some(amount.currency) {
            return Err(Reason::new("currency_mismatch", "refund in the currency in which the order was paid"));
        }
        if amount.amount > self.refundable() {
            let detail = format!("{} of {} minor units can still be refunded", self.refundable(), self.captured);
            return Err(Reason::new("refund_exceeds_captured", detail));
        }
        Ok(())
    }

    fn why(&self) -> Reason {
        self.reason.as_ref().map_or_else(not_authorized, |reason| reason.0.clone())
    }
}

/// The account that a payment belongs to: whoever placed the order, when that was a customer.
pub(crate) fn owner_of(actor: &Actor) -> Option<UserId> {
    let customer = actor.has(Role::Customer) && !actor.is_staff();
    if customer { actor.subject.parse().ok() } else { None }
}

/// Whether `amount` is one that a payment can have.
///
/// # Errors
/// Says what is wrong with it.
pub(crate) fn check_amount(amount: Money) -> Result<Currency, Reason> {
    if (1..=AMOUNT_MAX).contains(&amount.amount) {
        return Ok(amount.currency);
    }
    Err(Reason::new("invalid_amount", format!("a payment is of 1 to {AMOUNT_MAX} minor units")))
}

pub(crate) fn voided() -> Reason {
    Reason::new("voided", "the payment was voided")
}

pub(crate) fn not_authorized() -> Reason {
    Reason::new("not_authorized", "no money is held for this order")
}

pub(crate) fn nothing_captured() -> Reason {
    Reason::new("nothing_captured", "no money was taken for this order")
}

pub(crate) fn outcome_unknown(cause: &Reason) -> Reason {
    Reason::new("outcome_unknown", format!("the provider gave no answer that can be trusted: {}", cause.detail))
}

/// The provider's own code stays readable in the detail; the code is one that every caller knows.
pub(crate) fn declined(cause: &Reason) -> Reason {
    Reason::new("payment_declined", format!("{}: {}", cause.code, cause.detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payment(state: State, void: VoidStage) -> PaymentRow {
        let order_id: OrderId = "ord_1".parse().unwrap();
        let payment_id: PaymentId = "pay_1".parse().unwrap();
        let amount = Money::new(1_000, Currency::GBP);
        PaymentRow::new(order_id, payment_id, amount, Timestamp::from_millis(0)).with_state(state, void)
    }

    #[test]
    fn a_void_cancels_what_is_open_refunds_what_was_taken_and_then_ends() {
        let step = |change: fn(&mut PaymentRow)| {
            let mut payment = payment(State::RequiresCapture, VoidStage::Wanted);
            change(&mut payment);
            payment.next_void_step()
        };
        assert_eq!(step(|_| {}), VoidStep::Finish);
        assert_eq!(step(|payment| payment.intent_open = true), VoidStep::Cancel);
        assert_eq!(step(|payment| (payment.captured, payment.refunded) = (900, 200)), VoidStep::Refund(700));
        assert_eq!(step(|payment| (payment.captured, payment.refund_pending) = (900, 200)), VoidStep::Refund(700));
        assert_eq!(step(|payment| (payment.captured, payment.refund_pending) = (900, 900)), VoidStep::Wait);
        assert_eq!(step(|payment| (payment.captured, payment.refunded) = (900, 900)), VoidStep::Finish);
        for in_flight in [InFlight::Authorize, InFlight::Capture, InFlight::Void] {
            let mut payment = payment(State::RequiresCapture, VoidStage::Wanted);
            (payment.intent_open, payment.in_flight) = (true, Some(in_flight));
            assert_eq!(payment.next_void_step(), VoidStep::Wait, "{in_flight}");
        }
        for void in [VoidStage::None, VoidStage::Done] {
            let mut payment = payment(State::RequiresCapture, void);
            payment.intent_open = true;
            assert_eq!(payment.next_void_step(), VoidStep::Wait, "{void}");
        }
    }

    #[test]
    fn only_held_money_is_captured() {
        use State::*;
        for state in [Processing, RequiresAction, RequiresCapture, Succeeded, Canceled, Failed, Expired] {
            for void in [VoidStage::None, VoidStage::Cleanup, VoidStage::Wanted, VoidStage::Done] {
                let reply = payment(state, void).on_capture();
                let expected = state == RequiresCapture && void == VoidStage::None;
                assert_eq!(reply == CaptureReply::Start, expected, "{state} {void}");
                let captured = state == Succeeded && void == VoidStage::None;
                assert_eq!(reply == CaptureReply::Captured, captured, "{state} {void}");
            }
        }
    }

    #[test]
    fn a_voided_payment_is_never_authorized_again() {
        use State::*;
        for state in [Processing, RequiresAction, RequiresCapture, Succeeded, Canceled, Failed, Expired] {
            for void in [VoidStage::Cleanup, VoidStage::Wanted, VoidStage::Done] {
                let reply = payment(state, void).on_authorize();
                assert_ne!(reply, AuthorizeReply::Authorized, "{state} {void}");
            }
        }
    }

    #[test]
    fn states_read_as_they_are_written() {
        for state in ["processing", "requires_action", "requires_capture", "succeeded", "canceled", "failed", "expired"]
        {
            assert_eq!(state.parse::<State>().unwrap().to_string(), state);
            assert_eq!(serde_json::to_value(state.parse::<State>().unwrap()).unwrap(), state);
        }
        assert!("paid".parse::<State>().is_err());
    }
}
