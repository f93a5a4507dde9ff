//! Every invariant is broken once, in real databases, and has to be found.

use super::shop::{CANCELLED, CONFIRMED, TestShop};
use crate::catalogue::Catalogue;
use crate::commands::verify::stores::Stores;

/// Kind, reference and intent of a line of the ledger.
type Line = (&'static str, &'static str, &'static str);

/// Breaks a sound store by SQL and expects a breach of the check with this name.
async fn expect(name: &str, module: &str, sql: &str, check: &str) {
    let shop = TestShop::new(name).await;
    assert_eq!(shop.breaches(false).await, [], "{name}: the store is sound at first");
    shop.change(module, &[sql]).await;
    let breaches = shop.breaches(false).await;
    assert!(breaches.iter().any(|(name, _)| name.contains(check)), "{name}: {breaches:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn journals_that_are_not_whole() {
    let row = "(position, id, subject, key, causation_id, correlation_id, actor, created_at, payload)";
    let gap = format!("INSERT INTO outbox {row} VALUES (2, 'msg_2', 's', 'k', 'c', 'c', 'system', 1, '{{}}')");
    expect("outbox", "order", &gap, "order: outbox is dense").await;
    let ahead = "INSERT INTO read_cursor SELECT 'payment', 'order', log_id, 7, 'msg_7' FROM head";
    expect("log", "payment", ahead, "cursors").await;
    let letter = "INSERT INTO dead_letter VALUES ('in_1', 1, 'dead', 's', 'k', '{}', 'boom', 'f', 3, 1)";
    expect("letter", "user", letter, "user: no dead letters").await;
    let late =
        "INSERT INTO effect VALUES ('op_1', 's', 'k', 'pending', -100000, 'c', 'c', 'system', NULL, '{}', 1, -100000)";
    expect("effect", "payment", late, "payment: no effect is overdue").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn modules_that_contradict_each_other() {
    let unpaid = "UPDATE payment SET captured = 0, amount = 0 WHERE captured > 0";
    expect("unpaid", "payment", unpaid, "money captured").await;
    let gone = format!("DELETE FROM payment WHERE order_id = '{CONFIRMED}'");
    expect("gone", "payment", &gone, "money captured").await;
    expect("unsold", "product", "UPDATE reservation SET state = 'open' WHERE state = 'committed'", "stock committed")
        .await;
    expect("unreleased", "product", "UPDATE reservation SET state = 'committed'", "cancelled orders hold no stock")
        .await;
    let held = format!("UPDATE payment SET held = 500 WHERE order_id = '{CANCELLED}'");
    expect("held", "payment", &held, "cancelled orders hold no stock and no money").await;
    expect("refunded", "payment", "UPDATE payment SET refunded = 9 WHERE captured > 9", "order and payment agree")
        .await;
    expect("unknown", "order", "DELETE FROM orders WHERE state = 'cancelled'", "has its order").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_did_something_else() {
    let cases: [(&str, &[Line]); 4] = [
        ("captured once", &[("authorized", CONFIRMED, "pi_2"), ("captured", CONFIRMED, "pi_2")]),
        ("no authorization is orphaned", &[("authorized", CANCELLED, "pi_2")]),
        ("no authorization is orphaned", &[("authorized", "ord_stranger", "pi_2")]),
        ("provider and payments agree", &[("refunded", CONFIRMED, "pi_1")]),
    ];
    for (number, (check, lines)) in cases.into_iter().enumerate() {
        let shop = TestShop::new(&format!("provider-{number}")).await;
        assert_eq!(shop.breaches(false).await, []);
        for (kind, reference, intent) in lines {
            shop.book(kind, reference, intent, 5);
        }
        let breaches = shop.breaches(false).await;
        assert!(breaches.iter().any(|(name, _)| name.contains(check)), "{check}: {breaches:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_still_to_be_done_is_no_breach() {
    let shop = TestShop::new("moving").await;
    shop.book("authorized", CANCELLED, "pi_2", 500);
    assert_eq!(shop.breaches(false).await.len(), 1);
    let timer =
        format!("INSERT INTO timer VALUES ('{CANCELLED}', 'payment.tmr.reconcile.v1', 't', 1, 'c', 'c', NULL, '{{}}')");
    shop.change("payment", &[&timer]).await;
    assert_eq!(shop.breaches(false).await, [], "a late authorization will be looked for and voided");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_may_be_allowed() {
    let shop = TestShop::new("allowed").await;
    let letter = "INSERT INTO dead_letter VALUES ('in_1', 1, 'parked', 's', 'k', '{}', 'waits', 'f', 0, 1)";
    shop.change("user", &[letter]).await;
    assert_eq!(shop.breaches(true).await, []);
    assert_eq!(shop.breaches(false).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_database_is_an_error_and_is_not_made() {
    let shop = TestShop::new("missing").await;
    let file = shop.path().join("user.db");
    std::fs::remove_file(&file).unwrap();
    let error = Stores::open(&shop.config(), &Catalogue::store(), None, false)
        .await
        .err()
        .expect("a database is missing")
        .to_string();
    assert!(error.contains("user has no database at") && error.contains("database.url"), "{error}");
    assert!(!file.exists());
    let mut config = shop.config();
    config.database.url = "sqlite::memory:".to_owned();
    assert!(Stores::open(&config, &Catalogue::store(), None, false).await.is_err());
    let nowhere = Some(shop.path().join("no-ledger"));
    assert!(Stores::open(&shop.config(), &Catalogue::store(), nowhere, false).await.is_err());
}
