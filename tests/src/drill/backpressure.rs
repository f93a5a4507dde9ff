use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use pangaea_testkit::{Placement, Store, eventually};
use serde_json::json;

use super::load::Load;
use super::{Drill, Record};
use crate::Shop;

/// Small, so that the chain is full within seconds.
const EFFECTS_PENDING_MAX: usize = 64;
const READER_LAG_MAX: usize = 2_048;
/// What a batch of deliveries of each of two sources may add to the effects after the last look at their number.
const OVERSHOOT_MAX: usize = 2 * 256;
const SETTLE_SECONDS: &str = "60";
const CONNECTIONS: &str = "2000";

/// Lets the payment provider hang while orders come: payment's effects pile up to their bound, its readers pause, order's
/// log is read no further, and order sheds. Once the provider goes on, everything accepted is confirmed.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:\n  \
    cargo xtask drill backpressure --placement apart")]
pub struct Backpressure {
    #[arg(long, default_value_t = Placement::Apart)]
    pub placement: Placement,
    /// Orders a second
    #[arg(long, default_value_t = 150)]
    pub rate: u32,
    /// For how long they come
    #[arg(long, default_value_t = 30)]
    pub seconds: u32,
}

impl Drill for Backpressure {
    async fn run(&self, record: &mut Record) -> Result<()> {
        record.set("placement", self.placement.name());
        let builder = Store::builder(self.placement)
            .set("EFFECTS__PENDING_MAX", &EFFECTS_PENDING_MAX.to_string())
            .set("WRITER__READER_LAG_MAX", &READER_LAG_MAX.to_string());
        let mut shop = Shop::open_with(builder).await?;
        let sku = shop.new_sku(1_000_000, 250).await?;
        shop.confirmed(&sku, 1).await?;
        let provider = shop.store.provider().id().context("the provider runs")?;
        signal(provider, "STOP")?;
        let (rate, seconds) = (self.rate.to_string(), self.seconds.to_string());
        let more = ["--rate", &rate, "--duration-s", &seconds, "--settle-s", SETTLE_SECONDS];
        let more = [&more[..], &["--connections", CONNECTIONS, "--in-flight", CONNECTIONS]].concat();
        let store = &shop.store;
        let (load, pending) = tokio::join!(Load::run(store, &sku.code, Duration::from_secs(240), &more), async {
            let pending = until_order_sheds(store).await;
            // It must go on in any case, or it could not be stopped either.
            signal(provider, "CONT")?;
            pending
        });
        let (load, pending) = (load?, pending?);
        record.set("effects_pending", pending);
        for name in ["accepted", "confirmed", "shed", "errors"] {
            record.set(name, load.count(name)?);
        }
        record.set("retry_after_s", load.at("retry_after_s").clone());
        record.set("settled_after_start_s", load.number("/settled_s")?);
        let bounds = EFFECTS_PENDING_MAX..=EFFECTS_PENDING_MAX + OVERSHOOT_MAX;
        ensure!(bounds.contains(&pending), "{pending} effects pending");
        ensure!(load.count("errors")? == 0, "orders without an answer to go by: {}", load.at("answers"));
        ensure!(load.at("all_settled") == &json!(true) && load.count("missing")? == 0, "an accepted order is lost");
        let accepted = load.count("accepted")?;
        ensure!(load.count("confirmed")? == accepted, "{accepted} accepted, but {}", load.at("states"));
        shop.close().await
    }
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
