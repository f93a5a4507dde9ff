//! A provider that hangs, and what becomes of it at the other end of the chain.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pangaea_testkit::{Placement, Store, eventually};
use serde_json::json;

use super::load::Load;
use crate::Shop;

/// Small, so that the chain is full within seconds.
const EFFECTS_PENDING_MAX: usize = 64;
const READER_LAG_MAX: usize = 2_048;
/// What one batch of deliveries, and of timers, may add to the effects after the last look at their number.
const BATCH_MAX: usize = 256;
const RATE: &str = "300";
const SECONDS: &str = "30";
const SETTLE_SECONDS: &str = "60";
const CONNECTIONS: &str = "2000";

/// Lets the provider hang while orders come: payment's effects pile up to their bound, its readers pause, order's log is
/// read no further, and order sheds. Once the provider goes on, everything accepted is confirmed.
///
/// # Errors
/// What did not hold.
pub async fn backpressure(placement: Placement) -> Result<String> {
    let builder = Store::builder(placement)
        .set("EFFECTS__PENDING_MAX", &EFFECTS_PENDING_MAX.to_string())
        .set("WRITER__READER_LAG_MAX", &READER_LAG_MAX.to_string());
    let mut shop = Shop::open_with(builder).await?;
    let sku = shop.new_sku(1_000_000, 250).await?;
    shop.confirmed(&sku, 1).await?;
    let provider = shop.store.provider().id().context("the provider runs")?;
    signal(provider, "STOP")?;
    let more = ["--rate", RATE, "--duration-s", SECONDS, "--settle-s", SETTLE_SECONDS];
    let more = [&more[..], &["--connections", CONNECTIONS, "--in-flight", CONNECTIONS]].concat();
    let store = &shop.store;
    let (load, pending) = tokio::join!(Load::run(store, &sku.code, Duration::from_secs(240), &more), async {
        let pending = until_order_sheds(store).await;
        // It must go on in any case, or it could not be stopped either.
        signal(provider, "CONT")?;
        pending
    });
    let (load, pending) = (load?, pending?);
    let (accepted, shed) = (load.count("accepted")?, load.count("shed")?);
    let report = format!(
        "{placement}: {pending} effects pending at most {EFFECTS_PENDING_MAX} + a batch; {accepted} orders accepted and \
         confirmed, {shed} shed (Retry-After {} s); all settled {:.1} s after the start",
        load.at("retry_after_s"),
        load.number("/settled_s")?
    );
    println!("{report}");
    let bounds = EFFECTS_PENDING_MAX..=EFFECTS_PENDING_MAX + 2 * BATCH_MAX;
    ensure!(bounds.contains(&pending), "{pending} effects pending");
    ensure!(load.count("errors")? == 0, "orders without an answer to go by: {}", load.at("answers"));
    ensure!(load.at("all_settled") == &json!(true) && load.count("missing")? == 0, "an accepted order is lost");
    ensure!(load.count("confirmed")? == accepted, "{accepted} accepted, but {}", load.at("states"));
    shop.close().await?;
    Ok(report)
}

/// Waits until order turns clients away because payment is behind its log: how many effects payment has then.
async fn until_order_sheds(store: &Store) -> Result<usize> {
    let reason = "pangaea_shed_total{module=\"order\",reason=\"reader_lag\"}";
    let sheds = async || Ok(gauge(&store.metrics("order").await?, reason).map(|_| ()));
    eventually("order to shed for its reader's lag", Duration::from_secs(60), sheds).await?;
    let metrics = store.metrics("payment").await?;
    gauge(&metrics, "pangaea_effects_pending{module=\"payment\"}").context("payment's effects are not counted")
}

fn gauge(metrics: &str, line: &str) -> Option<usize> {
    let value = metrics.lines().find_map(|found| found.strip_prefix(line))?;
    value.trim().parse::<f64>().ok().map(|value| value as usize)
}

fn signal(process: u32, name: &str) -> Result<()> {
    let sent = Command::new("kill").args(["-s", name, &process.to_string()]).status().context("kill")?;
    ensure!(sent.success(), "SIG{name} could not be sent");
    Ok(())
}
