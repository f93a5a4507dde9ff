//! One order, one trace: a collector gets the spans of four processes, and every one of them knows its parent.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pangaea_simulator::{EntryKind, LedgerEntry};
use pangaea_testkit::{Placement, Store, StoreBuilder, eventually};
use pangaea_tests::{Collector, Shop, Sku, Trace, order_body, settled};

/// The exporters send every second.
const EXPORTED_MAX: Duration = Duration::from_secs(20);
const SETTLED_MAX: Duration = Duration::from_secs(60);

/// Of a confirmed order, whatever the placement.
const ALWAYS: [&str; 19] = [
    "POST /v1/orders",
    "queue order",
    "handle order.rpc.place.v1",
    "commit order",
    "handle order.cmd.product.reserve_stock.v1",
    "queue product",
    "commit product",
    "handle product.evt.stock_reserved.v1",
    "handle order.cmd.payment.authorize.v1",
    "queue payment",
    "commit payment",
    "effect payment.eff.authorize.v1",
    "try payment.eff.authorize.v1",
    "handle payment.eff.authorize.v1",
    "handle payment.evt.authorized.v1",
    "effect payment.eff.capture.v1",
    "try payment.eff.capture.v1",
    "handle payment.evt.captured.v1",
    "handle order.cmd.product.commit_stock.v1",
];

/// Of a payment that waits for its payer: the wait itself, and what is done after it.
const TIMER: [&str; 2] = ["timer payment.tmr.action_poll.v1", "handle payment.tmr.action_poll.v1"];

fn traced(placement: Placement, collector: &Collector) -> StoreBuilder {
    Store::builder(placement).set("TELEMETRY__OTLP_ENDPOINT", &collector.endpoint())
}

async fn place(shop: &Shop, sku: &Sku, token: &str) -> Result<(String, String)> {
    let body = order_body(&[(&sku.code, 1)], token);
    let placed = shop.customer.post("/v1/orders", body).send().await?.expect(202)?;
    let traceparent = placed.required("traceparent")?.to_owned();
    let trace_id = traceparent.split('-').nth(1).context("a traceparent")?.to_owned();
    Ok((placed.text_at("id")?.to_owned(), trace_id))
}

/// Waits until the trace has all of `names`, then holds it to its parents.
async fn whole_trace(collector: &Collector, trace_id: &str, names: &[&str]) -> Result<Trace> {
    let whole = eventually("the spans of the order", EXPORTED_MAX, async || {
        let trace = collector.trace(trace_id);
        let has_all = names.iter().all(|name| trace.names().contains(name));
        Ok((has_all && trace.check_parents().is_ok()).then_some(trace))
    });
    whole.await.with_context(|| {
        let trace = collector.trace(trace_id);
        let missing: Vec<_> = names.iter().filter(|name| !trace.names().contains(*name)).collect();
        format!("missing {missing:?}; {:?}; came {:#?}", trace.check_parents(), trace.names())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn one_order_is_one_trace_through_four_processes() -> Result<()> {
    let collector = Collector::start().await?;
    let shop = Shop::open_with(traced(Placement::Apart, &collector)).await?;
    let sku = shop.new_sku(10, 250).await?;
    let (order, trace_id) = place(&shop, &sku, "tok_ok").await?;
    ensure!(settled(&shop.staff, &order, SETTLED_MAX).await?["state"] == "confirmed");
    let names = [&ALWAYS[..], &["append order", "append product", "append payment"]].concat();
    let trace = whole_trace(&collector, &trace_id, &names).await?;
    let services: Vec<_> = trace.services().into_iter().collect();
    ensure!(services == ["pangaea-order", "pangaea-payment", "pangaea-product"], "{services:?}");
    for span in &trace.0 {
        ensure!(span.end_unix_nano >= span.start_unix_nano, "{span:?}");
        ensure!(!span.is_error, "{span:?}");
    }
    // A sign-in is a trace of its own, of the fourth process.
    let of_user = async || {
        let mut spans = collector.all().into_iter();
        Ok(spans.any(|span| span.service == "pangaea-user" && span.name.starts_with("POST")).then_some(()))
    };
    eventually("a span of the user's process", EXPORTED_MAX, of_user).await?;
    shop.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_and_its_wait_are_seen_and_the_failed_try_is_an_error() -> Result<()> {
    let collector = Collector::start().await?;
    let shop = Shop::open_with(traced(Placement::TogetherMemory, &collector)).await?;
    let sku = shop.new_sku(10, 250).await?;
    let (order, trace_id) = place(&shop, &sku, "tok_charged_reply_lost").await?;
    ensure!(settled(&shop.staff, &order, SETTLED_MAX).await?["state"] == "confirmed");
    let names = [&ALWAYS[..], &["backoff payment.eff.authorize.v1"]].concat();
    let trace = whole_trace(&collector, &trace_id, &names).await?;
    let tries: Vec<_> = trace.named("try payment.eff.authorize.v1").collect();
    ensure!(tries.len() == 2, "{tries:#?}");
    ensure!(tries.iter().any(|span| span.is_error), "{tries:#?}");
    shop.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_leaves_no_gap_in_the_trace() -> Result<()> {
    let collector = Collector::start().await?;
    let mut shop = Shop::open_with(
        traced(Placement::Apart, &collector)
            .set("MODULES__ORDER__SETTINGS__ANSWER_TIMEOUT_MS", "3000")
            .set("MODULES__ORDER__SETTINGS__ANSWER_TRIES_MAX", "40"),
    )
    .await?;
    let sku = shop.new_sku(10, 250).await?;
    let mut placed = Vec::new();
    for victim in ["order", "product", "payment"] {
        placed.push(place(&shop, &sku, "tok_ok").await?);
        // At once: what it has committed has hardly been exported.
        shop.store.kill(victim)?;
        shop.store.restart(victim).await?;
    }
    for (order, trace_id) in placed {
        ensure!(settled(&shop.staff, &order, SETTLED_MAX).await?["state"] == "confirmed");
        let names: Vec<&str> = ALWAYS.into_iter().filter(|name| name.starts_with("handle")).collect();
        whole_trace(&collector, &trace_id, &names).await?;
    }
    let recovered = collector.all().iter().filter(|span| span.attributes.contains_key("pangaea.recovered")).count();
    ensure!(recovered > 0, "nothing was told again");
    shop.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timers_wait_is_seen_between_the_handlings_that_set_it_and_that_it_led_to() -> Result<()> {
    let collector = Collector::start().await?;
    let builder = traced(Placement::Apart, &collector).set("MODULES__PAYMENT__SETTINGS__ACTION_POLL_MS", "200");
    let mut shop = Shop::open_with(builder).await?;
    let sku = shop.new_sku(10, 250).await?;
    let (order, trace_id) = place(&shop, &sku, "tok_action_required").await?;
    shop.reaches(&shop.customer, &order, "action_required").await?;
    eventually("a timer's wait", EXPORTED_MAX, async || {
        Ok(collector.trace(&trace_id).named(TIMER[0]).next().map(|_| ()))
    })
    .await?;
    // Some more fire, which die before they are exported, and are told from the journal.
    tokio::time::sleep(Duration::from_millis(600)).await;
    shop.store.kill("payment")?;
    shop.store.restart("payment").await?;
    let waits = |entry: &LedgerEntry| entry.kind == EntryKind::ActionRequired && entry.reference == order;
    let intent = shop.store.ledger_entries()?.into_iter().find(waits).context("no intent")?.intent;
    let confirm = format!("/v1/payment_intents/{intent}/confirm");
    shop.store.provider_api()?.post(&confirm, serde_json::json!({})).send().await?.expect(200)?;
    ensure!(settled(&shop.staff, &order, SETTLED_MAX).await?["state"] == "confirmed");

    let trace = whole_trace(&collector, &trace_id, &[&ALWAYS[..], &TIMER].concat()).await?;
    let is_recovered = |span: &pangaea_tests::Span| span.attributes.contains_key("pangaea.recovered");
    ensure!(trace.named(TIMER[0]).any(is_recovered), "no timer was told again");
    for wait in trace.named(TIMER[0]) {
        let waited = Duration::from_nanos(wait.end_unix_nano - wait.start_unix_nano);
        // It is set and fires in whole milliseconds.
        ensure!(waited > Duration::from_millis(190) && waited < EXPORTED_MAX, "{waited:?}: {wait:?}");
        let set_by: Vec<_> = trace.0.iter().filter(|span| span.span_id == wait.parent_id).collect();
        ensure!(set_by.iter().all(|span| span.name.starts_with("handle ")), "{set_by:?}");
        let mut led_to = trace.named(TIMER[1]).filter(|span| span.parent_id == wait.span_id);
        ensure!(led_to.next().is_some(), "{wait:?} led to nothing");
    }
    shop.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_sampled_is_not_exported_and_failures_are() -> Result<()> {
    let collector = Collector::start().await?;
    let builder = traced(Placement::TogetherMemory, &collector).set("TELEMETRY__TRACE_SAMPLE_RATIO", "0.0");
    let shop = Shop::open_with(builder).await?;
    let sku = shop.new_sku(10, 250).await?;
    let (order, unsampled) = place(&shop, &sku, "tok_charged_reply_lost").await?;
    ensure!(settled(&shop.staff, &order, SETTLED_MAX).await?["state"] == "confirmed");
    eventually("the failed try", EXPORTED_MAX, async || {
        Ok(collector.all().iter().any(|span| span.is_error).then_some(()))
    })
    .await?;
    let others: Vec<_> = collector.all().into_iter().filter(|span| !span.is_error).collect();
    ensure!(others.is_empty(), "{others:#?}");
    ensure!(collector.trace(&unsampled).0.iter().any(|span| span.name == "try payment.eff.authorize.v1"));
    // A client that samples is followed.
    let sent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let body = order_body(&[(&sku.code, 1)], "tok_ok");
    let placed = shop.customer.post("/v1/orders", body).header("traceparent", sent).send().await?.expect(202)?;
    settled(&shop.staff, placed.text_at("id")?, SETTLED_MAX).await?;
    eventually("the client's trace", EXPORTED_MAX, async || {
        let trace = collector.trace("0af7651916cd43dd8448eb211c80319c");
        let is_the_clients = |span: &pangaea_tests::Span| span.parent_id == "b7ad6b7169203331";
        Ok(trace.named("POST /v1/orders").any(is_the_clients).then_some(()))
    })
    .await?;
    shop.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_costs_nothing_but_what_it_would_get() -> Result<()> {
    let nobody = format!("http://127.0.0.1:{}", pangaea_testkit::free_port());
    let builder = Store::builder(Placement::TogetherMemory)
        .set("TELEMETRY__OTLP_ENDPOINT", &nobody)
        .set("TELEMETRY__OTLP_LOGS", "true")
        .set("TELEMETRY__OTLP_METRICS", "true")
        .set("TELEMETRY__OTLP_METRICS_INTERVAL_S", "1");
    let shop = Shop::open_with(builder).await?;
    let sku = shop.new_sku(10, 250).await?;
    let (order, _) = place(&shop, &sku, "tok_ok").await?;
    ensure!(settled(&shop.staff, &order, SETTLED_MAX).await?["state"] == "confirmed");
    shop.close().await
}
