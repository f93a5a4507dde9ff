//! Inputs to outputs and rows: results of the provider are fed by hand, so that every order of events can be had.

mod common;

use common::{Bench, canceled, customer, gbp, given_back, held, order, reason, receipt, refund_id, taken};
use pangaea_contracts::payment::{
    Authorize, Authorized, CaptureFailed, Captured, Declined, RefundRefused, Refunded, Void,
};
use pangaea_contracts::{Actor, Currency, Money, OrderId, Role};
use pangaea_kernel::Outcome;
use pangaea_payment::{
    AuthorizeIntent, CaptureIntent, ProviderStatus, RefundIntent, RefundState, ShowIntent, State, VoidIntent, balances,
    totals,
};

const NOTHING: [&str; 0] = [];

async fn authorized() -> Bench {
    let mut bench = Bench::new().await;
    bench.authorize("tok_ok").await;
    assert_eq!(bench.outcome::<AuthorizeIntent>(held()).await, ["authorized"]);
    bench
}

async fn captured() -> Bench {
    let mut bench = authorized().await;
    bench.capture().await;
    assert_eq!(bench.outcome::<CaptureIntent>(taken()).await, ["captured"]);
    bench
}

#[tokio::test]
async fn money_is_held_taken_and_booked() {
    let mut bench = Bench::new().await;
    assert_eq!(bench.authorize("tok_ok").await, NOTHING);
    let effect: AuthorizeIntent = bench.effect();
    assert_eq!((effect.amount, effect.payment_token.as_str(), effect.provider_key), (gbp(1_000), "tok_ok", None));
    assert_eq!(bench.payment().await.state, State::Processing);
    bench.sound().await;

    assert_eq!(bench.outcome::<AuthorizeIntent>(held()).await, ["authorized"]);
    assert_eq!(bench.last::<Authorized>().amount, gbp(1_000));
    let payment = bench.payment().await;
    assert_eq!((payment.state, payment.held), (State::RequiresCapture, 1_000));
    assert_eq!(payment.owner_id.map(|id| id.to_string()), Some("usr_1".into()));
    bench.sound().await;

    assert_eq!(bench.capture().await, NOTHING);
    assert_eq!(bench.effect::<CaptureIntent>().provider_intent, "pi_1");
    bench.sound().await;
    assert_eq!(bench.outcome::<CaptureIntent>(taken()).await, ["captured"]);
    assert_eq!(bench.last::<Captured>().amount, gbp(1_000));
    let steps = ["authorize pending 1000", "authorize posted 1000", "capture pending 1000", "capture posted 1000"];
    assert_eq!(bench.ledger().await, steps);
    bench.sound().await;

    let sums = balances(&bench.database).await.unwrap();
    assert_eq!(
        (sums[0].currency, sums[0].authorized, sums[0].captured, sums[0].refunded),
        (Currency::GBP, 0, 1_000, 0)
    );
    let totals = totals(&bench.database, None, None, 10).await.unwrap();
    assert_eq!((totals[0].state, totals[0].captured), (State::Succeeded, 1_000));
    assert!(pangaea_payment::totals(&bench.database, Some(&order()), None, 10).await.unwrap().is_empty());
    assert_eq!(bench.timers().await, NOTHING);
}

#[tokio::test]
async fn totals_come_in_pages_and_tell_what_is_under_way() {
    let mut bench = captured().await;
    bench.refund("ref_1", gbp(400)).await;
    let second: OrderId = "ord_2".parse().unwrap();
    let ask = Authorize { order_id: second.clone(), amount: gbp(700), payment_token: "tok_ok".into() };
    bench.deliver(&ask, customer()).await;
    let third: OrderId = "ord_3".parse().unwrap();
    bench.deliver(&Void { order_id: third.clone() }, customer()).await;

    let all = totals(&bench.database, None, None, 10).await.unwrap();
    let sums: Vec<_> = all.iter().map(|one| (one.held, one.captured, one.refunded, one.refund_pending)).collect();
    assert_eq!(sums, [(0, 1_000, 0, 400), (0, 0, 0, 0), (0, 0, 0, 0)]);
    let rest: Vec<_> = all.iter().map(|one| (one.order_id.as_str(), one.currency.as_deref(), one.under_way)).collect();
    assert_eq!(rest, [("ord_1", Some("GBP"), false), ("ord_2", Some("GBP"), true), ("ord_3", None, false)]);
    assert!(all.iter().all(|one| one.payment_id.as_str().starts_with("pay_")), "{all:?}");

    let cases = [
        (None, None, 2, &all[..2]),
        (Some(&second), None, 2, &all[2..]),
        (None, Some(&second), 10, &all[..2]),
        (Some(&all[0].order_id), Some(&second), 10, &all[1..2]),
        (Some(&third), None, 10, &all[3..]),
    ];
    for (after, until, limit, expected) in cases {
        let page = totals(&bench.database, after, until, limit).await.unwrap();
        assert_eq!(page, expected, "after {after:?} until {until:?}, at most {limit}");
    }
}

#[tokio::test]
async fn a_repeat_waits_for_the_effect_and_then_gets_the_answer_again() {
    let mut bench = Bench::new().await;
    bench.authorize("tok_ok").await;
    assert_eq!(bench.authorize("tok_ok").await, NOTHING);
    assert_eq!(bench.effects.len(), 1, "no second effect");
    bench.outcome::<AuthorizeIntent>(held()).await;
    assert_eq!(bench.authorize("tok_ok").await, ["authorized"]);
    bench.capture().await;
    assert_eq!(bench.capture().await, NOTHING);
    assert_eq!(bench.effects.len(), 1);
    bench.outcome::<CaptureIntent>(taken()).await;
    assert_eq!(bench.capture().await, ["captured"]);
    assert_eq!(bench.authorize("tok_ok").await, ["authorized"]);
    bench.sound().await;
}

#[tokio::test]
async fn a_decline_is_final_and_holds_nothing() {
    let mut bench = Bench::new().await;
    bench.authorize("tok_declined").await;
    let declined = Outcome::Refused(reason("card_declined"));
    assert_eq!(bench.outcome::<AuthorizeIntent>(declined).await, ["declined"]);
    assert_eq!(bench.last::<Declined>().reason.code, "payment_declined");
    assert_eq!(bench.authorize("tok_ok").await, ["declined"]);
    assert_eq!(bench.capture().await, ["capture_failed"]);
    assert_eq!(bench.last::<CaptureFailed>().reason.code, "payment_declined");
    assert_eq!(bench.void().await, ["voided"]);
    assert_eq!(bench.payment().await.state, State::Failed);
    assert_eq!(bench.ledger().await, ["authorize pending 1000", "authorize voided 1000"]);
    assert!(bench.effects.is_empty());
    bench.sound().await;
}

#[tokio::test]
async fn an_amount_that_cannot_be_paid_is_declined_at_once() {
    for amount in [0, -1, i64::MAX] {
        let mut bench = Bench::new().await;
        let message = Authorize { order_id: order(), amount: gbp(amount), payment_token: "tok_ok".into() };
        assert_eq!(bench.deliver(&message, customer()).await, ["declined"], "{amount}");
        assert_eq!(bench.last::<Declined>().reason.code, "invalid_amount");
        assert!(bench.effects.is_empty());
        bench.sound().await;
    }
}

#[tokio::test]
async fn only_a_customer_owns_a_payment() {
    for (actor, owner) in [
        (customer(), Some("usr_1".to_owned())),
        (Actor::user("usr_2", [Role::Customer, Role::Staff]), None),
        (Actor::user("anonymous", []), None),
        (Actor::system(), None),
    ] {
        let mut bench = Bench::new().await;
        let message = Authorize { order_id: order(), amount: gbp(1), payment_token: "tok_ok".into() };
        bench.deliver(&message, actor).await;
        assert_eq!(bench.payment().await.owner_id.map(|id| id.to_string()), owner);
    }
}

#[tokio::test]
async fn a_capture_of_nothing_fails() {
    let mut bench = Bench::new().await;
    assert_eq!(bench.capture().await, ["capture_failed"]);
    assert_eq!(bench.last::<CaptureFailed>().reason.code, "not_authorized");
    bench.authorize("tok_ok").await;
    assert_eq!(bench.capture().await, ["capture_failed"], "the answer to the authorization is not there yet");
    bench.sound().await;
}

#[tokio::test]
async fn a_refused_capture_may_be_asked_again_under_a_new_key() {
    let mut bench = authorized().await;
    bench.capture().await;
    assert_eq!(bench.outcome::<CaptureIntent>(Outcome::Refused(reason("capture_failed"))).await, ["capture_failed"]);
    assert_eq!(bench.last::<CaptureFailed>().reason.code, "capture_failed");
    bench.capture().await;
    assert_eq!(bench.effect::<CaptureIntent>().provider_key, None);
    bench.outcome::<CaptureIntent>(taken()).await;
    bench.sound().await;
}

#[tokio::test]
async fn refunds_at_once_never_exceed_the_capture() {
    let mut bench = captured().await;
    assert_eq!(bench.refund("ref_1", gbp(600)).await, NOTHING);
    assert_eq!(bench.refund("ref_2", gbp(500)).await, ["refund_refused"]);
    assert_eq!(bench.last::<RefundRefused>().reason.code, "refund_exceeds_captured");
    assert_eq!(bench.refund("ref_3", gbp(400)).await, NOTHING);
    assert_eq!(bench.payment().await.refund_pending, 1_000);
    bench.sound().await;

    assert_eq!(bench.outcome::<RefundIntent>(given_back(600)).await, ["refunded"]);
    assert_eq!(bench.last::<Refunded>().refund_id, refund_id("ref_1"));
    assert_eq!(bench.outcome::<RefundIntent>(Outcome::Refused(reason("no"))).await, ["refund_refused"]);
    let payment = bench.payment().await;
    assert_eq!((payment.refunded, payment.refund_pending), (600, 0));
    bench.sound().await;

    assert_eq!(bench.refund("ref_1", gbp(600)).await, ["refunded"]);
    assert_eq!(bench.refund("ref_2", gbp(1)).await, ["refund_refused"], "a refusal is for good");
    assert_eq!(bench.refund("ref_3", gbp(400)).await, ["refund_refused"]);
    assert!(bench.effects.is_empty());
    assert_eq!(bench.refund("ref_4", gbp(400)).await, NOTHING);
    assert_eq!(bench.outcome::<RefundIntent>(given_back(400)).await, ["refunded"]);
    let sums = balances(&bench.database).await.unwrap();
    assert_eq!((sums[0].captured, sums[0].refunded), (1_000, 1_000));
    bench.sound().await;
}

#[tokio::test]
async fn refunds_that_make_no_sense_are_refused() {
    let mut bench = captured().await;
    for (id, amount, code) in [
        ("ref_a", gbp(0), "invalid_amount"),
        ("ref_b", gbp(-5), "invalid_amount"),
        ("ref_c", Money::new(1, Currency::EUR), "currency_mismatch"),
        ("ref_d", gbp(1_001), "refund_exceeds_captured"),
        ("ref_e", gbp(i64::MAX), "refund_exceeds_captured"),
    ] {
        assert_eq!(bench.refund(id, amount).await, ["refund_refused"], "{id}");
        assert_eq!(bench.last::<RefundRefused>().reason.code, code, "{id}");
    }
    let mut bench = authorized().await;
    assert_eq!(bench.refund("ref_1", gbp(1)).await, ["refund_refused"]);
    assert_eq!(bench.last::<RefundRefused>().reason.code, "nothing_captured");
    let mut bench = Bench::new().await;
    assert_eq!(bench.refund("ref_1", gbp(1)).await, ["refund_refused"]);
    bench.sound().await;
}

#[tokio::test]
async fn a_refund_without_an_outcome_is_asked_again_under_its_first_key() {
    let mut bench = captured().await;
    bench.refund("ref_1", gbp(100)).await;
    let key = bench.effects[0].id.clone();
    for _ in 0..5 {
        assert_eq!(bench.give_up().await, NOTHING);
        assert_eq!(bench.refund("ref_1", gbp(100)).await, NOTHING, "a repeat starts no second one");
        bench.sound().await;
        bench.pass(3_600_000).await;
        assert_eq!(bench.effect::<RefundIntent>().provider_key, Some(key.clone()));
    }
    assert_eq!(bench.outcome::<RefundIntent>(given_back(100)).await, ["refunded"]);
    assert_eq!(bench.refunds().await[0].state, RefundState::Succeeded);
    bench.sound().await;
}

#[tokio::test]
async fn a_payer_who_acts_is_seen() {
    let mut bench = Bench::new().await;
    bench.authorize("tok_action_required").await;
    let waits = receipt(ProviderStatus::RequiresAction, 0);
    assert_eq!(bench.outcome::<AuthorizeIntent>(Outcome::Done(waits.clone())).await, ["action_required"]);
    assert_eq!(bench.authorize("tok_action_required").await, ["action_required"]);
    bench.sound().await;
    for outcome in [Outcome::Done(waits), Outcome::Unknown(reason("deadline"))] {
        bench.pass(2_000).await;
        assert_eq!(bench.outcome::<ShowIntent>(outcome).await, NOTHING);
        bench.sound().await;
    }
    bench.pass(2_000).await;
    assert_eq!(bench.outcome::<ShowIntent>(held()).await, ["authorized"]);
    assert_eq!(bench.timers().await, NOTHING);
    assert_eq!(bench.payment().await.held, 1_000);
    bench.sound().await;
}

#[tokio::test]
async fn a_payer_who_does_not_act_in_time_is_let_go() {
    let mut bench = Bench::new().await;
    bench.authorize("tok_action_required").await;
    let waits = receipt(ProviderStatus::RequiresAction, 0);
    bench.outcome::<AuthorizeIntent>(Outcome::Done(waits.clone())).await;
    bench.pass(600_000).await;
    assert_eq!(bench.outcome::<ShowIntent>(Outcome::Done(waits)).await, ["declined"]);
    assert_eq!(bench.last::<Declined>().reason.code, "action_expired");
    bench.sound().await;
    assert_eq!(bench.outcome::<VoidIntent>(canceled()).await, NOTHING);
    assert_eq!(bench.payment().await.state, State::Expired);
    assert_eq!(bench.void().await, ["voided"]);
    assert_eq!(bench.ledger().await, ["authorize pending 1000", "authorize voided 1000"]);
    bench.sound().await;
}

#[tokio::test]
async fn verify_sees_what_is_wrong() {
    for (sql, breach) in [
        (
            "UPDATE transfer SET amount = 999 WHERE kind = 'capture' AND state = 'posted'",
            "the row says held 0, captured 1000",
        ),
        ("UPDATE transfer SET debit_account = 'pocket' WHERE kind = 'capture'", "the accounts of GBP sum to -1000"),
        (
            "UPDATE transfer SET credit_account = 'refunds' WHERE kind = 'authorize' AND state = 'posted'",
            "refunded 0; the ledger",
        ),
        (
            "DELETE FROM transfer WHERE kind = 'authorize' AND state = 'pending'",
            "has 3 transfers, its payment counts 4",
        ),
        (
            "UPDATE transfer SET pending_id = (SELECT MIN(id) FROM transfer) WHERE state = 'posted'",
            "is settled 2 times",
        ),
        ("UPDATE payment SET refund_pending = 1", "1 is pending to be refunded, its refunds say 0"),
        ("UPDATE payment SET state = 'processing'", "neither an effect nor a timer will move it"),
        (
            "UPDATE transfer SET credit_account = 'refunds', amount = 2000 WHERE kind = 'authorize' AND state = 'posted'",
            "2000 of GBP was refunded of 1000 captured",
        ),
    ] {
        let breaches = captured().await.corrupt(sql).await;
        assert!(breaches.iter().any(|found| found.contains(breach)), "{sql}: {breaches:?}");
    }
}

#[tokio::test]
async fn the_database_refuses_what_the_code_must_never_do() {
    let bench = captured().await;
    let breaches = bench.corrupt("UPDATE payment SET updated_at = updated_at").await;
    assert_eq!(breaches, NOTHING);
    for sql in ["refunded = 1001", "refund_pending = 1001", "captured = 1001", "held = 1", "state = 'odd'"] {
        let bench = captured().await;
        let sql = format!("UPDATE payment SET {sql}");
        assert!(bench.refused(&sql).await, "{sql}");
    }
}
