//! Placing: what is refused at once, whose the order is, and what it costs.

mod support;

use pangaea_contracts::order::{PlaceLine, PlaceOrder, Placed};
use pangaea_contracts::product::SkuWithdrawn;
use pangaea_contracts::{Currency, Money, SkuId};
use serde_json::json;

use support::{Rig, TOTAL, basket, customer, gbp, staff};

#[tokio::test]
async fn the_answer_is_the_order() {
    let mut rig = Rig::new().await;
    let answer = rig.ask(&customer(), &basket()).await;
    let id = answer.body["id"].as_str().unwrap().to_owned();
    assert_eq!(
        answer.headers,
        [("location".to_owned(), format!("/v1/orders/{id}")), ("etag".to_owned(), "\"1\"".to_owned())]
    );
    let line = |line, code: &str, quantity, price| {
        json!({
            "line": line, "sku_id": SkuId::from_code(code), "code": code, "quantity": quantity,
            "unit_price": {"amount": price, "currency": "GBP"}, "refunded_quantity": 0
        })
    };
    let expected = json!({
        "id": id, "state": "placed", "lines": [line(1, "MUG", 3, 850), line(2, "TEA", 1, 399)],
        "total": {"amount": TOTAL, "currency": "GBP"}, "refunded": {"amount": 0, "currency": "GBP"},
        "customer_id": "usr_alice", "placed_at": support::START
    });
    assert_eq!(answer.body, expected);
    let said = rig.take_said();
    let placed: Placed = serde_json::from_str(&said[0].payload).unwrap();
    assert_eq!((placed.total, placed.lines.len()), (gbp(TOTAL), 2));
    rig.check().await;
}

#[tokio::test]
async fn what_cannot_be_had_is_refused_with_its_line() {
    let mut rig = Rig::new().await;
    rig.hear(&SkuWithdrawn { sku_id: SkuId::from_code("TEA") }).await;
    rig.hear(&SkuWithdrawn { sku_id: SkuId::from_code("NEVER-SEEN") }).await;
    rig.price("EURO", Money::new(100, Currency::EUR)).await;
    let line = |sku: &str| PlaceLine { sku: sku.into(), quantity: 1, unit_price: None };
    let order = PlaceOrder { lines: ["MUG", "GHOST", "TEA", "EURO"].map(line).to_vec(), ..basket() };
    let answer = rig.ask(&customer(), &order).await;
    assert_eq!(answer.status, 422);
    let pointers: Vec<_> =
        answer.body["errors"].as_array().unwrap().iter().map(|error| error["pointer"].clone()).collect();
    assert_eq!(pointers, ["/lines/1/sku", "/lines/2/sku", "/lines/3/unit_price"]);
    assert_eq!(rig.number("SELECT COUNT(*) FROM orders").await, 0);
    assert_eq!((rig.said(), rig.timers().await), (vec![], 0));
}

#[tokio::test]
async fn a_new_price_holds_from_then_on_and_a_return_to_sale_too() {
    let mut rig = Rig::new().await;
    rig.price("MUG", gbp(900)).await;
    rig.hear(&SkuWithdrawn { sku_id: SkuId::from_code("TEA") }).await;
    rig.price("TEA", gbp(1)).await;
    let answer = rig.ask(&customer(), &basket()).await;
    assert_eq!(answer.body["total"]["amount"], 3 * 900 + 1);
}

#[tokio::test]
async fn staff_set_prices_and_order_for_others() {
    let mut rig = Rig::new().await;
    let free = PlaceLine { sku: "mug".into(), quantity: 2, unit_price: Some(gbp(0)) };
    let cheap = PlaceLine { sku: SkuId::from_code("TEA").to_string(), quantity: 2, unit_price: Some(gbp(55)) };
    let order = PlaceOrder { lines: vec![free.clone(), cheap], customer_reference: Some("17850".into()), ..basket() };
    let answer = rig.ask(&staff(), &order).await;
    assert_eq!((answer.status, &answer.body["total"]["amount"]), (202, &json!(110)));
    assert_eq!((&answer.body["customer_reference"], answer.body.get("customer_id")), (&json!("17850"), None));
    assert_eq!(answer.body["lines"][0]["price_override"], json!(true));
    assert!(rig.texts("SELECT detail FROM timeline").await[0].as_ref().unwrap().contains("usr_staff"));

    let nothing = PlaceOrder { lines: vec![free], customer_reference: None, ..basket() };
    assert_eq!(rig.ask(&staff(), &nothing).await.status, 422);
    let guest = PlaceOrder { customer_reference: None, ..basket() };
    let answer = rig.ask(&staff(), &guest).await;
    assert_eq!((answer.body.get("customer_reference"), answer.body.get("customer_id")), (None, None));
    rig.check().await;
}

#[tokio::test]
async fn the_largest_order_goes_through() {
    let mut rig = Rig::new().await;
    let line = PlaceLine { sku: "MUG".into(), quantity: 1_000_000, unit_price: None };
    let order = PlaceOrder { lines: vec![line; 1_000], ..basket() };
    let answer = rig.ask(&customer(), &order).await;
    assert_eq!((answer.status, &answer.body["total"]["amount"]), (202, &json!(850_000_000_000_i64)));
    assert_eq!(rig.said(), ["evt.placed", "cmd.product.reserve_stock"]);
    rig.check().await;
}
