//! Giving money back: whole, by units, several at once, refused, unanswered.

mod support;

use pangaea_contracts::order::{RefundLine, RefundOrder, Refunded};
use pangaea_contracts::payment::RefundRefused;
use pangaea_contracts::product::{Restock, Restocked};
use pangaea_contracts::{OrderId, RefundId};
use pangaea_kernel::{Done, Work};
use serde_json::json;

use support::{Rig, TOTAL, command, customer, gbp, id_in, staff, stranger, why};

async fn confirmed() -> (Rig, OrderId) {
    let mut rig = Rig::new().await;
    let order_id = rig.bring_to("confirmed").await;
    (rig, order_id)
}

#[tokio::test]
async fn the_whole_order() {
    let (mut rig, order_id) = confirmed().await;
    let answer = rig.refund(&order_id, &[], false).await;
    assert_eq!(
        (answer.status, &answer.body["state"], &answer.body["amount"]["amount"]),
        (202, &json!("pending"), &json!(TOTAL))
    );
    let refund_id: RefundId = id_in(&answer);
    assert_eq!(answer.headers[0].1, format!("/v1/orders/{order_id}/refunds/{refund_id}"));
    assert_eq!(rig.said(), ["cmd.payment.refund"]);
    rig.check().await;
    rig.refunded(&order_id, &refund_id, TOTAL).await;
    let said = rig.take_said();
    let event: Refunded = serde_json::from_str(&said[0].payload).unwrap();
    assert_eq!((event.amount, event.refunded_total), (gbp(TOTAL), gbp(TOTAL)));
    assert_eq!((rig.state(&order_id).await, rig.timers().await), ("refunded".into(), 0));
    assert_eq!(rig.refund(&order_id, &[], false).await.status, 409);
    rig.refunded(&order_id, &refund_id, TOTAL).await;
    assert_eq!(rig.said(), Vec::<String>::new());
    rig.check().await;
}

#[tokio::test]
async fn units_of_lines_with_their_goods() {
    let (mut rig, order_id) = confirmed().await;
    let refund_id: RefundId = id_in(&rig.refund(&order_id, &[(1, 2)], true).await);
    assert_eq!(rig.said(), ["cmd.payment.refund"]);
    rig.refunded(&order_id, &refund_id, 1_700).await;
    let said = rig.take_said();
    assert_eq!(said[0].subject, "order.evt.refunded.v1");
    let restock: Restock = serde_json::from_str(&said[1].payload).unwrap();
    assert_eq!((restock.refund_id.clone(), restock.lines.len(), restock.lines[0].quantity), (refund_id.clone(), 1, 2));
    assert_eq!(rig.state(&order_id).await, "confirmed");
    rig.check().await;
    // Unanswered, it is sent again; answered, it is over.
    rig.pass(30_000).await;
    assert_eq!(rig.said(), ["cmd.product.restock"]);
    let restocked = Restocked { order_id: order_id.clone(), refund_id };
    rig.hear(&restocked).await;
    rig.hear(&restocked).await;
    assert_eq!((rig.said(), rig.timers().await), (vec![], 0));
    assert_eq!(rig.texts("SELECT restock FROM refund").await, [Some("done".to_owned())]);
    rig.check().await;
}

#[tokio::test]
async fn only_what_is_left() {
    let (mut rig, order_id) = confirmed().await;
    for (lines, status) in [
        (vec![(1, 4)], 422),
        (vec![(3, 1)], 422),
        (vec![(1, 2), (1, 2)], 422),
        (vec![(1, 2)], 202),
        (vec![(1, 2)], 422),
        (vec![(1, 1), (2, 1)], 202),
        (vec![], 409),
    ] {
        assert_eq!(rig.refund(&order_id, &lines, false).await.status, status, "{lines:?}");
    }
    assert_eq!(rig.number("SELECT refund_pending FROM orders").await, TOTAL);
    rig.check().await;
}

#[tokio::test]
async fn many_at_once_never_exceed_the_capture() {
    let (mut rig, order_id) = confirmed().await;
    let refund = |index: usize| {
        let lines = vec![RefundLine { line: 1, quantity: 2 }];
        let message = RefundOrder { order_id: order_id.clone(), lines, restock: false, reason: None };
        Work::Input(command(&format!("cmd_refund{index}"), &staff(), &message))
    };
    let done = rig.run((0..50).map(refund).collect()).await;
    let accepted = done.iter().filter(|done| matches!(done, Done::Answered(answer) if answer.status == 202)).count();
    assert_eq!(accepted, 1);
    assert_eq!(rig.said(), ["cmd.payment.refund"]);
    rig.check().await;
}

#[tokio::test]
async fn a_refused_refund_can_be_asked_for_again() {
    let (mut rig, order_id) = confirmed().await;
    let refund_id: RefundId = id_in(&rig.refund(&order_id, &[], true).await);
    let refused =
        RefundRefused { order_id: order_id.clone(), refund_id: refund_id.clone(), reason: why("provider_refused") };
    rig.hear(&refused).await;
    rig.hear(&refused).await;
    // A late success of what was refused for good is a contradiction that must not move money in the books.
    rig.refunded(&order_id, &refund_id, TOTAL).await;
    assert_eq!((rig.state(&order_id).await, rig.timers().await), ("confirmed".into(), 0));
    assert_eq!(rig.texts("SELECT state FROM refund").await, [Some("refused".to_owned())]);
    assert_eq!(rig.number("SELECT refunded + refund_pending FROM orders").await, 0);
    rig.check().await;
    assert_eq!(rig.refund(&order_id, &[], false).await.status, 202);
    rig.check().await;
}

#[tokio::test]
async fn an_unanswered_refund_is_asked_for_without_end() {
    let (mut rig, order_id) = confirmed().await;
    let refund_id: RefundId = id_in(&rig.refund(&order_id, &[(2, 1)], false).await);
    let first = rig.take_said()[0].payload.clone();
    for _ in 0..20 {
        rig.pass(900_000).await;
        let again = rig.take_said();
        assert_eq!((again.len(), &again[0].payload), (1, &first));
        rig.check().await;
    }
    rig.refunded(&order_id, &refund_id, 399).await;
    assert_eq!(rig.timers().await, 0);
    rig.check().await;
}

#[tokio::test]
async fn only_a_confirmed_order_and_only_ones_own() {
    let mut rig = Rig::new().await;
    for state in ["placed", "reserved", "authorized", "committed"] {
        let order_id = rig.bring_to(state).await;
        let answer = rig.refund(&order_id, &[], false).await;
        assert_eq!(answer.status, 409, "{state}");
    }
    let order_id = rig.bring_to("confirmed").await;
    let whole = RefundOrder { order_id, lines: vec![], restock: false, reason: None };
    assert_eq!(rig.ask(&stranger(), &whole).await.status, 404);
    assert_eq!(rig.ask(&customer(), &whole).await.status, 202);
    rig.check().await;
}

#[tokio::test]
async fn another_amount_than_asked_for_is_a_dead_letter() {
    let (mut rig, order_id) = confirmed().await;
    let refund_id: RefundId = id_in(&rig.refund(&order_id, &[(2, 1)], false).await);
    let event = pangaea_contracts::payment::Refunded { order_id: order_id.clone(), refund_id, amount: gbp(400) };
    let work = rig.delivery(&event);
    assert_eq!(rig.run(vec![work]).await, [Done::Dead]);
    assert_eq!(rig.number("SELECT refunded FROM orders").await, 0);
}

#[tokio::test]
async fn totals_come_in_pages() {
    let (mut rig, order_id) = confirmed().await;
    let refund_id: RefundId = id_in(&rig.refund(&order_id, &[(2, 1)], false).await);
    rig.refunded(&order_id, &refund_id, 399).await;
    rig.pass(1).await;
    let second = rig.place().await;
    let mut all = Vec::new();
    loop {
        let after = all.last().map(|totals: &pangaea_order::OrderTotals| totals.order_id.clone());
        let page = pangaea_order::totals(&rig.database, after.as_ref(), 1).await.unwrap();
        if page.is_empty() {
            break;
        }
        all.extend(page);
    }
    assert_eq!(all.iter().map(|totals| totals.order_id.clone()).collect::<Vec<_>>(), [order_id, second]);
    assert_eq!((all[0].total, all[0].captured, all[0].refunded), (gbp(TOTAL), gbp(TOTAL), gbp(399)));
    assert_eq!((all[1].state.as_str(), all[1].captured), ("placed", gbp(0)));
}
