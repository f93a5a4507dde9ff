//! Placing orders, and seeing that every one of them was confirmed.

use std::num::NonZeroU64;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use pangaea::load::{self, Mode, Plan, Report, Shop};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// Products of the bench catalogue, one SKU each.
const PRODUCTS: usize = 200;
const STOCK: u64 = 100_000_000;
/// Orders placed before the clock runs: connections are open, pages are in memory, as in a store that has run for a while.
pub(crate) const WARM_UP_ORDERS: u64 = 200;
const SETTLE: Duration = Duration::from_secs(300);
const PROJECTION_PATIENCE: Duration = Duration::from_secs(30);

/// As many orders at once as `workers` can place, `orders` in all.
///
/// # Errors
/// When one of them was not accepted, or not confirmed.
pub(crate) async fn at_full_load(shop: &Shop, seed: u64, orders: u64, workers: u32) -> Result<Report> {
    let plan = Plan { orders: NonZeroU64::new(orders), ..plan(Mode::Closed { workers }, seed) };
    let report = load::measure(shop, plan, SETTLE, true).await?;
    all_confirmed(&report, Some(orders))?;
    Ok(report)
}

/// Arrivals at this rate, whatever the store answers.
///
/// # Errors
/// When one that was accepted was not confirmed, or one could not be sent.
pub(crate) async fn at_rate(shop: &Shop, seed: u64, rate: f64, lasting: Duration) -> Result<Report> {
    let mode = Mode::Open { rate, fixed: false, in_flight_max: 1_024 };
    let report = load::measure(shop, Plan { duration: Some(lasting), ..plan(mode, seed) }, SETTLE, true).await?;
    all_confirmed(&report, None)?;
    if report.not_sent > 0 {
        bail!("{} arrivals could not be sent: the latency would not be that of the rate", report.not_sent);
    }
    Ok(report)
}

fn plan(mode: Mode, seed: u64) -> Plan {
    Plan {
        mode,
        seed,
        orders: None,
        duration: None,
        codes: codes().collect(),
        lines_max: 3,
        quantity_max: 2,
        payment_token: "tok_ok".to_owned(),
    }
}

/// A figure counts only if nothing of it was lost, refused or left undone.
fn all_confirmed(report: &Report, expected: Option<u64>) -> Result<()> {
    let wanted = expected.unwrap_or(report.accepted);
    let whole = report.is_ok() && report.errors == 0 && report.refused == 0 && report.replayed == 0;
    if whole && report.confirmed == wanted && report.accepted == wanted {
        return Ok(());
    }
    bail!("not every order was confirmed, so there is no figure:\n{report}")
}

fn codes() -> impl Iterator<Item = String> {
    (1..=PRODUCTS).map(|number| format!("BENCH-{number:04}"))
}

/// Brings the catalogue in and waits until its last SKU can be ordered: order learns prices from product's events.
///
/// # Errors
/// When it is refused, or its prices do not arrive.
pub(crate) async fn catalogue(shop: &Shop) -> Result<()> {
    let products: Vec<Value> = (1..).zip(codes()).map(|(number, code)| product(number, &code)).collect();
    let answer = shop.post("/v1/products/bulk", "bench-catalogue", &json!({ "products": products })).await?;
    let results = answer.get("results").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if let Some(refused) = results.iter().find(|result| result.get("error").is_some_and(|error| !error.is_null())) {
        bail!("the catalogue was not taken: {refused}");
    }
    if results.len() != PRODUCTS {
        bail!("the store answered for {} products of {PRODUCTS}", results.len());
    }
    let last = codes().last().context("the catalogue is empty")?;
    let begun = Instant::now();
    for number in 0_u64.. {
        let order = json!({ "lines": [{ "sku": last, "quantity": 1 }], "payment_token": "tok_ok" });
        match shop.post("/v1/orders", &format!("bench-probe-{number}"), &order).await {
            Ok(_) => break,
            Err(error) if begun.elapsed() > PROJECTION_PATIENCE => {
                return Err(error.context("the catalogue's prices do not arrive at order"));
            }
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
    Ok(())
}

fn product(number: i64, code: &str) -> Value {
    json!({
        "name": format!("Bench product {number}"),
        "description": "Made to be ordered often.",
        "categories": ["bench"],
        "variants": [{ "code": code, "options": {}, "price": { "amount": 100 + number, "currency": "GBP" }, "stock": STOCK }],
    })
}
