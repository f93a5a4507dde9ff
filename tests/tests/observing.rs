//! What a running process tells on its operations listener: metrics of bounded number, and logs whose levels can be changed;
//! and the same over OTLP, where that is wanted.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pangaea_testkit::{Placement, Store, eventually, workspace};
use pangaea_tests::{Collector, Shop, order_body, settled};
use serde_json::json;

const SETTLED_MAX: Duration = Duration::from_secs(60);

/// Only a store that sheds has it; `drills_overload` reads it.
const AFTER_OVERLOAD: &str = "pangaea_shed_total";

/// The metrics that `docs/observability.md` names, in the first column of its table.
fn documented() -> Result<BTreeSet<String>> {
    let text = std::fs::read_to_string(workspace().join("docs/observability.md"))?;
    let table = text.split("## Metrics").nth(1).and_then(|rest| rest.split("## Logs").next()).context("no metrics")?;
    let firsts = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('|').next());
    let names = firsts.flat_map(|cell| cell.split(['`', ',', ' '])).filter(|name| !name.is_empty());
    // A shadow has a listener of its own; `shadow.rs` looks there.
    let is_the_stores = |name: &&str| *name != AFTER_OVERLOAD && !name.starts_with("pangaea_shadow_");
    Ok(names.filter(is_the_stores).map(str::to_owned).collect())
}

/// The series of a scrape: names with their labels.
fn series(text: &str) -> BTreeSet<&str> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(key, _)| key)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_there_and_clients_cannot_make_more() -> Result<()> {
    let shop = Shop::open(Placement::Apart).await?;
    let sku = shop.new_sku(1_000, 250).await?;
    let place = async |count: usize| -> Result<()> {
        for number in 0..count {
            let token = if number % 5 == 0 { "tok_charged_reply_lost" } else { "tok_ok" };
            let body = order_body(&[(&sku.code, 1)], token);
            let placed = shop.customer.post("/v1/orders", body).send().await?.expect(202)?;
            settled(&shop.staff, placed.text_at("id")?, SETTLED_MAX).await?;
        }
        Ok(())
    };
    place(6).await?;
    let mut texts = Vec::new();
    for module in ["product", "order", "payment", "user"] {
        texts.push(shop.store.metrics(module).await?);
    }
    let all = texts.concat();
    let documented = documented()?;
    ensure!(documented.len() > 25, "the document's table is not read: {documented:?}");
    for name in &documented {
        ensure!(all.contains(&format!("# TYPE {name} ")), "{name} is not there");
    }
    let before = series(&texts[1]).len();
    // Paths, methods, keys and ids of the client's choosing.
    for number in 0..50 {
        let _ = shop.customer.get(&format!("/v1/orders/ord_{number}")).send().await?;
        let _ = shop.customer.get(&format!("/v1/nothing/{number}")).send().await?;
        let _ = shop.customer.call_named(&format!("MADEUP{number}"), "/v1/orders").send().await?;
    }
    place(20).await?;
    let after = shop.store.metrics("order").await?;
    let new: Vec<_> = series(&after).difference(&series(&texts[1])).map(|key| (*key).to_owned()).collect();
    // A few more routes and statuses; nothing that grows with the number of requests.
    ensure!(series(&after).len() <= before + 100, "{} series more: {new:#?}", series(&after).len() - before);
    ensure!(!after.contains("MADEUP") && !after.contains("ord_"), "a client's text is in a label");
    shop.close().await
}

/// Waits until order's own metrics tell of so many orders that are confirmed, and so many that found nothing in stock.
async fn told(shop: &Shop, confirmed: u32, sold_out: u32) -> Result<()> {
    let lines = [
        format!("pangaea_order_settle_seconds_count{{module=\"order\",outcome=\"confirmed\"}} {confirmed}"),
        format!("pangaea_order_settle_seconds_bucket{{module=\"order\",outcome=\"confirmed\",le=\"30\"}} {confirmed}"),
        format!("pangaea_order_settle_seconds_count{{module=\"order\",outcome=\"out_of_stock\"}} {sold_out}"),
        format!("pangaea_orders{{module=\"order\",state=\"confirmed\"}} {confirmed}"),
        format!("pangaea_orders{{module=\"order\",state=\"cancelled\"}} {sold_out}"),
        "pangaea_orders{module=\"order\",state=\"manual_review\"} 0".to_owned(),
    ];
    let all = eventually("the module's own metrics", SETTLED_MAX, async || {
        let text = shop.store.metrics("order").await?;
        let is_shown = |line: &String| text.lines().any(|shown| shown == line);
        Ok(lines.iter().all(is_shown).then_some(()))
    });
    all.await.with_context(|| format!("{lines:#?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_counts_once_in_the_modules_own_metrics_also_where_its_history_is_run_again() -> Result<()> {
    let shop = Shop::open(Placement::TogetherMemory).await?;
    let sku = shop.new_sku(3, 250).await?;
    // They are there before the first order is.
    told(&shop, 0, 0).await?;
    for _ in 0..3 {
        shop.confirmed(&sku, 1).await?;
    }
    let one_too_many = shop.place(&[(&sku.code, 1)], "tok_ok").await?;
    ensure!(one_too_many["state"] == "cancelled", "{one_too_many}");
    told(&shop, 3, 1).await?;

    let operations = shop.store.operations_of("order")?.base();
    let rebuilt = shop.store.run(&["rebuild", "order", "--operations", operations]).await?.success()?;
    ensure!(rebuilt.stdout.contains("each says what was said"), "{rebuilt:?}");
    shop.store.verify().await?;
    shop.confirmed(&shop.new_sku(1, 250).await?, 1).await?;
    told(&shop, 4, 1).await?;
    shop.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_with_the_orders_trace_and_every_metric_reach_the_collector() -> Result<()> {
    let collector = Collector::start().await?;
    let builder = Store::builder(Placement::Apart)
        .set("TELEMETRY__LOG_FILTER", "info,pangaea_runtime=debug")
        .set("TELEMETRY__OTLP_ENDPOINT", &collector.endpoint())
        .set("TELEMETRY__OTLP_LOGS", "true")
        .set("TELEMETRY__OTLP_METRICS", "true")
        .set("TELEMETRY__OTLP_METRICS_INTERVAL_S", "1")
        // Logs are not sampled.
        .set("TELEMETRY__TRACE_SAMPLE_RATIO", "0.0");
    let shop = Shop::open_with(builder).await?;
    let sku = shop.new_sku(1_000, 250).await?;
    // One try is lost, and a line says so: in another process than that which took the order.
    let body = order_body(&[(&sku.code, 1)], "tok_charged_reply_lost");
    let placed = shop.customer.post("/v1/orders", body).send().await?.expect(202)?;
    let trace_id = placed.required("traceparent")?.split('-').nth(1).context("a trace")?.to_owned();
    settled(&shop.staff, placed.text_at("id")?, SETTLED_MAX).await?;

    for (service, begins, attribute) in [
        ("pangaea-order", "answered", ("route", "/v1/orders")),
        ("pangaea-payment", "a try gave no outcome", ("subject", "payment.eff.authorize.v1")),
    ] {
        eventually(&format!("{begins:?} of {service}"), SETTLED_MAX, async || {
            let lines = collector.logs().into_iter().filter(|line| line.service == service && line.body == begins);
            let mut of_order = lines.filter(|line| line.trace_id == trace_id);
            Ok(of_order.any(|line| line.attributes.get(attribute.0).is_some_and(|is| is == attribute.1)).then_some(()))
        })
        .await?;
    }
    ensure!(collector.logs().iter().all(|line| !line.attributes.contains_key("trace_id")), "a trace in two places");

    let documented = documented()?;
    let missing = || {
        let came: BTreeSet<String> = collector.metrics().into_values().flatten().collect();
        documented.difference(&came).cloned().collect::<Vec<_>>()
    };
    let services = ["pangaea-order", "pangaea-payment", "pangaea-product", "pangaea-user"];
    eventually("every metric, from every process", SETTLED_MAX, async || {
        Ok((missing().is_empty() && collector.metrics().into_keys().eq(services)).then_some(()))
    })
    .await
    .with_context(|| format!("missing {:?}; from {:?}", missing(), collector.metrics().into_keys()))?;
    let mut of_all = BTreeSet::new();
    for (service, spoken) in collector.instances() {
        let instances: BTreeSet<&String> = spoken.iter().map(|(_, instance)| instance).collect();
        ensure!(spoken.len() >= 2 && instances.len() == 1, "{service} is one instance in all it exports: {spoken:?}");
        of_all.extend(instances.into_iter().cloned());
    }
    ensure!(of_all.len() == services.len() && !of_all.contains(""), "each process is one of its own: {of_all:?}");
    shop.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn levels_of_the_logs_change_while_it_runs_and_go_back_by_themselves() -> Result<()> {
    let store = Store::start(Placement::TogetherMemory).await?;
    let operations = store.operations_of("order")?;
    let configured = operations.get("/log-filter").send().await?.expect(200)?.body;
    ensure!(configured["filter"] == configured["configured"], "{configured}");

    let wrong = operations.call_named("PUT", "/log-filter").json(json!({ "filter": "inof" })).send().await?;
    wrong.expect_problem(422, "invalid")?;
    let log = store.folder().path().join("product+order+payment+user.log");
    let read = || std::fs::read_to_string(&log).with_context(|| log.display().to_string());
    ensure!(!read()?.contains("\"DEBUG\""), "nothing was to be logged at this level yet");

    let wanted = json!({ "filter": "debug", "lasts_s": 2 });
    let set = operations.call_named("PUT", "/log-filter").json(wanted).send().await?.expect(200)?.body;
    ensure!(set["filter"] == "debug" && set["configured"] == configured["configured"], "{set}");
    eventually("a line of that level, with its trace", SETTLED_MAX, async || {
        store.api().get("/v1/products?limit=1").send().await?.expect(200)?;
        Ok(read()?.lines().any(|line| line.contains("\"DEBUG\"") && line.contains("\"trace_id\"")).then_some(()))
    })
    .await?;
    eventually("what is configured", SETTLED_MAX, async || {
        let shown = operations.get("/log-filter").send().await?.expect(200)?.body;
        Ok((shown["filter"] == configured["configured"]).then_some(()))
    })
    .await?;
    store.stop().await
}
