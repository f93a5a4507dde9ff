//! `pangaea order` and `pangaea trace` tell the whole story of an order from the journals of a running store, in every
//! placement alike, and nothing that is secret.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pangaea_testkit::{Placement, eventually};
use pangaea_tests::{Shop, ask_to_place};
use serde_json::{Value, json};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SETTLED_MAX: Duration = Duration::from_secs(60);
/// A token that the provider takes like `tok_ok`, and the parts of an address: none may be printed.
const TOKEN: &str = "tok_ok";
const CANARIES: [&str; 4] = [TOKEN, "Canary Yellowbird", "1 Coal Mine", "Cageham"];
/// What a confirmed order takes: module, kind, subject; each once.
const STEPS: [(&str, &str, &str); 14] = [
    ("order", "request", "order.rpc.place.v1"),
    ("order", "event", "order.evt.placed.v1"),
    ("product", "command", "order.cmd.product.reserve_stock.v1"),
    ("order", "event", "product.evt.stock_reserved.v1"),
    ("payment", "command", "order.cmd.payment.authorize.v1"),
    ("payment", "effect", "payment.eff.authorize.v1"),
    ("order", "event", "payment.evt.authorized.v1"),
    ("product", "command", "order.cmd.product.commit_stock.v1"),
    ("order", "event", "product.evt.stock_committed.v1"),
    ("payment", "command", "order.cmd.payment.capture.v1"),
    ("payment", "effect", "payment.eff.capture.v1"),
    ("order", "event", "payment.evt.captured.v1"),
    ("order", "event", "order.evt.confirmed.v1"),
    ("order", "request", "order.rpc.refund.v1"),
];

#[tokio::test(flavor = "multi_thread")]
async fn together() -> Result<()> {
    is_told(Placement::TogetherMemory).await
}

#[tokio::test(flavor = "multi_thread")]
async fn apart() -> Result<()> {
    is_told(Placement::Apart).await
}

#[tokio::test(flavor = "multi_thread")]
async fn apart_on_postgres() -> Result<()> {
    is_told(Placement::ApartPostgres).await
}

async fn is_told(placement: Placement) -> Result<()> {
    let mut shop = Shop::open(placement).await?;
    let sku = shop.new_sku(10, 650).await?;
    let order_id = place(&shop, &sku.code).await?;

    let told = read(&shop, &["order", &order_id, "--json", "--payloads"]).await?;
    ensure!(told["order"]["state"] == "confirmed" && told["order"]["total"]["amount"] == 650, "{told:#}");
    ensure!(told["modules_not_read"] == json!([]) && told["is_cut"] == false, "{told:#}");
    ensure!(told["trace_ids"] == json!([TRACE]), "{told:#}");
    is_the_whole_story(&told, &STEPS[..13])?;

    let traced = read(&shop, &["trace", TRACE, "--json", "--payloads"]).await?;
    ensure!(traced["steps"] == told["steps"], "the trace tells another story: {traced:#}\n{told:#}");
    let traceparent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let since = told["started_at"].as_str().context("a start")?;
    for (id, more) in [(traceparent.as_str(), &["--since", since][..]), (&TRACE[..8], &[])] {
        let again = read(&shop, &[&["trace", id, "--json", "--payloads"], more].concat()).await?;
        ensure!(again["steps"] == told["steps"], "{id} tells another story: {again:#}");
    }
    let effect = told["steps"].as_array().into_iter().flatten().find(|step| step["kind"] == "effect");
    let effect = effect.and_then(|step| step["id"].as_str()).context("an effect")?;
    let by_effect = read(&shop, &["trace", effect, "--json", "--payloads"]).await?;
    ensure!(by_effect["steps"] == told["steps"], "{effect} tells another story: {by_effect:#}");

    people_can_read_it(&shop, &order_id).await?;
    what_is_not_there_is_said(&shop, &order_id).await?;
    refunds_and_refusals_belong_to_it(&shop, &order_id).await?;
    if placement == Placement::Apart {
        a_dead_provider_is_seen(&mut shop, &sku.code).await?;
    }
    shop.close().await
}

async fn place(shop: &Shop, code: &str) -> Result<String> {
    let body = json!({
        "lines": [{ "sku": code, "quantity": 1 }],
        "payment_token": TOKEN,
        "shipping_address": { "name": "Canary Yellowbird", "line1": "1 Coal Mine", "city": "Cageham", "country": "GB" },
    });
    let call = shop.customer.post("/v1/orders", body).header("traceparent", &format!("00-{TRACE}-00f067aa0ba902b7-01"));
    let placed = call.wait(30).send().await?.expect_any(&[200, 202])?;
    let id = placed.text_at("id")?.to_owned();
    let order = shop.settled(&shop.customer, &id).await?;
    ensure!(order["state"] == "confirmed", "{order}");
    Ok(id)
}

async fn read(shop: &Shop, args: &[&str]) -> Result<Value> {
    let output = shop.store.run(args).await?.success()?;
    has_no_canary(&output.stdout)?;
    has_no_canary(&output.stderr)?;
    Ok(serde_json::from_str(&output.stdout)?)
}

fn has_no_canary(text: &str) -> Result<()> {
    for canary in CANARIES {
        ensure!(!text.contains(canary), "{canary} is printed: {text}");
    }
    Ok(())
}

/// Every expected step once, in causal order, from one root that is the POST.
fn is_the_whole_story(told: &Value, expected: &[(&str, &str, &str)]) -> Result<()> {
    let steps = told["steps"].as_array().context("no steps")?;
    let mut counts: BTreeMap<[&str; 3], usize> = BTreeMap::new();
    for (index, step) in steps.iter().enumerate() {
        let text = |name: &str| step[name].as_str().unwrap_or_default();
        *counts.entry([text("module"), text("kind"), text("subject")]).or_default() += 1;
        ensure!(step["number"] == index + 1, "{step:#}");
        let cause = step["cause"].as_u64().unwrap_or(0);
        ensure!(cause <= index as u64, "a step before its cause: {step:#}");
        let is_post = text("subject") == "order.rpc.place.v1";
        ensure!((cause == 0) == is_post, "not rooted in the POST: {step:#}");
        let is_handled = matches!(step["outcome"]["state"].as_str(), Some("handled" | "answered" | "performed"));
        ensure!(step["handled_at"].is_string() == is_handled, "{step:#}");
        ensure!(is_post || !is_handled || step["wait_ms"].as_i64().is_some_and(|wait| wait >= 0), "{step:#}");
    }
    for &(module, kind, subject) in expected {
        ensure!(counts.get(&[module, kind, subject]) == Some(&1), "{module} {kind} {subject}: {counts:#?}");
    }
    let root = &steps[0];
    ensure!(root["outcome"]["state"] == "answered" && root["subject"] == "order.rpc.place.v1", "{root:#}");
    ensure!(root["payload"]["payment_token"] == "***" && root["payload"]["shipping_address"] == "***", "{root:#}");
    ensure!(root["payload"]["lines"][0]["quantity"] == 1, "{root:#}");
    ensure!(told["open"] == json!([]), "{told:#}");
    Ok(())
}

async fn people_can_read_it(shop: &Shop, order_id: &str) -> Result<()> {
    for args in [&["order", order_id, "--payloads"][..], &["trace", TRACE, "--ascii", "--width", "80"]] {
        let told = shop.store.run(args).await?.success()?.stdout;
        has_no_canary(&told)?;
        ensure!(!told.contains('\u{1b}'), "colours where nobody sees them: {told}");
        ensure!(told.contains("order.rpc.place.v1") && told.contains(TRACE), "{told}");
        ensure!(told.contains("answered 20"), "{told}");
        let waterfall = told.split_once(" on its way ").context("no legend")?.1;
        let widest = waterfall.lines().map(|line| line.chars().count()).max();
        ensure!(!args.contains(&"--ascii") || widest.is_some_and(|widest| widest <= 80), "{widest:?}: {told}");
        if args.contains(&"--ascii") {
            ensure!(told.is_ascii(), "{told}");
        }
    }
    Ok(())
}

async fn what_is_not_there_is_said(shop: &Shop, order_id: &str) -> Result<()> {
    let nothing = "0".repeat(32);
    for (args, said) in [
        (["order", "ord_00000000000000000000000000"], "there is no order ord_0000"),
        (["order", "not an id"], "is not the id of an order"),
        (["trace", nothing.as_str()], "no input of the trace"),
        (["trace", "msg_nothing"], "no module has handled"),
        (["trace", order_id], "pangaea order"),
    ] {
        let refused = shop.store.run(&args).await?.failure()?;
        ensure!(refused.status.code() == Some(1) && refused.stdout.is_empty(), "{args:?}: {}", refused.stdout);
        ensure!(refused.stderr.contains(said), "{args:?}: {}", refused.stderr);
    }
    // The beginning of an id is enough, where no other begins so; two orders share the digits of the year.
    let by_prefix = read(shop, &["order", &order_id[..order_id.len() - 2], "--json"]).await?;
    ensure!(by_prefix["query"]["order_id"] == order_id, "{by_prefix:#}");
    let other = shop.confirmed(&shop.new_sku(1, 100).await?, 1).await?;
    let refused = shop.store.run(&["order", "ord_0"]).await?.failure()?;
    let other_id = other["id"].as_str().context("an id")?;
    ensure!(refused.stderr.contains(order_id) && refused.stderr.contains(other_id), "{}", refused.stderr);

    // Without order's own database, what the others know; without any, nothing.
    let parts = shop.store.run(&["order", order_id, "--json", "--modules", "product,payment"]).await?.success()?;
    ensure!(parts.stderr.contains("warning: order is not read"), "{}", parts.stderr);
    let parts: Value = serde_json::from_str(&parts.stdout)?;
    ensure!(parts["order"].is_null() && parts["modules_read"] == json!(["payment", "product"]), "{parts:#}");
    let subjects: Vec<_> = parts["steps"].as_array().context("steps")?.iter().map(|step| &step["subject"]).collect();
    ensure!(subjects.iter().any(|subject| *subject == "order.cmd.payment.authorize.v1"), "{subjects:?}");
    let nowhere = shop.store.folder().join("nowhere");
    let url = format!("database.url=sqlite:{nowhere}/");
    let refused = shop.store.run(&["order", order_id, "--set", &url]).await?.failure()?;
    ensure!(refused.stderr.contains("no database can be read"), "{}", refused.stderr);
    ensure!(!std::path::Path::new(&nowhere).exists(), "looking has made a folder");
    Ok(())
}

/// A refund is another root of the same story; a cancellation that came too late is in no timeline.
async fn refunds_and_refusals_belong_to_it(shop: &Shop, order_id: &str) -> Result<()> {
    let cancel = shop.customer.post(&format!("/v1/orders/{order_id}/cancel"), json!({})).send().await?;
    cancel.expect(409)?;
    shop.staff.post(&format!("/v1/orders/{order_id}/refunds"), json!({})).send().await?.expect_any(&[201, 202])?;
    eventually("the refund", SETTLED_MAX, async || {
        let order = shop.staff.get(&format!("/v1/orders/{order_id}")).send().await?.expect(200)?.body;
        Ok((order["state"] == "refunded").then_some(()))
    })
    .await?;
    let told = read(shop, &["order", order_id, "--json"]).await?;
    let has = |told: &Value, subject: &str, state: &str| {
        let steps = told["steps"].as_array().into_iter().flatten();
        steps.filter(|step| step["subject"] == subject && step["outcome"]["state"] == state).count()
    };
    ensure!(has(&told, STEPS[13].2, "answered") == 1 && told["order"]["state"] == "refunded", "{told:#}");
    ensure!(has(&told, "payment.evt.refunded.v1", "handled") == 1, "{told:#}");
    ensure!(has(&told, "order.rpc.cancel.v1", "refused") == 0, "{told:#}");
    let scanned = read(shop, &["order", order_id, "--json", "--scan"]).await?;
    ensure!(has(&scanned, "order.rpc.cancel.v1", "refused") == 1, "{scanned:#}");
    Ok(())
}

/// While the provider is away the effect is under way and the deadline is set; a reader that is away leaves messages waiting.
async fn a_dead_provider_is_seen(shop: &mut Shop, code: &str) -> Result<()> {
    shop.store.provider().kill()?;
    let placed = ask_to_place(&shop.customer, &[(code, 1)], TOKEN).send().await?.expect(202)?;
    let order_id = placed.text_at("id")?.to_owned();
    let told = eventually("the effect to be tried again", SETTLED_MAX, async || {
        let told = read(shop, &["order", &order_id, "--json"]).await?;
        let steps = told["steps"].as_array().context("steps")?;
        let is_tried =
            steps.iter().any(|step| step["outcome"]["state"] == "under_way" && step["attempts"].as_u64() > Some(1));
        Ok(is_tried.then_some(told))
    })
    .await?;
    let steps = told["steps"].as_array().context("steps")?;
    ensure!(steps.iter().any(|step| step["kind"] == "timer" && step["outcome"]["state"] == "due"), "{told:#}");
    let text = shop.store.run(&["order", &order_id]).await?.success()?.stdout;
    has_no_canary(&text)?;
    ensure!(text.contains("waits now") && text.contains("an effect without a result"), "{text}");
    shop.store.provider().start()?;
    shop.settled(&shop.customer, &order_id).await?;

    shop.store.kill("product")?;
    let placed = ask_to_place(&shop.customer, &[(code, 1)], TOKEN).send().await?.expect(202)?;
    let order_id = placed.text_at("id")?.to_owned();
    let text = shop.store.run(&["order", &order_id]).await?.success()?.stdout;
    ensure!(text.contains("product order.cmd.product.reserve_stock.v1: published, and not handled for"), "{text}");
    shop.store.restart("product").await?;
    shop.settled(&shop.customer, &order_id).await?;
    Ok(())
}
