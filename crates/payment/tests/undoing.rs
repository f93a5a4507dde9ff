//! How a payment is undone, whatever is under way, and what becomes of calls whose outcome nobody knows.

mod common;

use common::{Bench, canceled, gbp, given_back, held, reason, receipt, taken};
use pangaea_contracts::payment::{CaptureFailed, Declined};
use pangaea_kernel::Outcome;
use pangaea_payment::{
    AuthorizeIntent, CaptureIntent, ProviderStatus, QueryOperation, RefundIntent, ShowIntent, State, VoidIntent,
    VoidStage,
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
async fn a_void_before_the_authorization_refuses_it() {
    let mut bench = Bench::new().await;
    assert_eq!(bench.void().await, ["voided"]);
    assert_eq!(bench.authorize("tok_ok").await, ["declined"]);
    assert_eq!(bench.last::<Declined>().reason.code, "voided");
    assert!(bench.effects.is_empty());
    assert_eq!(bench.capture().await, ["capture_failed"]);
    assert_eq!(bench.void().await, ["voided"]);
    assert_eq!(bench.ledger().await, NOTHING);
    bench.sound().await;
}

#[tokio::test]
async fn a_hold_is_voided_once() {
    let mut bench = authorized().await;
    assert_eq!(bench.void().await, NOTHING);
    assert_eq!(bench.effect::<VoidIntent>().provider_intent, "pi_1");
    assert_eq!(bench.void().await, NOTHING);
    assert_eq!(bench.capture().await, ["capture_failed"]);
    bench.sound().await;
    assert_eq!(bench.outcome::<VoidIntent>(canceled()).await, ["voided"]);
    let payment = bench.payment().await;
    assert_eq!((payment.state, payment.held, payment.void), (State::Canceled, 0, VoidStage::Done));
    assert_eq!(bench.void().await, ["voided"]);
    assert!(bench.effects.is_empty());
    assert_eq!(bench.ledger().await[2..], ["void pending 1000", "void posted 1000"]);
    bench.sound().await;
}

#[tokio::test]
async fn a_void_during_the_authorization_waits_for_its_result() {
    let mut bench = Bench::new().await;
    bench.authorize("tok_ok").await;
    assert_eq!(bench.void().await, NOTHING);
    assert_eq!(bench.outcome::<AuthorizeIntent>(held()).await, NOTHING, "a late authorization is no news");
    assert_eq!(bench.payment().await.held, 1_000);
    bench.sound().await;
    assert_eq!(bench.outcome::<VoidIntent>(canceled()).await, ["voided"]);
    bench.sound().await;

    let mut bench = Bench::new().await;
    bench.authorize("tok_ok").await;
    bench.void().await;
    let declined = Outcome::Refused(reason("card_declined"));
    assert_eq!(bench.outcome::<AuthorizeIntent>(declined).await, ["voided"]);
    bench.sound().await;
}

#[tokio::test]
async fn a_void_during_the_capture_refunds_what_was_taken() {
    let mut bench = authorized().await;
    bench.capture().await;
    assert_eq!(bench.void().await, NOTHING);
    assert_eq!(bench.outcome::<CaptureIntent>(taken()).await, NOTHING);
    assert_eq!(bench.effect::<RefundIntent>().amount, 1_000);
    bench.sound().await;
    assert_eq!(bench.outcome::<RefundIntent>(given_back(1_000)).await, ["voided"]);
    let payment = bench.payment().await;
    assert_eq!((payment.captured, payment.refunded, payment.state), (1_000, 1_000, State::Succeeded));
    bench.sound().await;

    let mut bench = authorized().await;
    bench.capture().await;
    bench.void().await;
    assert_eq!(bench.outcome::<CaptureIntent>(Outcome::Refused(reason("no"))).await, NOTHING);
    assert_eq!(bench.outcome::<VoidIntent>(canceled()).await, ["voided"]);
    bench.sound().await;
}

#[tokio::test]
async fn a_void_after_refunds_gives_back_the_rest() {
    let mut bench = captured().await;
    bench.refund("ref_1", gbp(300)).await;
    assert_eq!(bench.void().await, NOTHING);
    assert_eq!(bench.effects.len(), 2);
    assert_eq!(bench.outcome::<RefundIntent>(given_back(300)).await, ["refunded"]);
    assert_eq!(bench.effect::<RefundIntent>().amount, 700);
    assert_eq!(bench.outcome::<RefundIntent>(given_back(700)).await, ["voided"]);
    assert_eq!(bench.payment().await.refunded, 1_000);
    bench.sound().await;
}

#[tokio::test]
async fn a_void_that_finds_a_capture_refunds_it() {
    let mut bench = authorized().await;
    bench.capture().await;
    assert_eq!(bench.give_up().await, ["capture_failed"]);
    assert_eq!(bench.last::<CaptureFailed>().reason.code, "outcome_unknown");
    bench.void().await;
    assert_eq!(bench.outcome::<VoidIntent>(taken()).await, NOTHING, "the capture had happened after all");
    bench.sound().await;
    assert_eq!(bench.outcome::<RefundIntent>(given_back(1_000)).await, ["voided"]);
    bench.pass(3_600_000).await;
    assert!(bench.effects.is_empty(), "nothing is left to be asked");
    bench.sound().await;
}

#[tokio::test]
async fn a_capture_is_asked_again_under_its_first_key() {
    let mut bench = authorized().await;
    bench.capture().await;
    let first = bench.effects[0].id.clone();
    bench.give_up().await;
    bench.sound().await;
    assert_eq!(bench.capture().await, NOTHING);
    assert_ne!(bench.effects[0].id, first);
    assert_eq!(bench.effect::<CaptureIntent>().provider_key, Some(first));
    assert_eq!(bench.outcome::<CaptureIntent>(taken()).await, ["captured"]);
    assert_eq!(bench.ledger().await[2..], ["capture pending 1000", "capture posted 1000"]);
    bench.sound().await;
}

#[tokio::test]
async fn an_unknown_capture_is_found_by_reconciliation() {
    let mut bench = authorized().await;
    bench.capture().await;
    let key = bench.effects[0].id.clone();
    bench.give_up().await;
    bench.pass(10_000).await;
    assert_eq!(bench.effect::<QueryOperation>().provider_key, key);
    let found = Outcome::Done(Some(receipt(ProviderStatus::Succeeded, 1_000)));
    assert_eq!(bench.outcome::<QueryOperation>(found).await, ["captured"]);
    assert_eq!(bench.capture().await, ["captured"]);
    bench.sound().await;
}

#[tokio::test]
async fn what_an_unknown_authorization_held_is_voided_when_it_turns_up() {
    let mut bench = Bench::new().await;
    bench.authorize("tok_timeout").await;
    let key = bench.effects[0].id.clone();
    assert_eq!(bench.give_up().await, ["declined"]);
    assert_eq!(bench.last::<Declined>().reason.code, "outcome_unknown");
    assert_eq!(bench.timers().await, ["payment.tmr.reconcile.v1"]);
    bench.sound().await;

    bench.pass(10_000).await;
    assert_eq!(bench.effect::<QueryOperation>().provider_key, key);
    assert_eq!(bench.outcome::<QueryOperation>(Outcome::Done(None)).await, NOTHING);
    assert_eq!(bench.pass(19_999).await, NOTHING);
    assert!(bench.effects.is_empty(), "the pause has doubled");
    bench.pass(1).await;
    let found = Outcome::Done(Some(receipt(ProviderStatus::RequiresCapture, 0)));
    assert_eq!(bench.outcome::<QueryOperation>(found).await, NOTHING);
    assert_eq!(bench.payment().await.held, 1_000, "seen, so booked");
    bench.sound().await;
    assert_eq!(bench.outcome::<VoidIntent>(canceled()).await, NOTHING, "order was told long ago");
    assert_eq!(bench.payment().await.held, 0);
    assert_eq!(bench.authorize("tok_ok").await, ["declined"]);
    bench.sound().await;
}

#[tokio::test]
async fn reconciliation_ends() {
    let mut bench = Bench::new().await;
    bench.authorize("tok_timeout").await;
    bench.give_up().await;
    let mut rounds = 0;
    while !bench.timers().await.is_empty() {
        bench.pass(3_600_000).await;
        if !bench.effects.is_empty() {
            bench.outcome::<QueryOperation>(Outcome::Done(None)).await;
            rounds += 1;
        }
        assert!(rounds <= 20, "it never ends");
    }
    assert_eq!(rounds, 20);
    assert_eq!(bench.ledger().await, ["authorize pending 1000", "authorize voided 1000"]);
    bench.sound().await;
}

#[tokio::test]
async fn a_void_of_an_unknown_authorization_is_answered_and_still_cleaned_up() {
    let mut bench = Bench::new().await;
    bench.authorize("tok_timeout").await;
    bench.void().await;
    assert_eq!(bench.give_up().await, ["voided"]);
    bench.pass(10_000).await;
    let found = Outcome::Done(Some(receipt(ProviderStatus::RequiresCapture, 0)));
    bench.outcome::<QueryOperation>(found).await;
    assert_eq!(bench.void().await, NOTHING, "there is something to undo now");
    assert_eq!(bench.outcome::<VoidIntent>(canceled()).await, ["voided"]);
    bench.sound().await;
}

#[tokio::test]
async fn a_void_is_tried_without_end() {
    let mut bench = authorized().await;
    bench.void().await;
    let key = bench.effects[0].id.clone();
    for round in 0..30 {
        assert_eq!(bench.give_up().await, NOTHING);
        bench.sound().await;
        bench.pass(3_600_000).await;
        assert_eq!(bench.effect::<VoidIntent>().provider_key, Some(key.clone()), "round {round}");
    }
    assert_eq!(bench.outcome::<VoidIntent>(Outcome::Refused(reason("busy"))).await, NOTHING);
    bench.pass(3_600_000).await;
    assert_eq!(bench.effect::<VoidIntent>().provider_key, None, "a refusal is kept under its key");
    assert_eq!(bench.outcome::<VoidIntent>(canceled()).await, ["voided"]);
    assert_eq!(bench.timers().await, NOTHING);
    bench.sound().await;
}

#[tokio::test]
async fn a_refused_refund_does_not_stop_a_void() {
    let mut bench = captured().await;
    bench.void().await;
    assert_eq!(bench.outcome::<RefundIntent>(Outcome::Refused(reason("busy"))).await, NOTHING);
    assert!(bench.effects.is_empty(), "not at once");
    bench.sound().await;
    bench.pass(5_000).await;
    assert_eq!(bench.outcome::<RefundIntent>(given_back(1_000)).await, ["voided"]);
    bench.sound().await;
}

#[tokio::test]
async fn a_void_while_the_payer_has_to_act_cancels_the_intent() {
    let mut bench = Bench::new().await;
    bench.authorize("tok_action_required").await;
    let waits = receipt(ProviderStatus::RequiresAction, 0);
    bench.outcome::<AuthorizeIntent>(Outcome::Done(waits)).await;
    bench.pass(2_000).await;
    bench.void().await;
    assert_eq!(bench.outcome::<ShowIntent>(held()).await, NOTHING, "the look comes too late");
    assert_eq!(bench.outcome::<VoidIntent>(canceled()).await, ["voided"]);
    assert_eq!(bench.timers().await, NOTHING);
    bench.sound().await;
}
