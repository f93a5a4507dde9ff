use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use pangaea_testkit::{Placement, Store};
use serde_json::json;

use super::load::Load;
use super::{Drill, Record};
use crate::{Shop, Sku};

/// Enough for every order of the longest run.
const UNITS: i64 = 1_000_000_000;
const CLOSED_WORKERS: &str = "256";
const CLOSED_SECONDS: u64 = 5;
/// A store does more the more waits, because a batch costs little more than an order. So what a closed loop reaches is
/// corrected by what the store confirms when it is offered three times that, so often at most.
const PROBES_MAX: u64 = 4;
const PROBE_SECONDS: u64 = 5;
const OFFERS_MAX: u64 = 3;
/// More than may wait in the store at once.
const CONNECTIONS: &str = "4000";
/// Every accepted order is settled so long after the last one was sent.
const SETTLE_SECONDS: u64 = 60;
/// As is the default: what a command may be expected to wait.
const WAIT_MS_MAX: u64 = 1_000;
/// The wait, and what comes on top of it: batches under way, and a machine that the generator of the load shares.
const ACCEPT_P99_MS_MAX: f64 = (WAIT_MS_MAX * 6) as f64;
/// What bounded queues, logs and maps of all modules may hold together, and what the allocator keeps.
const GROWTH_MIB_MAX: u64 = 768;

/// Finds the highest rate at which the store confirms orders, and offers three times that in an open loop. The store sheds
/// with 503 and `Retry-After`, answers what it accepts in bounded time, and finishes all of it.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  \
    cargo xtask drill overload\n  \
    cargo xtask drill overload --seconds 300 --placement apart")]
pub struct Overload {
    /// For how long orders come at three times the rate
    #[arg(long, default_value_t = 60)]
    pub seconds: u64,
    #[arg(long, default_value_t = Placement::TogetherMemory)]
    pub placement: Placement,
}

impl Drill for Overload {
    async fn run(&self, record: &mut Record) -> Result<()> {
        record.set("placement", self.placement.name());
        let builder = Store::builder(self.placement).set("WRITER__WAIT_MS_MAX", &WAIT_MS_MAX.to_string());
        let shop = Shop::open_with(builder).await?;
        let sku = shop.new_sku(UNITS, 100).await?;
        let mut sustained = self.sustained_rate(&shop, &sku, record).await?;
        let before = memory_mib(&shop.store)?;
        record.set("memory_before_mib", before);
        let mut offers = 0;
        let load = loop {
            let what = format!("{sustained:.0} orders a second are sustained; three times that for {} s", self.seconds);
            record.progress(what);
            // A seed of its own for each, apart from those of the probes.
            let load = offer(&shop, &sku, PROBES_MAX + 1 + offers, sustained * 3.0, self.seconds).await?;
            offers += 1;
            let confirmed = load.number("/confirmed_per_s")?;
            // All of it was taken: the rate was found while something else had the machine, and this was no overload.
            if load.count("shed")? > 0 || offers == OFFERS_MAX || confirmed <= sustained {
                break load;
            }
            sustained = confirmed;
        };
        record.set("sustained_per_s", sustained.round());
        let after = memory_mib(&shop.store)?;
        record.set("memory_after_mib", after);
        note(&load, record)?;
        record.set("shed_by_reason", shed_reasons(&shop.store).await?);
        judge(&load)?;
        ensure!(after < before + GROWTH_MIB_MAX, "memory grew from {before} to {after} MiB");
        shop.stock_becomes(&sku, (UNITS - i64::try_from(sold(&shop)?)?, 0)).await?;
        shop.close().await
    }
}

// === impl Overload ===

impl Overload {
    async fn sustained_rate(&self, shop: &Shop, sku: &Sku, record: &Record) -> Result<f64> {
        let seconds = CLOSED_SECONDS.to_string();
        let closed = ["--closed", CLOSED_WORKERS, "--duration-s", &seconds, "--seed", "1000"];
        let closed = Load::run(&shop.store, &sku.code, Duration::from_secs(CLOSED_SECONDS + 240), &closed).await?;
        let mut sustained = closed.number("/confirmed_per_s")?;
        for probe in 1..=PROBES_MAX {
            record.progress(format!("{sustained:.0} orders a second are confirmed; offering three times that"));
            let load = offer(shop, sku, probe, sustained * 3.0, PROBE_SECONDS).await?;
            sustained = sustained.max(load.number("/confirmed_per_s")?);
            if load.count("shed")? > 0 {
                break;
            }
        }
        Ok(sustained)
    }
}

/// Each with a seed of its own: the same seed would be the same orders.
async fn offer(shop: &Shop, sku: &Sku, seed: u64, rate: f64, seconds: u64) -> Result<Load> {
    let within = Duration::from_secs(seconds + SETTLE_SECONDS + 60);
    let (seed, rate, seconds) = (seed.to_string(), format!("{rate:.1}"), seconds.to_string());
    let settle = SETTLE_SECONDS.to_string();
    let more = ["--rate", &rate, "--duration-s", &seconds, "--settle-s", &settle, "--seed", &seed];
    let more = [&more[..], &["--connections", CONNECTIONS, "--in-flight", CONNECTIONS]].concat();
    Load::run(&shop.store, &sku.code, within, &more).await
}

fn note(load: &Load, record: &mut Record) -> Result<()> {
    for count in ["sent", "not_sent", "accepted", "shed", "errors", "confirmed", "missing"] {
        record.set(count, load.count(count)?);
    }
    record.set("retry_after_s", load.at("retry_after_s").clone());
    for (name, pointer) in [
        ("accept_p50_ms", "/accept/p50_ms"),
        ("accept_p99_ms", "/accept/p99_ms"),
        ("accept_max_ms", "/accept/max_ms"),
        ("confirm_p99_ms", "/confirm/p99_ms"),
        ("settled_after_start_s", "/settled_s"),
    ] {
        record.set(name, (load.number(pointer)? * 10.0).round() / 10.0);
    }
    Ok(())
}

fn judge(load: &Load) -> Result<()> {
    ensure!(load.count("shed")? > 0, "nothing was shed");
    ensure!(load.count("errors")? == 0, "orders without an answer to go by: {}", load.at("answers"));
    let answers = load.at("answers").as_object().context("no answers are counted")?;
    ensure!(answers.keys().all(|answer| answer == "503 Too much is waiting already"), "{answers:?}");
    ensure!(load.at("all_settled") == &json!(true) && load.count("missing")? == 0, "an accepted order is lost");
    let accepted = load.count("accepted")?;
    ensure!(load.count("confirmed")? == accepted, "{accepted} accepted, but {}", load.at("states"));
    let p99_ms = load.number("/accept/p99_ms")?;
    ensure!(p99_ms <= ACCEPT_P99_MS_MAX, "accepting took {p99_ms:.0} ms at p99");
    Ok(())
}

/// By the provider's own ledger, at one unit an order.
fn sold(shop: &Shop) -> Result<usize> {
    let ledger = shop.store.ledger()?;
    ensure!(ledger.double_captures.is_empty(), "charged twice: {:?}", ledger.double_captures);
    let entries = shop.store.ledger_entries()?;
    Ok(entries.iter().filter(|entry| entry.kind == pangaea_simulator::EntryKind::Captured).count())
}

/// What order's process says was in the way of those it shed.
async fn shed_reasons(store: &Store) -> Result<String> {
    let metrics = store.metrics("order").await?;
    let lines = metrics.lines().filter_map(|line| line.strip_prefix("pangaea_shed_total"));
    Ok(lines.collect::<Vec<_>>().join(", "))
}

/// Resident memory of the store's processes.
fn memory_mib(store: &Store) -> Result<u64> {
    let of = |process: u32| -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("a process without VmRSS")?;
        Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()?)
    };
    let kib = store.process_ids().into_iter().map(of).sum::<Result<u64>>()?;
    Ok(kib / 1024)
}
