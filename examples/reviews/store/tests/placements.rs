//! The store with reviews runs in every placement, and none of them needs another line of code.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pangaea_testkit::{Account, Guest, Placement, Store, StoreBuilder, eventually};
use serde_json::json;

/// For an event to arrive, on a slow machine with many processes.
const KNOWN_MAX: Duration = Duration::from_secs(60);
/// Of the demo catalogue.
const SKU: &str = "TEA-EARL-GREY-100";
const REVIEWS: Guest = Guest { module: "reviews", prefixes: &["/v1/reviews"] };

fn store(placement: Placement) -> StoreBuilder {
    Store::builder(placement).program(env!("CARGO_BIN_EXE_reviews-store")).module(REVIEWS)
}

/// A customer buys something, and says how it is.
async fn buy_and_review(placement: Placement) -> Result<()> {
    let store = store(placement).start().await?;
    let (customer, staff) = (store.customer().await?, store.staff().await?);
    let review = json!({ "sku": SKU, "stars": 4, "text": "Strong." });
    customer.post("/v1/reviews", review.clone()).send().await?.expect_problem(409, "conflict")?;
    staff.post("/v1/reviews", review.clone()).send().await?.expect_problem(403, "forbidden")?;

    let order = json!({ "lines": [{ "sku": SKU, "quantity": 1 }], "payment_token": "tok_ok" });
    let mut placed = None;
    eventually("the price of the tea to be known to order", KNOWN_MAX, async || {
        let answer = customer.post("/v1/orders", order.clone()).wait(30).send().await?.expect_any(&[200, 202, 422])?;
        placed = (answer.status != 422).then_some(answer);
        Ok(placed.is_some().then_some(()))
    })
    .await?;
    let id = placed.context("an order")?.text_at("id")?.to_owned();
    eventually("the order to be confirmed", KNOWN_MAX, async || {
        let order = customer.get(&format!("/v1/orders/{id}")).send().await?.expect(200)?;
        Ok((order.body["state"] == "confirmed").then_some(()))
    })
    .await?;

    eventually("the review to be accepted", KNOWN_MAX, async || {
        let answer = customer.post("/v1/reviews", review.clone()).send().await?.expect_any(&[202, 409])?;
        Ok((answer.status == 202).then_some(()))
    })
    .await?;
    let path = format!("/v1/reviews?sku={SKU}");
    let page = eventually("the review to be listed", KNOWN_MAX, async || {
        let page = store.api().get(&path).send().await?.expect(200)?;
        Ok((page.body["reviews"] == 1).then_some(page.body))
    })
    .await?;
    ensure!(page["average"] == 4.0 && page["items"][0]["text"] == "Strong.", "{page}");
    customer.post("/v1/reviews", review).send().await?.expect_problem(409, "conflict")?;

    let document = store.api().get("/openapi.json").send().await?.expect(200)?;
    ensure!(document.body["paths"]["/v1/reviews"]["post"].is_object(), "the module's routes are documented");
    store.verify().await?;
    store.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn together_on_the_memory_bus() -> Result<()> {
    buy_and_review(Placement::TogetherMemory).await
}

#[tokio::test(flavor = "multi_thread")]
async fn together_on_nats() -> Result<()> {
    buy_and_review(Placement::TogetherNats).await
}

#[tokio::test(flavor = "multi_thread")]
async fn apart_on_nats() -> Result<()> {
    buy_and_review(Placement::Apart).await
}

#[tokio::test(flavor = "multi_thread")]
async fn mixed_on_nats() -> Result<()> {
    buy_and_review(Placement::Mixed).await
}

#[tokio::test(flavor = "multi_thread")]
async fn apart_on_nats_and_postgres() -> Result<()> {
    buy_and_review(Placement::ApartPostgres).await
}

#[tokio::test(flavor = "multi_thread")]
async fn apart_with_two_replicas_of_each_module() -> Result<()> {
    buy_and_review(Placement::ApartReplicas(2)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn apart_with_three_replicas_of_each_module() -> Result<()> {
    buy_and_review(Placement::ApartReplicas(3)).await
}

/// A killed process is started again with nothing lost; the settings come from the environment, as for any module.
#[tokio::test(flavor = "multi_thread")]
async fn it_goes_on_after_a_kill_and_is_configured_like_any_other() -> Result<()> {
    let held_back = store(Placement::Apart).variable_of("reviews", "PANGAEA__MODULES__REVIEWS__SETTINGS__HOLD_MS", "1");
    let mut store = held_back.start().await?;
    store.kill("reviews")?;
    store.restart("reviews").await?;
    let page = store.api().get(&format!("/v1/reviews?sku={SKU}")).send().await?.expect(200)?;
    ensure!(page.body["reviews"] == 0, "{}", page.text);
    let customer = store.api().sign_in(Account::CUSTOMER).await?;
    customer.get("/v1/reviews").send().await?.expect_problem(400, "malformed-request")?;
    store.stop().await
}

/// The offline commands know the module too.
#[tokio::test]
async fn the_command_line_knows_the_module() -> Result<()> {
    let store = store(Placement::TogetherMemory).start().await?;
    let checked = store.run(&["check"]).await?.success()?;
    ensure!(checked.stdout.contains("product, order, payment, user, reviews"), "{}", checked.stdout);
    let topology = store.run(&["topology", "--format", "json"]).await?.success()?;
    ensure!(topology.stdout.contains("reviews"), "{}", topology.stdout);
    let verified = store.run(&["verify"]).await?.success()?;
    ensure!(verified.stdout.contains("reviews: a score is the sum of its reviews"), "{}", verified.stdout);
    let refused = store.run(&["check", "--modules", "review"]).await?.failure()?;
    ensure!(refused.stderr.contains("did you mean reviews?"), "{}", refused.stderr);
    store.stop().await
}
