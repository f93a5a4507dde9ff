//! What is done when nobody answers.

mod support;

use pangaea_contracts::payment::{ActionRequired, CaptureFailed};
use pangaea_contracts::product::StockReleased;

use support::{Rig, customer, payment_id, staff, why};

const ANSWER_MS: i64 = 30_000;

#[tokio::test]
async fn an_unanswered_question_is_asked_again_and_then_undone() {
    for (state, question, undone) in [
        ("placed", "cmd.product.reserve_stock", vec!["cmd.product.release_stock"]),
        ("reserved", "cmd.payment.authorize", vec!["cmd.payment.void", "cmd.product.release_stock"]),
        ("authorized", "cmd.product.commit_stock", vec!["cmd.payment.void", "cmd.product.release_stock"]),
    ] {
        let mut rig = Rig::new().await;
        let order_id = rig.bring_to(state).await;
        rig.pass(ANSWER_MS - 1).await;
        assert_eq!(rig.said(), Vec::<String>::new(), "{state}");
        rig.pass(1).await;
        assert_eq!(rig.said(), [question]);
        rig.check().await;
        rig.pass(ANSWER_MS).await;
        assert_eq!(rig.said(), [question]);
        rig.pass(ANSWER_MS).await;
        assert_eq!(rig.said(), undone, "{state}");
        assert_eq!(
            (rig.state(&order_id).await, rig.reason(&order_id).await),
            ("cancelling".into(), "no_answer".into())
        );
        rig.check().await;
    }
}

#[tokio::test]
async fn the_same_question_is_the_same_words() {
    let mut rig = Rig::new().await;
    rig.place().await;
    let first = rig.take_said();
    rig.pass(ANSWER_MS).await;
    let again = rig.take_said();
    assert_eq!(again[0].payload, first[1].payload);
    assert_ne!(again[0].id, first[1].id);
}

#[tokio::test]
async fn an_answer_moves_the_deadline() {
    let mut rig = Rig::new().await;
    let order_id = rig.bring_to("placed").await;
    rig.pass(ANSWER_MS - 1).await;
    rig.go_on(&order_id, "placed").await;
    assert_eq!(rig.said(), ["cmd.payment.authorize"]);
    rig.pass(ANSWER_MS - 1).await;
    assert_eq!(rig.said(), Vec::<String>::new());
    rig.pass(1).await;
    assert_eq!(rig.said(), ["cmd.payment.authorize"]);
    assert_eq!(rig.state(&order_id).await, "reserved");
}

#[tokio::test]
async fn an_answer_in_the_batch_of_its_deadline_counts() {
    let mut rig = Rig::new().await;
    let order_id = rig.bring_to("placed").await;
    let answer =
        rig.delivery(&pangaea_contracts::product::StockReserved { order_id: order_id.clone(), expires_at: rig.now });
    rig.now = rig.now.plus_millis(ANSWER_MS);
    rig.run(vec![answer]).await;
    assert_eq!(rig.said(), ["cmd.product.reserve_stock", "cmd.payment.authorize"]);
    assert_eq!((rig.state(&order_id).await, rig.timers().await), ("reserved".into(), 1));
    rig.check().await;
}

#[tokio::test]
async fn a_customer_has_ten_minutes_to_act() {
    let mut rig = Rig::new().await;
    let order_id = rig.bring_to("reserved").await;
    rig.hear(&ActionRequired { order_id: order_id.clone(), payment_id: payment_id() }).await;
    rig.pass(599_999).await;
    assert_eq!(rig.state(&order_id).await, "action_required");
    rig.pass(1).await;
    assert_eq!(rig.said(), ["cmd.payment.void", "cmd.product.release_stock"]);
    assert_eq!(rig.reason(&order_id).await, "action_timeout");
    rig.check().await;
}

#[tokio::test]
async fn compensations_are_asked_for_without_end() {
    let mut rig = Rig::new().await;
    let order_id = rig.bring_to("authorized").await;
    rig.cancel(&customer(), &order_id).await;
    rig.take_said();
    for _ in 0..20 {
        rig.pass(900_000).await;
        assert_eq!(rig.said(), ["cmd.payment.void", "cmd.product.release_stock"]);
    }
    rig.hear(&StockReleased { order_id: order_id.clone() }).await;
    for _ in 0..20 {
        rig.pass(900_000).await;
        assert_eq!(rig.said(), ["cmd.payment.void"]);
    }
    rig.voided(&order_id).await;
    assert_eq!((rig.said(), rig.state(&order_id).await), (vec!["evt.cancelled".into()], "cancelled".to_owned()));
    rig.check().await;
}

/// Lets a day pass with a provider that always fails.
async fn to_review(rig: &mut Rig) -> pangaea_contracts::OrderId {
    let order_id = rig.bring_to("committed").await;
    let failed = CaptureFailed { order_id: order_id.clone(), payment_id: payment_id(), reason: why("provider_error") };
    let mut minutes = 0;
    while rig.state(&order_id).await == "committed" {
        rig.hear(&failed).await;
        rig.pass(15 * 60_000).await;
        minutes += 15;
        assert!(minutes <= 25 * 60, "it goes on for more than a day");
    }
    assert!(minutes >= 24 * 60, "it was given up after {minutes} minutes");
    order_id
}

#[tokio::test]
async fn a_capture_that_never_works_is_left_to_people() {
    let mut rig = Rig::new().await;
    let order_id = to_review(&mut rig).await;
    assert_eq!(
        (rig.state(&order_id).await, rig.reason(&order_id).await),
        ("manual_review".into(), "capture_failed".into())
    );
    assert_eq!(rig.said().last().unwrap(), "evt.manual_review");
    assert_eq!(rig.timers().await, 0);
    assert_eq!(rig.timeline(&order_id).await[4..], ["capture_failed", "manual_review"]);
    rig.check().await;
    // The customer cannot end it, staff can.
    assert_eq!(rig.cancel(&customer(), &order_id).await.status, 409);
    assert_eq!(rig.cancel(&staff(), &order_id).await.status, 202);
    assert_eq!(rig.said(), ["cmd.payment.void", "cmd.product.release_stock"]);
    rig.check().await;
}

#[tokio::test]
async fn money_that_comes_during_a_review_confirms() {
    let mut rig = Rig::new().await;
    let order_id = to_review(&mut rig).await;
    rig.go_on(&order_id, "committed").await;
    assert_eq!((rig.state(&order_id).await, rig.reason(&order_id).await), ("confirmed".into(), String::new()));
    rig.check().await;
}

#[tokio::test]
async fn an_unanswered_capture_is_asked_again() {
    let mut rig = Rig::new().await;
    let order_id = rig.bring_to("committed").await;
    rig.pass(ANSWER_MS).await;
    assert_eq!(rig.said(), ["cmd.payment.capture"]);
    rig.pass(5_000).await;
    assert_eq!(rig.said(), ["cmd.payment.capture"]);
    assert_eq!(rig.state(&order_id).await, "committed");
}
