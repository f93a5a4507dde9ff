use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use pangaea_journal::{Database, DatabaseOptions};
use pangaea_replay::{Canonical, canonical};
use pangaea_testkit::{Placement, Store, StoreBuilder, eventually};
use serde_json::json;

use super::{Drill, Record};
use crate::{Shop, ask_to_place};

/// Of a workload: one after the other, each of a SKU of its own, so that nothing depends on who comes first.
const ORDERS: usize = 8;
const PRICE_PENCE: i64 = 250;
const WAIT_SECONDS: u32 = 30;
/// User is left out: its hashes and sealed data are random in every store.
const MODULES: [&str; 3] = ["product", "order", "payment"];
const QUIET_MAX: Duration = Duration::from_secs(60);
/// Between two looks that must show the same.
const QUIET: Duration = Duration::from_secs(1);

/// Hands every message on three times and starts the relays again at random places: a store does the same as without.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  \
    cargo xtask drill redelivery\n  \
    cargo xtask drill redelivery --count 20")]
pub struct Redelivery {
    /// How many runs with faults, after one without
    #[arg(long, default_value_t = 1)]
    pub count: u32,
    #[arg(long, default_value_t = Placement::Apart)]
    pub placement: Placement,
    /// What decides where the relays start again, in the first run; the next one's follows
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

impl Drill for Redelivery {
    async fn run(&self, record: &mut Record) -> Result<()> {
        record.set("placement", self.placement.name());
        record.progress("a run without faults");
        let plain = workload(Store::builder(self.placement), record).await.context("without faults")?;
        record.set("lines", plain.lines().len());
        record.set("digest", plain.digest());
        for run in 0..u64::from(self.count) {
            let faults = format!("redeliver:3 restart_relay:{}", self.seed + run);
            record.progress(&faults);
            let builder = Store::builder(self.placement).variable("PANGAEA_FAULTS", &faults);
            let (duplicates, restarts) = (record.counted("duplicates"), record.counted("relay_restarts"));
            let faulted = workload(builder, record).await.with_context(|| faults.clone())?;
            ensure!(record.counted("duplicates") > duplicates, "{faults}: nothing was delivered again");
            ensure!(record.counted("relay_restarts") > restarts, "{faults}: no relay started again");
            if let Some(difference) = plain.difference(&faulted) {
                anyhow::bail!("{faults}: another digest, {}; {difference}", faulted.digest());
            }
            record.count("runs_with_the_same_digest");
        }
        Ok(())
    }
}

/// Confirmed, declined and refunded orders, then what the store holds and has said.
async fn workload(builder: StoreBuilder, record: &mut Record) -> Result<Canonical> {
    let shop = Shop::open_with(builder).await?;
    for number in 0..ORDERS {
        let code = format!("REPLAY-{number}");
        shop.new_sku_as(&code, 10, PRICE_PENCE).await?;
        let token = if number % 4 == 3 { "tok_declined" } else { "tok_ok" };
        let placed = ask_to_place(&shop.customer, &[(&code, 2)], token).wait(WAIT_SECONDS).send().await?;
        let order = shop.settled(&shop.customer, placed.expect_any(&[200, 202])?.text_at("id")?).await?;
        let expected = if token == "tok_ok" { "confirmed" } else { "cancelled" };
        ensure!(order["state"] == expected, "{order}");
        if number % 4 == 1 {
            let id = order["id"].as_str().context("an order without an id")?;
            let refund = shop.staff.post(&format!("/v1/orders/{id}/refunds"), json!({}));
            refund.send().await?.expect_any(&[200, 201, 202])?;
            eventually("the refund", QUIET_MAX, async || {
                let order = shop.staff.get(&format!("/v1/orders/{id}")).send().await?.expect(200)?.body;
                Ok((order["state"] == "refunded").then_some(()))
            })
            .await?;
        }
    }
    let seen = quiet(&shop).await?;
    for module in MODULES {
        let metrics = shop.store.metrics(module).await?;
        add(record, "duplicates", sum(&metrics, "pangaea_bus_duplicates_total"));
        add(record, "relay_restarts", sum(&metrics, "pangaea_bus_relay_dropped_pipelines_total"));
    }
    shop.close().await?;
    Ok(seen)
}

/// Waits until nothing changes any more.
async fn quiet(shop: &Shop) -> Result<Canonical> {
    let url = shop.store.env("DATABASE__URL").context("no database")?.to_owned();
    let mut databases = Vec::new();
    for module in MODULES {
        let options = DatabaseOptions { url: url.clone(), read_connections_max: 1, synchronous_full: true };
        databases.push(Database::open(module, &options).await?);
    }
    let mut last = canonical(&databases).await?;
    eventually("the store to be quiet", QUIET_MAX, async || {
        tokio::time::sleep(QUIET).await;
        let now = canonical(&databases).await?;
        let is_quiet = now == last;
        last = now;
        Ok(is_quiet.then_some(()))
    })
    .await?;
    for database in databases {
        database.close().await;
    }
    Ok(last)
}

fn add(record: &mut Record, name: &str, more: u64) {
    let sum = record.counted(name) + more;
    record.set(name, sum);
}

/// The sum of a counter over its labels.
fn sum(metrics: &str, name: &str) -> u64 {
    let of_name = metrics.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
    of_name.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
}
