//! The way of an order to its end: every step, every refusal, and cancelling in every state.

mod support;

use pangaea_contracts::payment::{ActionRequired, Authorize, Authorized, Capture, CaptureFailed, Captured, Declined};
use pangaea_contracts::product::{
    CommitRefused, ReservationExpired, ReserveStock, Shortage, StockCommitted, StockRefused, StockReserved,
};
use pangaea_contracts::{Message, SkuId};
use pangaea_kernel::{Done, Work};

use support::{Rig, TOTAL, basket, command, customer, gbp, payment_id, staff, stranger, why};

#[tokio::test]
async fn an_order_reaches_confirmed() {
    let mut rig = Rig::new().await;
    let order_id = rig.place().await;
    let said = rig.take_said();
    assert_eq!(said.len(), 2);
    let reserve: ReserveStock = serde_json::from_str(&said[1].payload).unwrap();
    assert_eq!((said[1].subject.as_str(), said[1].key.as_str()), (ReserveStock::SUBJECT, order_id.as_str()));
    assert_eq!(reserve.lines.iter().map(|line| line.quantity).collect::<Vec<_>>(), [3, 1]);
    assert_eq!((reserve.lines[1].sku_id.clone(), reserve.ttl_ms), (SkuId::from_code("TEA"), 900_000));

    rig.go_on(&order_id, "placed").await;
    let said = rig.take_said();
    let authorize: Authorize = serde_json::from_str(&said[0].payload).unwrap();
    assert_eq!((authorize.amount, authorize.payment_token.as_str()), (gbp(TOTAL), "tok_ok"));
    rig.go_on(&order_id, "reserved").await;
    assert_eq!(rig.said(), ["cmd.product.commit_stock"]);
    rig.go_on(&order_id, "authorized").await;
    assert_eq!(rig.said(), ["cmd.payment.capture"]);
    assert_eq!(rig.timers().await, 1);
    rig.go_on(&order_id, "committed").await;
    assert_eq!(rig.said(), ["evt.confirmed"]);

    assert_eq!(rig.state(&order_id).await, "confirmed");
    assert_eq!(rig.timeline(&order_id).await, ["placed", "reserved", "authorized", "committed", "confirmed"]);
    assert_eq!(rig.timers().await, 0);
    assert_eq!(rig.texts("SELECT payment_token FROM orders").await, [None]);
    rig.check().await;
}

#[tokio::test]
async fn every_answer_may_come_twice() {
    let mut rig = Rig::new().await;
    let order_id = rig.place().await;
    for state in ["placed", "reserved", "authorized", "committed"] {
        rig.go_on(&order_id, state).await;
        let (after, entries) = (rig.state(&order_id).await, rig.timeline(&order_id).await.len());
        rig.take_said();
        rig.go_on(&order_id, state).await;
        assert_eq!(rig.said(), Vec::<String>::new(), "a second answer in {state}");
        assert_eq!((rig.state(&order_id).await, rig.timeline(&order_id).await.len()), (after, entries));
    }
    // And all of them again, to an order that has settled.
    for state in ["placed", "reserved", "authorized", "committed"] {
        rig.go_on(&order_id, state).await;
    }
    assert_eq!((rig.said(), rig.state(&order_id).await), (vec![], "confirmed".to_owned()));
    rig.check().await;
}

#[tokio::test]
async fn a_whole_saga_in_one_batch_is_the_same() {
    let mut rig = Rig::new().await;
    let order_id = rig.place().await;
    let work = vec![
        rig.delivery(&StockReserved { order_id: order_id.clone(), expires_at: support::START }),
        rig.delivery(&Authorized { order_id: order_id.clone(), payment_id: payment_id(), amount: gbp(TOTAL) }),
        rig.delivery(&StockCommitted { order_id: order_id.clone() }),
        rig.delivery(&Captured { order_id: order_id.clone(), payment_id: payment_id(), amount: gbp(TOTAL) }),
    ];
    assert_eq!(rig.run(work).await, [Done::Handled, Done::Handled, Done::Handled, Done::Handled]);
    assert_eq!(rig.state(&order_id).await, "confirmed");
    assert_eq!(rig.timers().await, 0);
    rig.check().await;
}

#[tokio::test]
async fn a_sold_out_order_is_cancelled_at_once() {
    let mut rig = Rig::new().await;
    let order_id = rig.bring_to("placed").await;
    let shortages = vec![Shortage { sku_id: SkuId::from_code("MUG"), wanted: 3, available: 1 }];
    let refused = StockRefused { order_id: order_id.clone(), reason: why("short"), shortages };
    rig.hear(&refused).await;
    assert_eq!(rig.said(), ["evt.cancelled"]);
    assert_eq!((rig.state(&order_id).await, rig.reason(&order_id).await), ("cancelled".into(), "out_of_stock".into()));
    rig.hear(&refused).await;
    rig.hear(&StockReserved { order_id: order_id.clone(), expires_at: support::START }).await;
    assert_eq!((rig.said(), rig.state(&order_id).await), (vec![], "cancelled".to_owned()));
    rig.check().await;
}

#[tokio::test]
async fn a_declined_payment_gives_the_stock_back() {
    let mut rig = Rig::new().await;
    let order_id = rig.bring_to("reserved").await;
    let declined = Declined { order_id: order_id.clone(), payment_id: payment_id(), reason: why("card_declined") };
    rig.hear(&declined).await;
    rig.hear(&declined).await;
    assert_eq!(
        (rig.said(), rig.state(&order_id).await),
        (vec!["cmd.product.release_stock".into()], "cancelling".to_owned())
    );
    rig.released(&order_id).await;
    rig.released(&order_id).await;
    assert_eq!(rig.said(), ["evt.cancelled"]);
    assert_eq!(
        (rig.state(&order_id).await, rig.reason(&order_id).await),
        ("cancelled".into(), "payment_declined".into())
    );
    rig.check().await;
}

#[tokio::test]
async fn a_customer_may_have_to_act() {
    let mut rig = Rig::new().await;
    let order_id = rig.bring_to("reserved").await;
    let required = ActionRequired { order_id: order_id.clone(), payment_id: payment_id() };
    rig.hear(&required).await;
    rig.hear(&required).await;
    assert_eq!((rig.said(), rig.state(&order_id).await), (vec![], "action_required".to_owned()));
    rig.go_on(&order_id, "reserved").await;
    assert_eq!(
        (rig.said(), rig.state(&order_id).await),
        (vec!["cmd.product.commit_stock".into()], "authorized".to_owned())
    );
    rig.check().await;
}

#[tokio::test]
async fn a_reservation_that_ran_out_is_left_to_the_commit() {
    let mut rig = Rig::new().await;
    let order_id = rig.bring_to("authorized").await;
    rig.hear(&ReservationExpired { order_id: order_id.clone() }).await;
    assert_eq!((rig.said(), rig.state(&order_id).await), (vec![], "authorized".to_owned()));
    let refused = CommitRefused { order_id: order_id.clone(), reason: why("out_of_stock") };
    rig.hear(&refused).await;
    rig.hear(&refused).await;
    assert_eq!(rig.said(), ["cmd.payment.void", "cmd.product.release_stock"]);
    rig.voided(&order_id).await;
    assert_eq!((rig.said(), rig.state(&order_id).await), (vec![], "cancelling".to_owned()));
    rig.released(&order_id).await;
    assert_eq!((rig.said(), rig.reason(&order_id).await), (vec!["evt.cancelled".into()], "out_of_stock".to_owned()));
    rig.check().await;
}

#[tokio::test]
async fn cancelling_gives_back_what_may_be_held() {
    for (state, compensations) in [
        ("placed", vec!["cmd.product.release_stock"]),
        ("reserved", vec!["cmd.payment.void", "cmd.product.release_stock"]),
        ("authorized", vec!["cmd.payment.void", "cmd.product.release_stock"]),
    ] {
        let mut rig = Rig::new().await;
        let order_id = rig.bring_to(state).await;
        let answer = rig.cancel(&customer(), &order_id).await;
        assert_eq!((answer.status, answer.body["state"].as_str()), (202, Some("cancelling")), "{state}");
        assert_eq!(rig.said(), compensations, "{state}");
        // The late answer to what was asked before changes nothing, and neither does cancelling again.
        rig.go_on(&order_id, state).await;
        assert_eq!(rig.cancel(&customer(), &order_id).await.status, 202);
        assert_eq!(rig.said(), Vec::<String>::new(), "{state}");
        rig.released(&order_id).await;
        if state != "placed" {
            assert_eq!(rig.state(&order_id).await, "cancelling");
            rig.voided(&order_id).await;
        }
        assert_eq!(
            (rig.state(&order_id).await, rig.reason(&order_id).await),
            ("cancelled".into(), "cancelled_by_customer".into())
        );
        assert_eq!(rig.said(), ["evt.cancelled"]);
        assert_eq!(rig.cancel(&customer(), &order_id).await.body["state"], "cancelled");
        assert_eq!(rig.timers().await, 0);
        rig.check().await;
    }
}

#[tokio::test]
async fn cancelling_waits_for_the_customer_too() {
    let mut rig = Rig::new().await;
    let order_id = rig.bring_to("reserved").await;
    rig.hear(&ActionRequired { order_id: order_id.clone(), payment_id: payment_id() }).await;
    assert_eq!(rig.cancel(&staff(), &order_id).await.status, 202);
    assert_eq!(rig.said(), ["cmd.payment.void", "cmd.product.release_stock"]);
    assert_eq!(rig.reason(&order_id).await, "cancelled_by_staff");
    rig.check().await;
}

#[tokio::test]
async fn once_the_capture_is_asked_for_a_refund_is_the_way() {
    let mut rig = Rig::new().await;
    for state in ["committed", "confirmed"] {
        let order_id = rig.bring_to(state).await;
        let answer = rig.cancel(&customer(), &order_id).await;
        assert_eq!(answer.status, 409, "{state}");
        assert!(answer.body["detail"].as_str().unwrap().contains("refund"), "{answer:?}");
        assert_eq!((rig.said(), rig.state(&order_id).await), (vec![], state.to_owned()));
    }
    rig.check().await;
}

#[tokio::test]
async fn anothers_order_is_as_good_as_none() {
    let mut rig = Rig::new().await;
    let order_id = rig.bring_to("reserved").await;
    assert_eq!(rig.cancel(&stranger(), &order_id).await.status, 404);
    let unknown = "ord_nothing".parse().unwrap();
    assert_eq!(rig.cancel(&customer(), &unknown).await.status, 404);
    rig.go_on(&unknown, "placed").await;
    assert_eq!((rig.said(), rig.state(&order_id).await), (vec![], "reserved".to_owned()));
    rig.check().await;
}

#[tokio::test]
async fn a_failed_capture_is_tried_again_and_may_still_bring_the_money() {
    let mut rig = Rig::new().await;
    let order_id = rig.bring_to("committed").await;
    let failed = CaptureFailed { order_id: order_id.clone(), payment_id: payment_id(), reason: why("provider_error") };
    rig.hear(&failed).await;
    rig.hear(&failed).await;
    assert_eq!(rig.said(), Vec::<String>::new());
    rig.pass(5_000).await;
    assert_eq!(rig.said(), [Capture::SUBJECT.replace("order.", "").replace(".v1", "")]);
    rig.go_on(&order_id, "committed").await;
    assert_eq!((rig.state(&order_id).await, rig.reason(&order_id).await), ("confirmed".into(), String::new()));
    assert_eq!(rig.timeline(&order_id).await[4..], ["capture_failed", "confirmed"]);
    rig.check().await;
}

#[tokio::test]
async fn one_key_places_one_order() {
    let mut rig = Rig::new().await;
    let copies = |count: usize| vec![Work::Input(command("cmd_same", &customer(), &basket())); count];
    let mut done = rig.run(copies(50)).await;
    done.extend(rig.run(copies(50)).await);
    let mut answers = done.into_iter().map(|done| match done {
        Done::Answered(answer) => answer,
        other => panic!("{other:?}"),
    });
    let first = answers.next().unwrap();
    assert_eq!(first.status, 202);
    for again in answers {
        assert_eq!((again.status, &again.body), (202, &first.body));
        assert_eq!(again.headers.last().unwrap().0, "idempotent-replayed");
    }
    assert_eq!(rig.number("SELECT COUNT(*) FROM orders").await, 1);
    assert_eq!(rig.said(), ["evt.placed", "cmd.product.reserve_stock"]);
    rig.check().await;
}

#[tokio::test]
async fn money_of_another_currency_is_never_taken_for_the_orders() {
    let mut rig = Rig::new().await;
    let order_id = rig.bring_to("committed").await;
    let euros = pangaea_contracts::Money::new(TOTAL, pangaea_contracts::Currency::EUR);
    let work = rig.delivery(&Captured { order_id: order_id.clone(), payment_id: payment_id(), amount: euros });
    assert_eq!(rig.run(vec![work]).await, [Done::Dead]);
    assert_eq!(rig.state(&order_id).await, "committed");
    // More than the order's total trips the constraint behind.
    let mut rig = Rig::new().await;
    let order_id = rig.bring_to("committed").await;
    let work = rig.delivery(&Captured { order_id: order_id.clone(), payment_id: payment_id(), amount: gbp(TOTAL + 1) });
    assert_eq!(rig.run(vec![work]).await, [Done::Dead]);
    assert_eq!(rig.state(&order_id).await, "committed");
}
