//! The saga of an order as a pure state machine: a state and an event in, the next state and what to say out.
//!
//! Nothing here reads or writes. [`step`] answers `None` for an event that changes nothing: a repeat of what is true
//! already, or a message that has been overtaken. Late originals of compensated steps are refused by their receivers'
//! tombstones, so here they are such no-ops.

use std::fmt;
use std::str::FromStr;

use pangaea_contracts::order::Reason;
use pangaea_faults::{Change, Plant, changed, planted, unguarded};
use serde::{Deserialize, Serialize};

use crate::OrderSettings;

/// How far an order has come.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Accepted; stock has been asked to reserve.
    Placed,
    /// Stock is reserved; payment has been asked to authorize.
    Reserved,
    /// The customer has to act before the money is held.
    ActionRequired,
    /// The money is held; stock has been asked to commit.
    Authorized,
    /// The stock is sold; payment has been asked to capture.
    Committed,
    /// The money is captured.
    Confirmed,
    /// What is held is being given back.
    Cancelling,
    Cancelled,
    /// The saga cannot go on by itself: a person has to decide.
    ManualReview,
    /// All the money has gone back.
    Refunded,
}

/// What the state machine keeps of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Saga {
    pub(crate) state: State,
    /// Deadlines passed in this state; of `committed`, tries to capture that brought no money.
    pub(crate) attempt: u32,
    /// While cancelling: payment has not yet said that nothing is held.
    pub(crate) awaits_void: bool,
    /// While cancelling: product has not yet said that nothing is held.
    pub(crate) awaits_release: bool,
}

/// What may happen to an order before it is settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    StockReserved,
    StockRefused(Reason),
    StockCommitted,
    CommitRefused(Reason),
    StockReleased,
    /// No state changes by it: a commit tries to reserve again, and is refused when the units are gone.
    ReservationExpired,
    Authorized,
    ActionRequired,
    Declined(Reason),
    /// Minor units.
    Captured {
        amount: i64,
    },
    CaptureFailed(Reason),
    Voided,
    /// The owner or staff want it ended. Whether they may is [`may_cancel`].
    Cancel(Reason),
    /// No answer has come in time. How long the order has been in its state, in milliseconds.
    Deadline {
        waited_ms: i64,
    },
}

/// What to say, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Say {
    ReserveStock,
    Authorize,
    CommitStock,
    Capture,
    Void,
    ReleaseStock,
    Confirmed,
    Cancelled,
    ManualReview,
}

/// The outcome of an event. The deadline is set anew after every step, see [`deadline_ms`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) saga: Saga,
    pub(crate) say: Vec<Say>,
    /// The entry of the timeline; none for a question asked again.
    pub(crate) entry: Option<Entry>,
}

/// What the timeline says of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Snake case, stable.
    pub(crate) event: &'static str,
    /// Why, where there is something to explain.
    pub(crate) reason: Option<Reason>,
}

/// Why an order cannot be cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CancelRefusal {
    /// A capture is under way; its outcome decides.
    Capturing,
    /// The money is captured: the way back is a refund.
    Captured,
    /// Only staff may end what a person has to decide.
    InReview,
}

/// Takes an event into account; `None` when it changes nothing.
pub(crate) fn step(saga: Saga, event: &Event, settings: &OrderSettings) -> Option<Step> {
    use Say::{Authorize, Capture, CommitStock, Confirmed};
    if planted(Plant::StockCommittedAfterCapture)
        && let Some(step) = money_first(saga, event)
    {
        return Some(step);
    }
    let next = match (saga.state, event) {
        (State::Placed, Event::StockReserved) => go(State::Reserved, &[Authorize], "reserved", None),
        (State::Placed, Event::StockRefused(reason)) => {
            go(State::Cancelled, &[Say::Cancelled], "stock_refused", Some(reason.clone()))
        }
        (State::Reserved | State::ActionRequired, Event::Authorized) => {
            go(State::Authorized, &[CommitStock], "authorized", None)
        }
        (State::Reserved, Event::ActionRequired) => go(State::ActionRequired, &[], "action_required", None),
        // A declined payment holds nothing, so there is nothing to void.
        (State::Reserved | State::ActionRequired, Event::Declined(reason)) => undo(false, "declined", reason.clone()),
        (State::Authorized, Event::StockCommitted) => go(State::Committed, &[Capture], "committed", None),
        // Releasing too undoes a repeated commit that finds units after the first was refused.
        (State::Authorized, Event::CommitRefused(reason)) => undo(true, "commit_refused", reason.clone()),
        // Of a review it is the belated outcome of the last try.
        (State::Committed | State::ManualReview, Event::Captured { .. }) => {
            go(State::Confirmed, &[Confirmed], "confirmed", None)
        }
        (State::Committed, Event::CaptureFailed(reason)) => capture_failed(saga, reason),
        (State::Cancelling, Event::Voided | Event::StockReleased) => return given_back(saga, event),
        (state, Event::Cancel(reason)) if may_cancel(state, true).is_ok() && !state.is_ending() => {
            undo(state != State::Placed, "cancel_requested", reason.clone())
        }
        (state, Event::Deadline { waited_ms }) => return overdue(saga, state, *waited_ms, settings),
        _ => return None,
    };
    Some(next)
}

/// Whether an order in this state may be cancelled. One that is ending already may: it is a repeat.
///
/// # Errors
/// Says what stands against it.
pub(crate) fn may_cancel(state: State, staff: bool) -> Result<(), CancelRefusal> {
    match state {
        State::Placed | State::Reserved | State::ActionRequired | State::Authorized => Ok(()),
        State::Cancelling | State::Cancelled => Ok(()),
        State::ManualReview if staff => Ok(()),
        State::ManualReview => Err(CancelRefusal::InReview),
        State::Committed => Err(CancelRefusal::Capturing),
        State::Confirmed | State::Refunded => Err(CancelRefusal::Captured),
    }
}

/// How long the order may stay as it is before something is done about it, in milliseconds; `None` once it is settled.
pub(crate) fn deadline_ms(saga: &Saga, settings: &OrderSettings) -> Option<i64> {
    match saga.state {
        State::Placed | State::Reserved | State::Authorized if changed(Change::ChangedDeadline) => {
            Some(settings.answer_timeout_ms * 2)
        }
        State::Placed | State::Reserved | State::Authorized => Some(settings.answer_timeout_ms),
        State::ActionRequired => Some(settings.action_timeout_ms),
        State::Committed if saga.attempt == 0 => Some(settings.answer_timeout_ms),
        State::Committed => Some(settings.capture_backoff_ms(saga.attempt - 1)),
        State::Cancelling => Some(settings.compensation_backoff_ms(saga.attempt)),
        State::Confirmed | State::Cancelled | State::ManualReview | State::Refunded => None,
    }
}

fn go(state: State, say: &[Say], event: &'static str, reason: Option<Reason>) -> Step {
    let saga = Saga { state, attempt: 0, awaits_void: false, awaits_release: false };
    Step { saga, say: say.to_vec(), entry: Some(Entry { event, reason }) }
}

/// A planted bug: the money is taken before the stock is sold.
fn money_first(saga: Saga, event: &Event) -> Option<Step> {
    match (saga.state, event) {
        (State::Reserved | State::ActionRequired, Event::Authorized) => {
            Some(go(State::Authorized, &[Say::Capture], "authorized", None))
        }
        (State::Authorized, Event::Captured { .. }) => {
            Some(Step { saga, say: vec![Say::CommitStock], entry: Some(Entry { event: "captured", reason: None }) })
        }
        _ => None,
    }
}

/// Gives back what is held. `void`: whether payment has ever been asked for anything that it may hold.
fn undo(void: bool, event: &'static str, reason: Reason) -> Step {
    let saga = Saga { state: State::Cancelling, attempt: 0, awaits_void: void, awaits_release: true };
    if unguarded(Plant::CompensationDropped) {
        // Without the wait for both answers nobody notices that nothing was asked.
        return go(State::Cancelled, &[Say::Cancelled], event, Some(reason));
    }
    let say = if planted(Plant::CompensationDropped) { Vec::new() } else { awaited(&saga) };
    Step { saga, say, entry: Some(Entry { event, reason: Some(reason) }) }
}

fn awaited(saga: &Saga) -> Vec<Say> {
    let void = saga.awaits_void.then_some(Say::Void);
    void.into_iter().chain(saga.awaits_release.then_some(Say::ReleaseStock)).collect()
}

fn given_back(saga: Saga, event: &Event) -> Option<Step> {
    let (awaited, event, next) = match event {
        Event::Voided => (saga.awaits_void, "voided", Saga { awaits_void: false, ..saga }),
        _ => (saga.awaits_release, "stock_released", Saga { awaits_release: false, ..saga }),
    };
    if !awaited {
        return None;
    }
    if next.awaits_void || next.awaits_release {
        return Some(Step { saga: next, say: Vec::new(), entry: Some(Entry { event, reason: None }) });
    }
    Some(go(State::Cancelled, &[Say::Cancelled], "cancelled", None))
}

/// Only the first failure is an entry of the timeline: a day of retries would be a hundred equal ones.
fn capture_failed(saga: Saga, reason: &Reason) -> Step {
    let entry = (saga.attempt == 0).then(|| Entry { event: "capture_failed", reason: Some(reason.clone()) });
    Step { saga: Saga { attempt: saga.attempt.max(1), ..saga }, say: Vec::new(), entry }
}

/// Asks again: receivers answer a repeat with what is true now, so the repeat is the query.
fn overdue(saga: Saga, state: State, waited_ms: i64, settings: &OrderSettings) -> Option<Step> {
    let again =
        |say: Vec<Say>| Step { saga: Saga { attempt: saga.attempt.saturating_add(1), ..saga }, say, entry: None };
    let unanswered = |question, void, from: &str| {
        if saga.attempt + 1 < settings.answer_tries_max {
            return again(vec![question]);
        }
        let reason = Reason::new("no_answer", format!("{from} did not answer in time"));
        undo(void, "deadline_passed", reason)
    };
    let next = match state {
        State::Placed => unanswered(Say::ReserveStock, false, "the stock"),
        State::Reserved => unanswered(Say::Authorize, true, "the payment provider"),
        State::Authorized => unanswered(Say::CommitStock, true, "the stock"),
        State::ActionRequired => undo(
            true,
            "deadline_passed",
            Reason::new("action_timeout", "the customer did not complete the payment in time"),
        ),
        State::Committed if waited_ms >= settings.capture_give_up_ms => {
            let reason = Reason::new("capture_failed", "the held money could not be captured in time");
            go(State::ManualReview, &[Say::ManualReview], "manual_review", Some(reason))
        }
        State::Committed => again(vec![Say::Capture]),
        State::Cancelling => again(awaited(&saga)),
        State::Confirmed | State::Cancelled | State::ManualReview | State::Refunded => return None,
    };
    Some(next)
}

// === impl State ===

impl State {
    pub const ALL: [State; 10] = [
        State::Placed,
        State::Reserved,
        State::ActionRequired,
        State::Authorized,
        State::Committed,
        State::Confirmed,
        State::Cancelling,
        State::Cancelled,
        State::ManualReview,
        State::Refunded,
    ];

    /// All of them in words.
    pub const NAMES: [&'static str; State::ALL.len()] = {
        let mut names = [""; State::ALL.len()];
        let mut index = 0;
        while index < names.len() {
            names[index] = State::ALL[index].as_str();
            index += 1;
        }
        names
    };

    pub const fn as_str(self) -> &'static str {
        match self {
            State::Placed => "placed",
            State::Reserved => "reserved",
            State::ActionRequired => "action_required",
            State::Authorized => "authorized",
            State::Committed => "committed",
            State::Confirmed => "confirmed",
            State::Cancelling => "cancelling",
            State::Cancelled => "cancelled",
            State::ManualReview => "manual_review",
            State::Refunded => "refunded",
        }
    }

    /// Whether the saga has come to its end: confirmed or later, cancelled, or left to people.
    pub const fn is_settled(self) -> bool {
        matches!(self, State::Confirmed | State::Cancelled | State::ManualReview | State::Refunded)
    }

    const fn is_ending(self) -> bool {
        matches!(self, State::Cancelling | State::Cancelled)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for State {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|state| state.as_str() == text);
        known.ok_or_else(|| format!("{text:?} is not a state of an order"))
    }
}

// === impl Saga ===

impl Saga {
    /// A new order's.
    pub(crate) const PLACED: Saga =
        Saga { state: State::Placed, attempt: 0, awaits_void: false, awaits_release: false };
}

#[cfg(test)]
#[path = "domain_tests.rs"]
mod tests;
