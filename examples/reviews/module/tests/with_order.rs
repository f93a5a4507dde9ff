//! Two modules in one process: order is the real one, and the test plays stock and payment.

use anyhow::{Context, Result};
use pangaea_contracts::order::{Confirmed, PlaceLine, PlaceOrder};
use pangaea_contracts::payment::{Authorized, Captured};
use pangaea_contracts::product::{SkuPriced, StockCommitted, StockReserved};
use pangaea_contracts::{Actor, Currency, Money, OrderId, Role, SkuId};
use pangaea_order::Order;
use pangaea_reviews::Reviews;
use pangaea_reviews_contracts::{PostReview, Posted};
use pangaea_testkit::scenario::Scenario;

#[tokio::test]
async fn what_order_confirms_can_be_reviewed() -> Result<()> {
    let mut scenario = Scenario::builder().module(Order::new()).module(Reviews).start().await?;
    let (ada, amount) = (Actor::user("usr_ada", [Role::Customer]), Money::new(850, Currency::GBP));
    let sku_id = SkuId::from_code("MUG");
    let (code, name) = ("MUG".to_owned(), "mug".to_owned());
    let product_id = "prod_1".parse()?;
    let price = SkuPriced { sku_id: sku_id.clone(), code, product_id, name, unit_price: amount, price_version: 1 };
    scenario.hear(&price).await?;

    let order = PlaceOrder {
        placed_by: "usr_ada".into(),
        lines: vec![PlaceLine { sku: "MUG".into(), quantity: 1, unit_price: None }],
        payment_token: "tok_ok".into(),
        customer_reference: None,
        shipping_address: None,
    };
    let step = scenario.ask(&ada, &order).await?.answered(202)?;
    let order_id: OrderId = step.answer()?.body["id"].as_str().context("an order's id")?.parse()?;
    let expires_at = scenario.now().plus_millis(900_000);
    scenario.hear(&StockReserved { order_id: order_id.clone(), expires_at }).await?;
    let payment_id: pangaea_contracts::PaymentId = "pay_1".parse()?;
    scenario.hear(&Authorized { order_id: order_id.clone(), payment_id: payment_id.clone(), amount }).await?;
    scenario.hear(&StockCommitted { order_id: order_id.clone() }).await?;
    scenario.hear(&Captured { order_id: order_id.clone(), payment_id, amount }).await?;
    scenario.until::<Confirmed>(1_000, |event| event.order_id == order_id).await?;

    let review = PostReview { sku_id, buyer: "usr_ada".parse()?, stars: 4, text: String::new() };
    scenario.ask(&ada, &review).await?.answered(202)?;
    scenario.until::<Posted>(1_000, |event| event.stars == 4).await?;
    let late = scenario.until::<Posted>(1_000, |_| true).await.map(drop).unwrap_err().to_string();
    assert!(late.contains("expected: reviews.evt.posted.v1 within 1000 ms"), "{late}");
    assert!(late.contains("reviews -> reviews.evt.posted.v1"), "the last messages are shown: {late}");
    scenario.close().await
}
