//! What could differ on PostgreSQL: constraints, searches, keyset order, and the checks that look into JSON.

mod common;

use std::collections::BTreeSet;

use common::shop::stocked;
use common::{Store, TTL_MS, line, order, subjects};
use pangaea_contracts::Message;
use pangaea_contracts::product::{CommitStock, ReserveStock, StockCommitted, StockReserved};
use pangaea_journal::Statement;

/// A store in a schema of its own, empty.
async fn store(schema: &str) -> Store {
    #[expect(clippy::disallowed_methods, reason = "the tests' database is named by the environment")]
    let url = std::env::var("PANGAEA_TEST_POSTGRES_URL").expect(
        "PANGAEA_TEST_POSTGRES_URL is not set: run the tests with `cargo xtask test`, which starts a PostgreSQL",
    );
    Store::open_at(&url, &format!("product_{schema}_{}", std::process::id())).await
}

#[tokio::test]
async fn stock_is_reserved_sold_and_verified() {
    let mut store = store("stock").await;
    store.stock_up(&[("A", 5), ("B", 5)]).await;
    let reserve = |number, lines| ReserveStock { order_id: order(number), lines, ttl_ms: TTL_MS };
    let said = store.deliver(&reserve(1, vec![line("A", 2), line("B", 1), line("a", 1)])).await;
    assert_eq!(subjects(&said), [StockReserved::SUBJECT]);
    store.deliver(&reserve(2, vec![line("A", 1)])).await;
    assert_eq!(subjects(&store.deliver(&CommitStock { order_id: order(2) }).await), [StockCommitted::SUBJECT]);
    assert_eq!((store.stock("A").await, store.stock("B").await), ((4, 3), (5, 1)));
    store.sound().await;

    let database = store.database.clone();
    store.executor.stop().await.unwrap();
    let mut writer = database.writer(&[], "spoiler").await.unwrap();
    writer.begin().await.unwrap();
    for spoil in ["UPDATE stock SET on_hand = on_hand + 1", "UPDATE stock SET reserved = 0", "DELETE FROM timer"] {
        writer.sql(Statement::new(spoil)).await.unwrap();
    }
    writer.commit().await.unwrap();
    let found = pangaea_product::verify(&database).await.unwrap();
    let count = |sentence: &str| found.iter().filter(|breach| breach.contains(sentence)).count();
    assert_eq!(
        (count("movements sum to"), count("open reservations sum to"), count("has no timer")),
        (2, 2, 1),
        "{found:?}"
    );
    assert_eq!(found.len(), 5);
}

#[tokio::test]
async fn searches_find_the_same_and_page_through_all() {
    let shop = stocked(store("search").await).await;
    for (query, names) in [
        ("q=TEA+gre", vec!["Earl Grey", "Green Tea"]),
        ("q=%C3%A9l", vec!["Élan notebook"]),
        ("category=tea&available=true", vec!["Earl Grey", "teapot"]),
        ("available=false", vec!["Green Tea"]),
        ("min_price=451&max_price=1680", vec!["Earl Grey", "Garden trowel"]),
    ] {
        let found: BTreeSet<String> = shop.names(query).await.into_iter().collect();
        assert_eq!(found, names.into_iter().map(str::to_owned).collect(), "{query}");
    }
    for sort in ["name", "price", "-price", "newest"] {
        let whole = shop.names(&format!("sort={sort}")).await;
        let (mut paged, mut cursor) = (Vec::new(), String::new());
        for _ in 0..5 {
            let reply = shop.get(&format!("/v1/products?sort={sort}&limit=1{cursor}")).await;
            paged.push(reply.body["items"][0]["name"].as_str().unwrap().to_owned());
            cursor = reply.body["next_cursor"].as_str().map_or(String::new(), |cursor| format!("&cursor={cursor}"));
        }
        assert_eq!((paged, cursor), (whole, String::new()), "{sort}");
    }
}
