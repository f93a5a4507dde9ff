//! Parts that are not there, go away and come back: nothing is lost, and nobody has to restart anything.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_nats::HeaderMap;
use pangaea_testkit::{Api, Placement, Store, eventually};
use pangaea_tests::{Shop, ask_to_place, buries, settled, spoil_newest};

/// Longer than the pauses between tries to reach a part that was away.
const RECOVERED_MAX: Duration = Duration::from_secs(90);
const ORDERS: usize = 5;

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_comes_late_is_waited_for() -> Result<()> {
    let mut store = Store::builder(Placement::Apart).without_broker().spawn().await?;
    for module in ["product", "order", "payment", "user"] {
        let process = store.process(module)?;
        // It says what it misses, and does not give up.
        let complains = async || {
            process.must_run()?;
            Ok(process.log().to_lowercase().contains("nats").then_some(()))
        };
        eventually(&format!("{module} to say that the broker is away"), Duration::from_secs(30), complains).await?;
    }
    store.broker().start().await?;
    store.wait_ready().await?;
    let shop = Shop::of(store).await?;
    let sku = shop.new_sku(1, 100).await?;
    shop.confirmed(&sku, 1).await?;
    shop.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_goes_away_holds_orders_up_and_loses_none() -> Result<()> {
    let mut shop = Shop::open(Placement::Apart).await?;
    let sku = shop.new_sku(100, 100).await?;
    shop.confirmed(&sku, 1).await?;
    shop.store.broker().kill()?;
    let accepted = accept(&shop.customer, &sku.code).await?;
    // Still ready: what it accepts is kept.
    let readiness = shop.store.readiness("order").await?;
    ensure!(readiness.status == 200, "{} {}", readiness.status, readiness.text);
    for id in &accepted {
        let order = shop.customer.get(&format!("/v1/orders/{id}")).send().await?.expect(200)?.body;
        ensure!(order["state"] == "placed", "{order}");
    }
    shop.store.broker().start().await?;
    all_are_confirmed(&shop.customer, &accepted).await?;
    ensure!(shop.store.ledger()?.double_captures.is_empty());
    shop.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_lost_its_disk_is_refilled() -> Result<()> {
    let mut shop = Shop::open(Placement::Apart).await?;
    let sku = shop.new_sku(100, 100).await?;
    shop.confirmed(&sku, 1).await?;
    shop.store.broker().kill()?;
    let accepted = accept(&shop.customer, &sku.code).await?;
    std::fs::remove_dir_all(shop.store.folder().path().join("nats"))?;
    shop.store.broker().start().await?;
    shop.store.provision().await?;
    all_are_confirmed(&shop.customer, &accepted).await?;
    ensure!(shop.store.ledger()?.double_captures.is_empty());
    shop.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_away_for_a_while_is_asked_again() -> Result<()> {
    let mut shop = Shop::open(Placement::TogetherMemory).await?;
    let sku = shop.new_sku(100, 100).await?;
    shop.store.provider().kill()?;
    let accepted = accept(&shop.customer, &sku.code).await?;
    for id in &accepted {
        shop.reaches(&shop.customer, id, "reserved").await?;
    }
    shop.store.provider().start()?;
    all_are_confirmed(&shop.customer, &accepted).await?;
    let ledger = shop.store.ledger()?;
    ensure!(ledger.double_captures.is_empty() && ledger.orphaned_authorizations.is_empty(), "{ledger:?}");
    shop.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_module_may_be_away_while_orders_are_accepted() -> Result<()> {
    let mut shop = Shop::open(Placement::Apart).await?;
    let sku = shop.new_sku(100, 100).await?;
    for away in ["product", "payment", "user"] {
        shop.store.kill(away)?;
        let accepted = accept(&shop.customer, &sku.code).await.with_context(|| format!("{away} is away"))?;
        shop.store.restart(away).await?;
        all_are_confirmed(&shop.customer, &accepted).await.with_context(|| format!("{away} was away"))?;
    }
    shop.close().await
}

/// Anybody who may publish can put a message into a stream that no module wrote.
#[tokio::test(flavor = "multi_thread")]
async fn messages_that_nobody_wrote_stop_no_reader() -> Result<()> {
    let shop = Shop::open(Placement::Apart).await?;
    let sku = shop.new_sku(100, 100).await?;
    let url = shop.store.broker_url().context("no broker")?;
    let namespace = shop.store.env("BUS__NAMESPACE").context("no namespace")?;
    let client = pangaea_auditor::connect(&url).await?;
    let stream = async_nats::jetstream::new(client.clone());
    let mut odd = HeaderMap::new();
    odd.insert("ce-id", "not one of ours");
    odd.insert("ce-type", "order.placed");
    for (subject, headers, payload) in [
        ("product.evt.sku_priced.v1", HeaderMap::new(), "this is not JSON"),
        ("product.evt.stock_reserved.v1", HeaderMap::new(), ""),
        ("order.evt.placed.v1", HeaderMap::new(), "{\"order_id\": 7}"),
        ("order.cmd.payment.authorize.v1", odd, "\u{0}\u{1}"),
        ("payment.evt.never_heard_of.v9", HeaderMap::new(), "{}"),
    ] {
        let subject = format!("{namespace}.{subject}");
        let stored = stream.publish_with_headers(subject.clone(), headers, payload.into()).await?;
        stored.await.with_context(|| format!("{subject} is in no stream"))?;
        shop.confirmed(&sku, 1).await.with_context(|| format!("after {subject}"))?;
    }
    shop.close().await
}

/// A release of product that writes what order cannot read: the message becomes a dead letter of order's, and everything
/// else goes on.
#[tokio::test(flavor = "multi_thread")]
async fn an_undecodable_message_becomes_a_dead_letter() -> Result<()> {
    let mut shop = Shop::open(Placement::Apart).await?;
    let (spoilt, sound) = (shop.new_sku(100, 100).await?, shop.new_sku(100, 100).await?);
    // While the broker is away the message waits in product's outbox, where it can be spoilt before anybody has read it.
    shop.store.broker().kill()?;
    for sku in [&spoilt, &sound] {
        let price = serde_json::json!({ "amount": 250, "currency": "GBP" });
        let change = shop.staff.call_named("PUT", &format!("/v1/skus/{}/price", sku.code)).json(price);
        change.header("if-match", "*").send().await?.expect(200)?;
    }
    shop.store.kill("product")?;
    spoil_newest(&shop.store, "product", "product.evt.sku_priced.v1", &spoilt.id)?;
    shop.store.broker().start().await?;
    shop.store.restart("product").await?;
    buries(&shop.store, "order").await?;
    eventually("the next message to be read", RECOVERED_MAX, async || {
        let order = shop.confirmed(&sound, 1).await?;
        Ok((order["total"]["amount"] == 250).then_some(()))
    })
    .await?;
    // The last price that order could read holds.
    let order = shop.confirmed(&spoilt, 1).await?;
    ensure!(order["total"]["amount"] == 100, "{order}");
    // Product never said what was put into its log by hand, which a replay of its journal tells.
    let told = shop.store.verify().await.err().context("verify does not tell of the dead letter")?;
    let told = format!("{told:#}");
    ensure!(told.contains("dead") && told.contains("product: its handlers say again"), "{told}");
    shop.store.verify_with(&["--allow-dead-letters", "--no-replay"]).await?;
    shop.store.stop().await
}

/// A trace that begins at a client goes on in the messages between processes.
#[tokio::test(flavor = "multi_thread")]
async fn a_trace_crosses_the_bus() -> Result<()> {
    let shop = Shop::open(Placement::Apart).await?;
    let sku = shop.new_sku(1, 100).await?;
    let trace_id = "0af7651916cd43dd8448eb211c80319c";
    let placed = ask_to_place(&shop.customer, &[(&sku.code, 1)], "tok_ok")
        .header("traceparent", &format!("00-{trace_id}-b7ad6b7169203331-01"))
        .wait(30);
    placed.send().await?.expect(200)?;
    let namespace = shop.store.env("BUS__NAMESPACE").context("no namespace")?;
    let client = pangaea_auditor::connect(&shop.store.broker_url().context("no broker")?).await?;
    let streams = async_nats::jetstream::new(client);
    for (source, subject) in [
        ("order", "evt.placed.v1"),
        ("order", "cmd.product.reserve_stock.v1"),
        ("product", "evt.stock_reserved.v1"),
        ("order", "cmd.payment.authorize.v1"),
        ("payment", "evt.authorized.v1"),
        ("payment", "evt.captured.v1"),
        ("order", "evt.confirmed.v1"),
    ] {
        let stream = streams.get_stream(format!("{namespace}_{source}").to_uppercase()).await?;
        let subject = format!("{namespace}.{source}.{subject}");
        let message = stream.get_last_raw_message_by_subject(&subject).await.with_context(|| subject.clone())?;
        let traceparent = message.headers.get("ce-traceparent").map(|value| value.as_str().to_owned());
        ensure!(traceparent.as_deref().is_some_and(|text| text.contains(trace_id)), "{subject}: {:?}", message.headers);
    }
    shop.close().await
}

async fn accept(api: &Api, code: &str) -> Result<Vec<String>> {
    let mut accepted = Vec::new();
    for _ in 0..ORDERS {
        let placed = ask_to_place(api, &[(code, 1)], "tok_ok").send().await?.expect(202)?;
        accepted.push(placed.text_at("id")?.to_owned());
    }
    Ok(accepted)
}

async fn all_are_confirmed(api: &Api, ids: &[String]) -> Result<()> {
    for id in ids {
        let order = settled(api, id, RECOVERED_MAX).await?;
        ensure!(order["state"] == "confirmed", "{order}");
    }
    Ok(())
}
