//! The routes, over the real module.

use anyhow::Result;
use pangaea_contracts::order::{Confirmed, OrderedLine, Placed};
use pangaea_contracts::{Actor, Currency, Money, Role, SkuId};
use pangaea_reviews::Reviews;
use pangaea_testkit::scenario::Scenario;
use serde_json::json;

fn buyer(number: u32) -> Actor {
    Actor::user(format!("usr_{number}"), [Role::Customer])
}

/// Buyers 1 to 3 have bought a mug.
async fn sold() -> Result<Scenario> {
    let mut scenario = Scenario::builder().module(Reviews).start().await?;
    let total = Money::new(850, Currency::GBP);
    for number in 1..=3 {
        let line = OrderedLine { line: 1, sku_id: SkuId::from_code("MUG"), quantity: 1, unit_price: total };
        let order_id: pangaea_contracts::OrderId = format!("ord_{number}").parse()?;
        let customer_id = Some(format!("usr_{number}").parse()?);
        scenario.hear(&Placed { order_id: order_id.clone(), customer_id, lines: vec![line], total }).await?;
        scenario.hear(&Confirmed { order_id, total }).await?;
    }
    Ok(scenario)
}

#[tokio::test]
async fn reviews_are_posted_and_listed_in_pages() -> Result<()> {
    let scenario = sold().await?;
    for (number, stars) in [(1, 5), (2, 4), (3, 1)] {
        let review = json!({ "sku": "mug", "stars": stars, "text": format!("by {number}") });
        scenario.client(&buyer(number)).post("/v1/reviews", "key-1", review).await?.expect(202)?;
    }
    let visitor = scenario.anonymous();
    let first = visitor.get("/v1/reviews?sku=MUG&limit=2").await?.expect(200)?;
    assert_eq!((&first.body["reviews"], &first.body["average"]), (&json!(3), &json!(3.33)));
    let texts = |page: &pangaea_testkit::Answer| -> Vec<String> {
        let items = page.body["items"].as_array().into_iter().flatten();
        items.filter_map(|item| item["text"].as_str().map(str::to_owned)).collect()
    };
    assert_eq!(texts(&first), ["by 3", "by 2"]);
    let link = first.required("link")?;
    let next = link.strip_prefix('<').and_then(|rest| rest.split_once('>')).map_or("", |(path, _)| path);
    let last = visitor.get(next).await?.expect(200)?;
    assert_eq!((texts(&last), last.header("link")), (vec!["by 1".to_owned()], None));
    let none = visitor.get("/v1/reviews?sku=TEA").await?.expect(200)?;
    assert_eq!(none.body, json!({ "items": [], "reviews": 0 }));
    scenario.close().await
}

#[tokio::test]
async fn what_is_wrong_is_said() -> Result<()> {
    let scenario = sold().await?;
    let (customer, staff) = (scenario.client(&buyer(1)), Actor::user("usr_9", [Role::Staff]));
    let review = json!({ "sku": "MUG", "stars": 5 });
    scenario.anonymous().post("/v1/reviews", "k", review.clone()).await?.expect_problem(401, "unauthenticated")?;
    scenario.client(&staff).post("/v1/reviews", "k", review.clone()).await?.expect_problem(403, "forbidden")?;
    let no_key = customer.send("POST", "/v1/reviews", &[], Some(review.clone())).await?;
    no_key.expect_problem(400, "idempotency-key-missing")?;
    let out_of_bounds = customer.post("/v1/reviews", "k", json!({ "sku": "MUG", "stars": 6 })).await?;
    assert_eq!(out_of_bounds.expect_problem(422, "invalid")?.pointers(), ["/stars"]);
    customer.post("/v1/reviews", "k", json!({ "sku": "TEA", "stars": 5 })).await?.expect_problem(409, "conflict")?;
    customer.get("/v1/reviews?sku=MUG&limit=201").await?.expect_problem(422, "invalid")?;
    customer.get("/v1/reviews?sku=MUG&cursor=x").await?.expect_problem(400, "malformed-request")?;

    let first = customer.post("/v1/reviews", "one", review.clone()).await?.expect(202)?;
    let again = customer.post("/v1/reviews", "one", review.clone()).await?.expect(202)?;
    assert_eq!(first.body, again.body, "a repeat is answered as the first");
    customer.post("/v1/reviews", "two", review).await?.expect_problem(409, "conflict")?;
    scenario.close().await
}
