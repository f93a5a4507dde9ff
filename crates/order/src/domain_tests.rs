use std::collections::{BTreeSet, VecDeque};

use pangaea_contracts::order::Reason;

use super::{Event, Saga, Say, State, Step, deadline_ms, may_cancel, step};
use crate::OrderSettings;

const HOUR_MS: i64 = 3_600_000;

fn why() -> Reason {
    Reason::new("why", "because")
}

/// The events in the order of the table's columns.
fn events() -> Vec<Event> {
    vec![
        Event::StockReserved,
        Event::StockRefused(why()),
        Event::StockCommitted,
        Event::CommitRefused(why()),
        Event::StockReleased,
        Event::ReservationExpired,
        Event::Authorized,
        Event::ActionRequired,
        Event::Declined(why()),
        Event::Captured { amount: 100 },
        Event::CaptureFailed(why()),
        Event::Voided,
        Event::Cancel(why()),
        Event::Deadline { waited_ms: HOUR_MS },
    ]
}

fn saga(state: State, awaits_void: bool, awaits_release: bool) -> Saga {
    Saga { state, attempt: 0, awaits_void, awaits_release }
}

/// E.g. `cancelling+void+release > void release_stock`.
fn shown(step: Option<Step>) -> String {
    let Some(Step { saga, say, .. }) = step else { return "-".into() };
    let mut text = saga.state.to_string();
    for (set, name) in [(saga.awaits_void, "+void"), (saga.awaits_release, "+release")] {
        text.push_str(if set { name } else { "" });
    }
    if saga.attempt > 0 {
        text.push_str(&format!("#{}", saga.attempt));
    }
    let said: Vec<&str> = say.iter().map(|say| name(*say)).collect();
    if said.is_empty() { text } else { format!("{text} > {}", said.join(" ")) }
}

fn name(say: Say) -> &'static str {
    match say {
        Say::ReserveStock => "reserve",
        Say::Authorize => "authorize",
        Say::CommitStock => "commit",
        Say::Capture => "capture",
        Say::Void => "void",
        Say::ReleaseStock => "release",
        Say::Confirmed => "CONFIRMED",
        Say::Cancelled => "CANCELLED",
        Say::ManualReview => "REVIEW",
    }
}

/// Every state against every event. `-` is a no-op.
#[test]
fn every_state_against_every_event() {
    const RELEASE: &str = "cancelling+release > release";
    const BOTH: &str = "cancelling+void+release > void release";
    #[rustfmt::skip]
    let table: [(Saga, [&str; 14]); 12] = [
        // reserved, refused, committed, commit refused, released, expired, authorized, action, declined, captured, capture failed, voided, cancel, deadline
        (saga(State::Placed, false, false),
            ["reserved > authorize", "cancelled > CANCELLED", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", RELEASE, "placed#1 > reserve"]),
        (saga(State::Reserved, false, false),
            ["-", "-", "-", "-", "-", "-", "authorized > commit", "action_required", RELEASE, "-", "-", "-", BOTH, "reserved#1 > authorize"]),
        (saga(State::ActionRequired, false, false),
            ["-", "-", "-", "-", "-", "-", "authorized > commit", "-", RELEASE, "-", "-", "-", BOTH, BOTH]),
        (saga(State::Authorized, false, false),
            ["-", "-", "committed > capture", BOTH, "-", "-", "-", "-", "-", "-", "-", "-", BOTH, "authorized#1 > commit"]),
        (saga(State::Committed, false, false),
            ["-", "-", "-", "-", "-", "-", "-", "-", "-", "confirmed > CONFIRMED", "committed#1", "-", "-", "committed#1 > capture"]),
        (saga(State::Confirmed, false, false),
            ["-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-"]),
        (saga(State::Cancelling, true, true),
            ["-", "-", "-", "-", "cancelling+void", "-", "-", "-", "-", "-", "-", "cancelling+release", "-", "cancelling+void+release#1 > void release"]),
        (saga(State::Cancelling, true, false),
            ["-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "cancelled > CANCELLED", "-", "cancelling+void#1 > void"]),
        (saga(State::Cancelling, false, true),
            ["-", "-", "-", "-", "cancelled > CANCELLED", "-", "-", "-", "-", "-", "-", "-", "-", "cancelling+release#1 > release"]),
        (saga(State::Cancelled, false, false),
            ["-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-"]),
        (saga(State::ManualReview, false, false),
            ["-", "-", "-", "-", "-", "-", "-", "-", "-", "confirmed > CONFIRMED", "-", "-", BOTH, "-"]),
        (saga(State::Refunded, false, false),
            ["-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-"]),
    ];
    let settings = OrderSettings::default();
    let mut seen = BTreeSet::new();
    for (saga, expected) in table {
        seen.insert(saga.state);
        for (event, expected) in events().into_iter().zip(expected) {
            assert_eq!(shown(step(saga, &event, &settings)), expected, "{saga:?} and {event:?}");
        }
    }
    assert_eq!(seen, State::ALL.into_iter().collect());
}

#[test]
fn questions_are_asked_three_times_and_then_undone() {
    let settings = OrderSettings::default();
    let late = Event::Deadline { waited_ms: HOUR_MS };
    for (state, question, undone) in [
        (State::Placed, "placed#2 > reserve", "cancelling+release > release"),
        (State::Reserved, "reserved#2 > authorize", "cancelling+void+release > void release"),
        (State::Authorized, "authorized#2 > commit", "cancelling+void+release > void release"),
    ] {
        let waiting = Saga { attempt: 1, ..saga(state, false, false) };
        assert_eq!(shown(step(waiting, &late, &settings)), question);
        let last = step(Saga { attempt: 2, ..waiting }, &late, &settings).unwrap();
        assert_eq!(last.entry.as_ref().unwrap().reason.as_ref().unwrap().code, "no_answer");
        assert_eq!(shown(Some(last)), undone);
    }
}

#[test]
fn a_capture_is_retried_for_a_day_and_then_given_to_people() {
    let settings = OrderSettings::default();
    let mut now = saga(State::Committed, false, false);
    let (mut waited_ms, mut tries) = (0, 1);
    loop {
        now = step(now, &Event::CaptureFailed(why()), &settings).unwrap().saga;
        waited_ms += deadline_ms(&now, &settings).unwrap();
        let next = step(now, &Event::Deadline { waited_ms }, &settings).unwrap();
        if next.saga.state == State::ManualReview {
            assert_eq!(next.entry.unwrap().reason.unwrap().code, "capture_failed");
            break;
        }
        assert_eq!(next.say, [Say::Capture]);
        now = next.saga;
        tries += 1;
    }
    assert!(
        waited_ms >= settings.capture_give_up_ms
            && waited_ms < settings.capture_give_up_ms + settings.capture_retry_max_ms
    );
    assert!((50..200).contains(&tries), "{tries}");
}

#[test]
fn only_the_first_failed_capture_is_an_entry() {
    let settings = OrderSettings::default();
    let first = step(saga(State::Committed, false, false), &Event::CaptureFailed(why()), &settings).unwrap();
    assert_eq!(first.entry.unwrap().event, "capture_failed");
    assert!(step(first.saga, &Event::CaptureFailed(why()), &settings).unwrap().entry.is_none());
}

#[test]
fn only_staff_end_a_review_and_nobody_ends_a_capture() {
    for state in State::ALL {
        let staff_only = may_cancel(state, true).is_ok() && may_cancel(state, false).is_err();
        assert_eq!(staff_only, state == State::ManualReview, "{state}");
        assert!(may_cancel(state, true).is_ok() || may_cancel(state, false).is_err());
    }
    for state in [State::Committed, State::Confirmed, State::Refunded] {
        assert!(may_cancel(state, true).is_err(), "{state}");
    }
}

/// What has happened on the way to a saga, as far as the invariants speak of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct History {
    authorize_said: bool,
    void_said: bool,
    release_said: bool,
    stock_free: bool,
    money_free: bool,
    captured: bool,
}

/// Every history of any length, since there are finitely many sagas: none leaves an order hanging, and none ends it while
/// something may still be held.
#[test]
fn no_history_leaves_anything_held() {
    let settings = OrderSettings { answer_tries_max: 2, ..OrderSettings::default() };
    let mut alphabet = events();
    alphabet.push(Event::Deadline { waited_ms: settings.capture_give_up_ms });
    let start = (Saga::PLACED, History::default());
    let (mut seen, mut queue) = (Vec::from([start]), VecDeque::from([start]));
    while let Some((saga, history)) = queue.pop_front() {
        assert_eq!(deadline_ms(&saga, &settings).is_none(), saga.state.is_settled(), "{saga:?}");
        assert_eq!(saga.awaits_void || saga.awaits_release, saga.state == State::Cancelling, "{saga:?}");
        if saga.state == State::Cancelled {
            assert!(
                history.stock_free && (history.money_free || !history.authorize_said),
                "{saga:?} after {history:?}"
            );
        }
        if saga.state == State::Confirmed {
            assert!(history.captured && !history.void_said && !history.release_said, "{saga:?} after {history:?}");
        }
        for event in &alphabet {
            let Some(next) = step(saga, event, &settings) else { continue };
            let said = |say| next.say.contains(&say);
            let history = History {
                authorize_said: history.authorize_said || said(Say::Authorize),
                void_said: history.void_said || said(Say::Void),
                release_said: history.release_said || said(Say::ReleaseStock),
                stock_free: history.stock_free || matches!(event, Event::StockReleased | Event::StockRefused(_)),
                money_free: history.money_free || matches!(event, Event::Voided | Event::Declined(_)),
                captured: history.captured || matches!(event, Event::Captured { .. }),
            };
            // Attempts beyond a few only change how long the next deadline is.
            let saga = Saga { attempt: next.saga.attempt.min(3), ..next.saga };
            if !seen.contains(&(saga, history)) {
                seen.push((saga, history));
                queue.push_back((saga, history));
            }
        }
    }
    let reached: BTreeSet<State> = seen.iter().map(|(saga, _)| saga.state).collect();
    // Refunded is reached by refunds, which are not the saga's.
    assert_eq!(reached.len(), State::ALL.len() - 1, "{reached:?}");
}
