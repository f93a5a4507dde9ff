//! What the module does with its inputs, on SQLite and on PostgreSQL.

use anyhow::Result;
use pangaea_contracts::order::{Cancelled, Confirmed, OrderedLine, Placed, Reason};
use pangaea_contracts::{Actor, Currency, Money, OrderId, Role, SkuId, UserId};
use pangaea_reviews::Reviews;
use pangaea_reviews_contracts::{PostReview, Posted};
use pangaea_testkit::scenario::{Place, Scenario};
use serde_json::json;

fn ada() -> Actor {
    Actor::user("usr_ada", [Role::Customer])
}

fn placed(order: &str, code: &str) -> Result<Placed> {
    let price = Money::new(850, Currency::GBP);
    let line = OrderedLine { line: 1, sku_id: SkuId::from_code(code), quantity: 1, unit_price: price };
    Ok(Placed {
        order_id: order.parse::<OrderId>()?,
        customer_id: Some("usr_ada".parse::<UserId>()?),
        lines: vec![line],
        total: price,
    })
}

fn confirmed(order: &str) -> Result<Confirmed> {
    Ok(Confirmed { order_id: order.parse()?, total: Money::new(850, Currency::GBP) })
}

fn five_stars(code: &str) -> Result<PostReview> {
    Ok(PostReview { sku_id: SkuId::from_code(code), buyer: "usr_ada".parse()?, stars: 5, text: "Holds tea.".into() })
}

#[tokio::test]
async fn what_was_bought_can_be_reviewed_once() -> Result<()> {
    for place in Place::all() {
        // Given
        let mut scenario = Scenario::builder().module(Reviews).on(place).start().await?;
        scenario.hear(&placed("ord_1", "MUG")?).await?.silent()?;
        scenario.ask(&ada(), &five_stars("MUG")?).await?.answered(409)?;
        scenario.hear(&confirmed("ord_1")?).await?.silent()?;

        // When
        let step = scenario.ask(&ada(), &five_stars("MUG")?).await?;

        // Then
        let posted = step.answered(202)?.said(&["reviews.evt.posted.v1"])?.only::<Posted>()?;
        assert_eq!(posted.stars, 5);
        scenario.expect_rows("reviews", "SELECT number, stars, text FROM review", &["1 | 5 | Holds tea."]).await?;
        scenario.expect_rows("reviews", "SELECT COUNT(*) FROM placed_order", &["0"]).await?;
        scenario.ask(&ada(), &five_stars("MUG")?).await?.answered(409)?.silent()?;
        scenario.close().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_cancelled_order_gives_no_right_to_review() -> Result<()> {
    let mut scenario = Scenario::builder().module(Reviews).start().await?;
    scenario.hear(&placed("ord_1", "MUG")?).await?;
    let reason = Reason::new("out_of_stock", "none is left");
    scenario.hear(&Cancelled { order_id: "ord_1".parse()?, reason }).await?.silent()?;
    scenario.expect_rows("reviews", "SELECT order_id FROM placed_order", &[]).await?;
    scenario.ask(&ada(), &five_stars("MUG")?).await?.answered(409)?;
    scenario.close().await
}

#[tokio::test]
async fn a_review_is_held_back_for_as_long_as_configured() -> Result<()> {
    let hour = 3_600_000;
    let settings = json!({ "hold_ms": hour });
    let mut scenario = Scenario::builder().module(Reviews).settings("reviews", settings).start().await?;
    scenario.hear(&placed("ord_1", "MUG")?).await?;
    scenario.hear(&confirmed("ord_1")?).await?;
    scenario.ask(&ada(), &five_stars("MUG")?).await?.answered(202)?.silent()?;
    scenario.pass(hour - 1).await?.silent()?;
    scenario.pass(1).await?.said(&["reviews.evt.posted.v1"])?;
    scenario.golden("tests/golden/held_back.journal").await?;
    scenario.close().await
}
