//! Orders at three times the rate that the store can sustain.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pangaea_testkit::{Placement, Store};
use serde_json::json;

use super::load::Load;
use crate::{Shop, Sku};

/// Enough for every order of the longest run.
const UNITS: i64 = 1_000_000_000;
const CLOSED_WORKERS: &str = "64";
const CLOSED_SECONDS: u64 = 6;
/// More than the store's bounds on what waits can ever hold.
const CONNECTIONS: &str = "4000";
/// Every accepted order is settled so long after the last one was sent.
const SETTLE_SECONDS: u64 = 60;
/// The configuration of this drill, as is the default: what an accepted order may be expected to wait.
const WAIT_MS_MAX: u64 = 1_000;
/// The slowest part of what comes on top of that wait: batches under way, and a machine that the generator of the load
/// shares.
const ACCEPT_P99_MS_MAX: f64 = (WAIT_MS_MAX * 6) as f64;
/// What bounded queues, logs and maps of all modules may hold together, and what the allocator keeps.
const GROWTH_KIB_MAX: u64 = 768 * 1024;

/// Finds the rate that a closed loop reaches, offers three times that in an open loop for `seconds`, and holds that the
/// store sheds, says when to come again, answers what it accepts in bounded time, and finishes all of it.
///
/// # Errors
/// What did not hold.
pub async fn overload(placement: Placement, seconds: u64) -> Result<String> {
    let builder = Store::builder(placement).set("WRITER__WAIT_MS_MAX", &WAIT_MS_MAX.to_string());
    let shop = Shop::open_with(builder).await?;
    let sku = shop.new_sku(UNITS, 100).await?;
    let sustained = sustained_rate(&shop, &sku).await?;
    let before = memory_kib(&shop.store)?;
    let rate = sustained * 3.0;
    let within = Duration::from_secs(seconds + SETTLE_SECONDS + 60);
    let (rate_text, seconds_text, settle) = (format!("{rate:.1}"), seconds.to_string(), SETTLE_SECONDS.to_string());
    let more = ["--rate", &rate_text, "--duration-s", &seconds_text, "--settle-s", &settle];
    let more = [&more[..], &["--connections", CONNECTIONS, "--in-flight", CONNECTIONS, "--seed", "2"]].concat();
    let load = Load::run(&shop.store, &sku.code, within, &more).await?;
    let after = memory_kib(&shop.store)?;

    let (sent, accepted, shed) = (load.count("sent")?, load.count("accepted")?, load.count("shed")?);
    let p99_ms = load.number("/accept/p99_ms")?;
    let report = format!(
        "{placement}: {sustained:.0} orders a second sustained; {rate:.0} offered for {seconds} s: {sent} sent, {accepted} \
         accepted, {shed} shed (Retry-After {} s), {} not sent; accepted p50 {:.0} ms, p99 {p99_ms:.0} ms, max {:.0} ms; \
         confirmed p99 {:.0} ms; all settled {:.1} s after the start; memory {} MiB before, {} MiB after",
        load.at("retry_after_s"),
        load.count("not_sent")?,
        load.number("/accept/p50_ms")?,
        load.number("/accept/max_ms")?,
        load.number("/confirm/p99_ms")?,
        load.number("/settled_s")?,
        before / 1024,
        after / 1024,
    );
    println!("{report}; {}", shed_reasons(&shop.store).await?);
    ensure!(shed > 0, "nothing was shed");
    ensure!(load.count("errors")? == 0, "orders without an answer to go by: {}", load.at("answers"));
    let answers = load.at("answers").as_object().context("answers")?;
    ensure!(answers.keys().all(|answer| answer == "503 Too much is waiting already"), "{answers:?}");
    ensure!(load.at("all_settled") == &json!(true) && load.count("missing")? == 0, "an accepted order is lost");
    ensure!(load.count("confirmed")? == accepted, "{accepted} accepted, but {}", load.at("states"));
    ensure!(p99_ms <= ACCEPT_P99_MS_MAX, "accepting took {p99_ms:.0} ms at p99");
    ensure!(after < before + GROWTH_KIB_MAX, "memory grew from {before} KiB to {after} KiB");
    let units = shop.stock(&sku).await?;
    ensure!(units.1 == 0, "units are still reserved: {units:?}");
    shop.close().await?;
    Ok(report)
}

async fn sustained_rate(shop: &Shop, sku: &Sku) -> Result<f64> {
    let seconds = CLOSED_SECONDS.to_string();
    let closed = ["--closed", CLOSED_WORKERS, "--duration-s", &seconds, "--seed", "1"];
    let load = Load::run(&shop.store, &sku.code, Duration::from_secs(CLOSED_SECONDS + 180), &closed).await?;
    load.number("/confirmed_per_s")
}

/// What order's process says was in the way of those it shed.
async fn shed_reasons(store: &Store) -> Result<String> {
    let metrics = store.metrics("order").await?;
    let lines = metrics.lines().filter_map(|line| line.strip_prefix("pangaea_shed_total"));
    Ok(format!("shed in all: {}", lines.collect::<Vec<_>>().join(", ")))
}

/// Resident memory of the store's processes, in KiB.
fn memory_kib(store: &Store) -> Result<u64> {
    let of = |process: u32| -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("a process without VmRSS")?;
        Ok(line.trim().trim_end_matches("kB").trim().parse()?)
    };
    store.process_ids().into_iter().map(of).sum()
}
