//! Bugs at the edge and in handlers.

use anyhow::{Result, ensure};
use pangaea_faults::{Plant, VARIABLE};
use pangaea_testkit::{Api, Placement};
use pangaea_tests::{Replies, Shop, ask_to_place, order_body};
use serde_json::json;

use crate::support::{builder, guarded, must_be_caught, must_pass, must_say, planted};

#[tokio::test(flavor = "multi_thread")]
async fn idempotency_keys_without_a_scope() -> Result<()> {
    let plant = Plant::NoIdempotencyScope;
    let shop = planted(plant, builder(Placement::TogetherMemory)).await?;
    ensure!(share_a_key(&shop).await? == [202, 202]);
    must_be_caught(&shop, &shop.audit()?, "key_scopes").await?;
    drop(shop);
    // What the client said is another thing under the same key, so it is refused.
    let shop = guarded(plant, builder(Placement::TogetherMemory)).await?;
    ensure!(share_a_key(&shop).await? == [202, 422]);
    must_pass(shop).await?;
    // Without the bug each gets an order of their own.
    let shop = Shop::open_with(builder(Placement::TogetherMemory)).await?;
    ensure!(share_a_key(&shop).await? == [202, 202]);
    must_pass(shop).await
}

/// Two customers who happen to use one key for the same request.
async fn share_a_key(shop: &Shop) -> Result<[u16; 2]> {
    let replies = Replies::of(shop)?;
    let sku = shop.new_sku(10, 100).await?;
    let mut statuses = [0; 2];
    for (status, api) in statuses.iter_mut().zip([&shop.customer, &shop.other]) {
        let body = order_body(&[(&sku.code, 1)], "tok_ok");
        let answer = replies.post(api, &principal(api).await?, "/v1/orders", "the same key", body).await?;
        *status = answer.status;
    }
    Ok(statuses)
}

async fn principal(api: &Api) -> Result<String> {
    Ok(api.get("/v1/users/me").send().await?.expect(200)?.text_at("id")?.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_a_reply() -> Result<()> {
    let plant = Plant::SecretInAReply;
    let shop = planted(plant, builder(Placement::TogetherMemory)).await?;
    ensure!(register(&shop).await?.is_string(), "the bug tells nothing");
    must_be_caught(&shop, &shop.audit()?, "secrets").await?;
    drop(shop);
    // The view of an account knows what a caller may see, and passes nothing else on.
    let shop = guarded(plant, builder(Placement::TogetherMemory)).await?;
    ensure!(register(&shop).await?.is_null(), "the view has let a secret pass");
    must_pass(shop).await
}

/// What a new customer is told of their password.
async fn register(shop: &Shop) -> Result<serde_json::Value> {
    let account = json!({ "email": "new@example.com", "password": "a long enough password", "name": "New" });
    let replies = Replies::of(shop)?;
    let answer =
        replies.post(shop.store.api(), "anonymous", "/v1/users", "registration", account).await?.expect(201)?;
    Ok(answer.body["password_hash"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wall_clock_in_a_handler() -> Result<()> {
    let plant = Plant::WallClockInAHandler;
    let mut shop = Shop::open_with(builder(Placement::Apart)).await?;
    let sku = shop.new_sku(10, 100).await?;
    shop.confirmed(&sku, 1).await?;
    shop.pass_audit().await?;
    // The handler is a little later than the admission, as it may be at any time.
    let late = "handler.before=hang:25@1x1000000000";
    restart_order(&mut shop, &format!("guarded:{plant} {late}")).await?;
    ask_to_place(&shop.customer, &[(&sku.code, 1)], "tok_ok").send().await?.expect(500)?;
    must_say(&mut shop, "order", "its input was admitted at").await?;
    shop.pass_audit().await?;
    restart_order(&mut shop, &format!("plant:{plant} {late}")).await?;
    shop.confirmed(&sku, 1).await?;
    must_be_caught(&shop, &shop.audit()?, "times").await
}

async fn restart_order(shop: &mut Shop, faults: &str) -> Result<()> {
    shop.store.kill("order")?;
    shop.store.process("order")?.set_variable(VARIABLE, Some(faults));
    shop.store.restart("order").await
}
