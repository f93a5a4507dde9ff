//! Bugs about goods and money.

use anyhow::{Result, ensure};
use pangaea_faults::Plant;
use pangaea_testkit::Placement;
use pangaea_tests::{Shop, ask_to_place};

use crate::support::{builder, guarded, must_be_caught, must_pass, must_pass_with_dead_letters, must_say, planted};

/// The provider holds the money, and whoever asked never hears of it.
const LOST: &str = "tok_charged_reply_lost";

#[tokio::test(flavor = "multi_thread")]
async fn stock_without_a_guard() -> Result<()> {
    let plant = Plant::StockWithoutGuard;
    let shop = planted(plant, builder(Placement::TogetherMemory)).await?;
    oversell(&shop).await?;
    must_be_caught(&shop, &shop.audit()?, "stock_conserved").await?;
    drop(shop);
    let mut shop = guarded(plant, builder(Placement::TogetherMemory)).await?;
    oversell(&shop).await?;
    must_say(&mut shop, "product", "CHECK constraint failed").await?;
    must_pass_with_dead_letters(shop).await
}

/// More buyers than units, all at once.
async fn oversell(shop: &Shop) -> Result<()> {
    let sku = shop.new_sku(3, 100).await?;
    for _ in 0..6 {
        // Held by the payer's delay, so that the units are only reserved.
        ask_to_place(&shop.customer, &[(&sku.code, 1)], "tok_action_required").send().await?.expect(202)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_committed_after_the_capture() -> Result<()> {
    let plant = Plant::StockCommittedAfterCapture;
    let shop = planted(plant, builder(Placement::TogetherMemory)).await?;
    let sku = shop.new_sku(10, 100).await?;
    shop.confirmed(&sku, 1).await?;
    must_be_caught(&shop, &shop.audit()?, "stock_before_money").await?;
    drop(shop);
    let mut shop = guarded(plant, builder(Placement::TogetherMemory)).await?;
    let sku = shop.new_sku(10, 100).await?;
    ask_to_place(&shop.customer, &[(&sku.code, 1)], "tok_ok").send().await?.expect(202)?;
    must_say(&mut shop, "order", "must not be taken yet").await?;
    must_pass_with_dead_letters(shop).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compensation_that_is_dropped() -> Result<()> {
    let plant = Plant::CompensationDropped;
    let shop = planted(plant, builder(Placement::TogetherMemory)).await?;
    give_up(&shop).await?;
    must_be_caught(&shop, &shop.audit()?, "goods_for_money").await?;
    drop(shop);
    let mut shop = guarded(plant, builder(Placement::TogetherMemory)).await?;
    give_up(&shop).await?;
    must_say(&mut shop, "order", "a compensation is unanswered; asking again").await?;
    must_pass(shop).await
}

/// An order whose payment is declined gives its stock back.
async fn give_up(shop: &Shop) -> Result<()> {
    let sku = shop.new_sku(10, 100).await?;
    let order = shop.place(&[(&sku.code, 1)], "tok_declined").await?;
    ensure!(order["state"] == "cancelled", "{order}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_effect_that_is_tried_again_under_a_new_key() -> Result<()> {
    let plant = Plant::EffectRetriedUnderANewKey;
    let shop = planted(plant, builder(Placement::TogetherMemory)).await?;
    let sku = shop.new_sku(10, 100).await?;
    ask_to_place(&shop.customer, &[(&sku.code, 1)], LOST).send().await?.expect(202)?;
    must_be_caught(&shop, &shop.audit()?, "one_key").await?;
    drop(shop);
    // Asking first finds what the lost reply would have said.
    let mut shop = guarded(plant, builder(Placement::TogetherMemory)).await?;
    let sku = shop.new_sku(10, 100).await?;
    let order = shop.place(&[(&sku.code, 1)], LOST).await?;
    ensure!(order["state"] == "confirmed", "{order}");
    must_say(&mut shop, "payment", "a try gave no outcome").await?;
    must_pass(shop).await
}

#[tokio::test(flavor = "multi_thread")]
async fn money_as_a_floating_point_number() -> Result<()> {
    let plant = Plant::FloatMoney;
    let shop = planted(plant, builder(Placement::TogetherMemory)).await?;
    // 0.29 has no exact binary form: a penny is lost on the way there and back.
    let sku = shop.new_sku(10, 29).await?;
    let order = shop.confirmed(&sku, 1).await?;
    ensure!(order["total"]["amount"] == 28, "{order}");
    must_be_caught(&shop, &shop.audit()?, "money_whole").await?;
    drop(shop);
    let mut shop = guarded(plant, builder(Placement::TogetherMemory)).await?;
    let (odd, even) = (shop.new_sku(10, 29).await?, shop.new_sku(10, 100).await?);
    ask_to_place(&shop.customer, &[(&odd.code, 1)], "tok_ok").send().await?.expect(500)?;
    must_say(&mut shop, "order", "the lines add up to 29, the total is 28").await?;
    shop.confirmed(&even, 1).await?;
    must_pass(shop).await
}
