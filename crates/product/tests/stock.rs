//! Stock: given a history of messages, what is said and what is there.

mod common;

use common::{Store, TTL_MS, line, order, said, subjects};
use pangaea_contracts::product::{
    AdjustStock, CommitRefused, CommitStock, ReleaseStock, ReservationExpired, ReserveStock, Restock, Restocked,
    StockCommitted, StockLine, StockRefused, StockReleased, StockReserved, WithdrawProduct,
};
use pangaea_contracts::{Message, RefundId, SkuId};
use pangaea_kernel::{Done, Work};
use pangaea_product::{Reservation, ReservationState, reservations};

fn reserve(number: u32, lines: Vec<StockLine>) -> ReserveStock {
    ReserveStock { order_id: order(number), lines, ttl_ms: TTL_MS }
}

fn commit(number: u32) -> CommitStock {
    CommitStock { order_id: order(number) }
}

fn release(number: u32) -> ReleaseStock {
    ReleaseStock { order_id: order(number) }
}

fn restock(number: u32, refund: &str, lines: Vec<StockLine>) -> Restock {
    let refund_id: RefundId = refund.parse().unwrap();
    Restock { order_id: order(number), refund_id, lines }
}

async fn timers(store: &Store) -> i64 {
    store.one("SELECT COUNT(*) FROM timer WHERE subject = ?", "product.tmr.reservation_expired.v1").await
}

#[tokio::test]
async fn reserve_commit_and_every_repeat() {
    let mut store = Store::with_stock(&[("A", 10), ("B", 5)]).await;
    let lines = vec![line("A", 2), line("B", 1), line("a", 3)];
    let first = store.deliver(&reserve(1, lines.clone())).await;
    assert_eq!(subjects(&first), [StockReserved::SUBJECT]);
    assert_eq!((store.stock("A").await, store.stock("B").await), ((10, 5), (5, 1)));
    assert_eq!(timers(&store).await, 1);
    assert_eq!(store.deliver(&reserve(1, lines)).await, first);
    assert_eq!(store.stock("A").await, (10, 5));

    assert_eq!(subjects(&store.deliver(&commit(1)).await), [StockCommitted::SUBJECT]);
    assert_eq!((store.stock("A").await, store.stock("B").await), ((5, 0), (4, 0)));
    assert_eq!(timers(&store).await, 0);
    assert_eq!(subjects(&store.deliver(&commit(1)).await), [StockCommitted::SUBJECT]);
    let movements = [("opening".to_owned(), 10), ("sale".to_owned(), -5)];
    assert_eq!(store.movements("A").await, movements);
    store.sound().await;
}

#[tokio::test]
async fn all_or_none_and_the_refusal_is_remembered() {
    let mut store = Store::with_stock(&[("A", 10), ("B", 1)]).await;
    let wanted = reserve(1, vec![line("A", 2), line("B", 2)]);
    let refused = store.deliver(&wanted).await;
    assert_eq!(subjects(&refused), [StockRefused::SUBJECT]);
    let refusal: StockRefused = serde_json::from_value(refused[0].1.clone()).unwrap();
    assert_eq!(refusal.reason.code, "out_of_stock");
    assert_eq!((refusal.shortages.len(), refusal.shortages[0].wanted, refusal.shortages[0].available), (1, 2, 1));
    assert_eq!(store.stock("A").await, (10, 0));
    // More units come, but order has heard the refusal.
    let adjustment =
        AdjustStock { sku_id: SkuId::from_code("B"), delta: 9, reason: "found".into(), expected_on_hand: Some(1) };
    assert_eq!(store.command(&adjustment).await.0.status, 200);
    assert_eq!(store.deliver(&wanted).await, refused);
    assert_eq!(store.deliver(&commit(1)).await[0].1["reason"]["code"], "not_reserved");
    assert_eq!(subjects(&store.deliver(&release(1)).await), [StockReleased::SUBJECT]);
    assert_eq!(store.stock("B").await, (10, 0));
    store.sound().await;
}

#[tokio::test]
async fn what_cannot_be_reserved_is_refused_with_a_reason() {
    let mut store = Store::with_stock(&[("A", 10)]).await;
    for (number, lines, code) in [
        (1, vec![line("A", 1), line("NOWHERE", 1)], "unknown_sku"),
        (2, vec![line("A", 0)], "invalid_quantity"),
        (3, vec![], "invalid_quantity"),
        (4, vec![line("A", i64::MAX), line("A", i64::MAX)], "invalid_quantity"),
        (5, vec![line("A", 11)], "out_of_stock"),
    ] {
        let refused = store.deliver(&reserve(number, lines)).await;
        assert_eq!((refused[0].0.as_str(), &refused[0].1["reason"]["code"]), (StockRefused::SUBJECT, &code.into()));
    }
    assert_eq!(store.stock("A").await, (10, 0));
    store.sound().await;
}

#[tokio::test]
async fn five_hundred_buyers_for_ten_units_in_one_batch() {
    let mut store = Store::with_stock(&[("HOT", 10)]).await;
    let inputs: Vec<_> = (0..500).map(|number| store.delivery(&reserve(number, vec![line("HOT", 1)]))).collect();
    let result = store.run(inputs).await;
    assert!(result.done.iter().all(|done| *done == Done::Handled));
    let said = said(&result.log);
    let count = |subject: &str| said.iter().filter(|(said, _)| said == subject).count();
    assert_eq!((count(StockReserved::SUBJECT), count(StockRefused::SUBJECT)), (10, 490));
    assert_eq!(store.stock("HOT").await, (10, 10));
    store.sound().await;
}

#[tokio::test]
async fn a_reservation_expires_and_a_late_commit_tries_again() {
    let mut store = Store::with_stock(&[("A", 3)]).await;
    store.deliver(&reserve(1, vec![line("A", 2)])).await;
    assert_eq!(store.wait_ms(TTL_MS - 1).await, []);
    assert_eq!(subjects(&store.wait_ms(1).await), [ReservationExpired::SUBJECT]);
    assert_eq!((store.stock("A").await, store.state(&order(1)).await.as_deref()), ((3, 0), Some("expired")));
    assert_eq!(subjects(&store.deliver(&reserve(1, vec![line("A", 2)])).await), [ReservationExpired::SUBJECT]);
    assert_eq!(store.stock("A").await, (3, 0));
    // The units are still there.
    assert_eq!(subjects(&store.deliver(&commit(1)).await), [StockCommitted::SUBJECT]);
    assert_eq!(store.stock("A").await, (1, 0));
    store.sound().await;
}

#[tokio::test]
async fn a_commit_after_expiry_is_refused_when_the_units_are_gone() {
    let mut store = Store::with_stock(&[("A", 3)]).await;
    store.deliver(&reserve(1, vec![line("A", 2)])).await;
    store.wait_ms(TTL_MS).await;
    store.deliver(&reserve(2, vec![line("A", 3)])).await;
    let refused = store.deliver(&commit(1)).await;
    assert_eq!(
        (refused[0].0.as_str(), &refused[0].1["reason"]["code"]),
        (CommitRefused::SUBJECT, &"reservation_expired".into())
    );
    assert_eq!(subjects(&store.deliver(&release(1)).await), [StockReleased::SUBJECT]);
    assert_eq!(store.deliver(&commit(1)).await[0].1["reason"]["code"], "released");
    assert_eq!(subjects(&store.deliver(&commit(2)).await), [StockCommitted::SUBJECT]);
    assert_eq!(store.stock("A").await, (0, 0));
    store.sound().await;
}

#[tokio::test]
async fn a_commit_in_the_batch_that_the_timer_is_due_in_decides_once() {
    let mut store = Store::with_stock(&[("A", 1)]).await;
    store.deliver(&reserve(1, vec![line("A", 1)])).await;
    store.now = store.now.plus_millis(TTL_MS);
    // The timer comes first in the batch; the commit finds the unit still there.
    let said = store.deliver(&commit(1)).await;
    assert_eq!(subjects(&said), [ReservationExpired::SUBJECT, StockCommitted::SUBJECT]);
    assert_eq!(store.stock("A").await, (0, 0));
    store.sound().await;
}

#[tokio::test]
async fn release_gives_back_what_is_held_and_leaves_a_tombstone_where_nothing_is() {
    let mut store = Store::with_stock(&[("A", 5)]).await;
    // Nothing yet: the late original is refused.
    assert_eq!(subjects(&store.deliver(&release(1)).await), [StockReleased::SUBJECT]);
    let late = store.deliver(&reserve(1, vec![line("A", 1)])).await;
    assert_eq!((late[0].0.as_str(), &late[0].1["reason"]["code"]), (StockRefused::SUBJECT, &"released".into()));
    assert_eq!(store.deliver(&commit(1)).await[0].1["reason"]["code"], "released");
    assert_eq!(store.state(&order(1)).await.as_deref(), Some("tombstone"));
    // Reserved.
    store.deliver(&reserve(2, vec![line("A", 2)])).await;
    for _ in 0..2 {
        assert_eq!(subjects(&store.deliver(&release(2)).await), [StockReleased::SUBJECT]);
        assert_eq!((store.stock("A").await, timers(&store).await), ((5, 0), 0));
    }
    // Sold.
    store.deliver(&reserve(3, vec![line("A", 4)])).await;
    store.deliver(&commit(3)).await;
    for _ in 0..2 {
        assert_eq!(subjects(&store.deliver(&release(3)).await), [StockReleased::SUBJECT]);
        assert_eq!(store.stock("A").await, (5, 0));
    }
    assert_eq!(store.movements("A").await.last(), Some(&("return".to_owned(), 4)));
    // Nothing at all to commit.
    assert_eq!(store.deliver(&commit(9)).await[0].1["reason"]["code"], "not_reserved");
    store.sound().await;
}

#[tokio::test]
async fn a_refund_restocks_once_and_never_more_than_was_sold() {
    let mut store = Store::with_stock(&[("A", 5), ("B", 5)]).await;
    store.deliver(&reserve(1, vec![line("A", 3), line("B", 1)])).await;
    store.deliver(&commit(1)).await;
    for _ in 0..2 {
        let said = store.deliver(&restock(1, "ref_1", vec![line("A", 2)])).await;
        assert_eq!(subjects(&said), [Restocked::SUBJECT]);
        assert_eq!(store.stock("A").await, (4, 0));
    }
    store.deliver(&restock(1, "ref_2", vec![line("A", 2), line("B", 1)])).await;
    assert_eq!((store.stock("A").await, store.stock("B").await), ((5, 0), (5, 0)));
    // All is back already.
    store.deliver(&release(1)).await;
    assert_eq!((store.stock("A").await, store.stock("B").await), ((5, 0), (5, 0)));
    // Nothing was ever sold to this order.
    store.deliver(&restock(2, "ref_3", vec![line("A", 1)])).await;
    assert_eq!(store.stock("A").await, (5, 0));
    store.sound().await;
}

#[tokio::test]
async fn adjustments_compare_and_set_and_never_touch_what_is_reserved() {
    let mut store = Store::with_stock(&[("A", 5)]).await;
    store.deliver(&reserve(1, vec![line("A", 3)])).await;
    let adjust = |delta, expected_on_hand| AdjustStock {
        sku_id: SkuId::from_code("A"),
        delta,
        reason: "counted".into(),
        expected_on_hand,
    };
    let (refused, _) = store.command(&adjust(-3, None)).await;
    assert_eq!((refused.status, &refused.body["errors"][0]["pointer"]), (409, &"/delta".into()));
    let (refused, _) = store.command(&adjust(1, Some(4))).await;
    assert_eq!((refused.status, &refused.body["errors"][0]["pointer"]), (409, &"/expected_on_hand".into()));
    let (done, _) = store.command_as("once", &adjust(-2, Some(5))).await;
    assert_eq!((done.body["on_hand"].as_i64(), done.body["reserved"].as_i64()), (Some(3), Some(3)));
    assert_eq!(store.command_as("once", &adjust(-2, Some(5))).await.0.body, done.body);
    assert_eq!(store.stock("A").await, (3, 3));
    let nowhere = AdjustStock { sku_id: SkuId::from_code("NOWHERE"), ..adjust(1, None) };
    assert_eq!(store.command(&nowhere).await.0.status, 404);
    store.sound().await;
}

#[tokio::test]
async fn a_withdrawn_sku_is_not_reserved_any_more_but_what_is_reserved_is_sold() {
    let mut store = Store::with_stock(&[("A", 5)]).await;
    store.deliver(&reserve(1, vec![line("A", 2)])).await;
    let product_id = store.one("SELECT product_id FROM sku WHERE code = ?", "A").await;
    let (answer, log) = store.command(&WithdrawProduct { product_id, expected_version: Some(1) }).await;
    assert_eq!((answer.status, subjects(&said(&log))), (204, vec!["product.evt.sku_withdrawn.v1"]));
    let refused = store.deliver(&reserve(2, vec![line("A", 1)])).await;
    assert_eq!(refused[0].1["reason"]["code"], "unknown_sku");
    assert_eq!(subjects(&store.deliver(&commit(1)).await), [StockCommitted::SUBJECT]);
    assert_eq!(store.stock("A").await, (3, 0));
    store.sound().await;
}

#[tokio::test]
async fn a_batch_and_one_by_one_give_the_same() {
    let mut histories = Vec::new();
    for batched in [true, false] {
        let mut store = Store::with_stock(&[("A", 4)]).await;
        let inputs = vec![
            store.delivery(&reserve(1, vec![line("A", 3)])),
            store.delivery(&reserve(2, vec![line("A", 3)])),
            store.delivery(&commit(1)),
            store.delivery(&release(2)),
            store.delivery(&restock(1, "ref_1", vec![line("A", 1)])),
            store.delivery(&reserve(3, vec![line("A", 2)])),
        ];
        let mut log = Vec::new();
        if batched {
            log.extend(store.run(inputs).await.log);
        } else {
            for input in inputs {
                log.extend(store.run(vec![input]).await.log);
            }
        }
        let ids: Vec<_> =
            log.iter().map(|said| (said.id.clone(), said.subject.clone(), said.payload.clone())).collect();
        histories.push((ids, store.stock("A").await, store.movements("A").await));
        store.sound().await;
    }
    assert_eq!(histories[0], histories[1]);
}

#[tokio::test]
async fn a_delivery_that_comes_twice_is_dropped() {
    let mut store = Store::with_stock(&[("A", 4)]).await;
    let input = store.delivery(&reserve(1, vec![line("A", 3)]));
    let twice = vec![Work::Input(input.clone()), Work::Input(input)];
    let result = store.executor.run(&twice, store.now).await.unwrap();
    assert_eq!((result.done, result.log.len()), (vec![Done::Handled, Done::Duplicate], 1));
    assert_eq!(store.stock("A").await, (4, 3));
}

#[tokio::test]
async fn reservations_come_in_pages() {
    let mut store = Store::with_stock(&[("A", 2)]).await;
    for number in 1..=3 {
        store.deliver(&reserve(number, vec![line("A", 1)])).await;
    }
    store.deliver(&commit(2)).await;
    let held = |number, state| Reservation { order_id: order(number), state };
    let all =
        [held(1, ReservationState::Open), held(2, ReservationState::Committed), held(3, ReservationState::Refused)];
    let cases = [
        (None, None, 10, &all[..]),
        (None, None, 2, &all[..2]),
        (Some(order(2)), None, 2, &all[2..]),
        (None, Some(order(2)), 10, &all[..2]),
        (Some(order(1)), Some(order(2)), 10, &all[1..2]),
        (Some(order(3)), None, 10, &all[3..]),
    ];
    for (after, until, limit, expected) in cases {
        let page = reservations(&store.database, after.as_ref(), until.as_ref(), limit).await.unwrap();
        assert_eq!(page, expected, "after {after:?} until {until:?}, at most {limit}");
    }
}

#[tokio::test]
async fn verify_names_every_kind_of_breach() {
    let breaches = [
        ("UPDATE stock SET on_hand = on_hand + 1", "movements sum to"),
        ("UPDATE stock SET reserved = reserved - 1", "open reservations sum to"),
        ("UPDATE stock SET movements = 7", "7 noted"),
        ("DELETE FROM stock_movement", "movements sum to 0"),
        ("DELETE FROM timer", "has no timer"),
        ("DELETE FROM stock", "has no stock"),
        ("UPDATE reservation SET state = 'released'", "open reservations sum to 0"),
    ];
    for (spoil, sentence) in breaches {
        let mut store = Store::with_stock(&[("A", 5)]).await;
        store.deliver(&reserve(1, vec![line("A", 2)])).await;
        store.sound().await;
        let database = store.database.clone();
        store.executor.stop().await.unwrap();
        let mut writer = database.writer(&[], "spoiler").await.unwrap();
        writer.begin().await.unwrap();
        writer.sql(pangaea_journal::Statement::new(spoil)).await.unwrap();
        writer.commit().await.unwrap();
        let found = pangaea_product::verify(&database).await.unwrap();
        assert!(found.iter().any(|breach| breach.contains(sentence)), "{spoil}: {found:?}");
    }
}
