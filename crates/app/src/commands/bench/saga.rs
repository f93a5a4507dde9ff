//! `pangaea bench saga`: orders from their placing to their confirmation, in one process on SQLite.

use std::io::Write;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::child::{Place, Store};
use super::machine::{self, Machine};
use super::table;
use crate::commands::load::{self, Mode, Plan, Report, Shop};

/// Products of the bench catalogue, one SKU each.
const PRODUCTS: usize = 200;
const STOCK: u64 = 100_000_000;
/// Orders placed before the clock runs: connections are open, pages are in memory, as in a store that has run for a while.
const WARM_UP_ORDERS: u64 = 200;
const SETTLE: Duration = Duration::from_secs(300);
const IDLE: Duration = Duration::from_secs(5);
const PROJECTION_PATIENCE: Duration = Duration::from_secs(30);

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    pangaea bench saga\n  \
    pangaea bench saga --orders 2000 --runs 3 --dir /mnt/disk/bench --json\n\n\
    Each run has a store of its own, in a folder of its own under --dir; what is there from before is removed.\n\
    The load generator runs on the same cores. Only confirmed orders count.")]
pub(crate) struct SagaArgs {
    /// Orders of a run
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(100..=1_000_000))]
    orders: u64,
    /// Runs at full load
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Workers that place orders at full load
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    workers: u32,
    /// How long to place orders at half the rate
    #[arg(long, value_name = "S", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    half_rate_s: u64,
    /// A folder on a disk
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    dir: PathBuf,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

/// Everything measured.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    pub(super) machine: Machine,
    /// Whether the figures mean anything.
    pub(super) optimised: bool,
    pub(super) orders: u64,
    pub(super) workers: u32,
    pub(super) journal_mode: &'static str,
    pub(super) synchronous: &'static str,
    pub(super) runs: Vec<Report>,
    pub(super) half_rate: Report,
    pub(super) cold_start_ms: Vec<f64>,
    pub(super) idle_mib: f64,
}

/// Measures, checks the store after every run, and prints the figures as a table for `docs/benchmarks.md`.
///
/// # Errors
/// When a store does not start, an order is lost or not confirmed, or an invariant is broken.
pub(super) async fn run(args: SagaArgs) -> Result<ExitCode> {
    let dir = prepared(&args.dir)?;
    let machine = tokio::task::spawn_blocking({
        let dir = dir.clone();
        move || Machine::look(&dir)
    });
    let machine = machine.await.context("looking at the machine failed")??;
    if cfg!(debug_assertions) {
        eprintln!("bench: this is a debug build; use `cargo xtask bench saga` for figures that mean something");
    }
    let (mut runs, mut cold_start_ms) = (Vec::new(), Vec::new());
    let mut last = None;
    for number in 1..=args.runs {
        let place = Place::new(&dir.join(format!("run-{number}")))?;
        let report = full_load(&place, &args, number).await?;
        eprintln!("bench: run {number} of {}: {:.1} confirmed a second", args.runs, report.confirmed_per_s);
        runs.push(report);
        // The store as it was left: ready again, with all its orders there.
        let store = place.start().await?;
        cold_start_ms.push(store.ready_after.as_secs_f64() * 1_000.0);
        match number == args.runs {
            true => last = Some((place, store)),
            false => store.stop().await?,
        }
    }
    let (place, store) = last.context("there was no run")?;
    sleep(IDLE).await;
    let idle_mib = machine::resident_mib(store.process_id()?)?;
    let half_rate = half_rate(&place, store, &args, table::spread(&runs).median / 2.0).await?;
    let journal_mode = machine::journal_mode(&place.database("order"))?;
    let figures = Figures {
        machine,
        optimised: !cfg!(debug_assertions),
        orders: args.orders,
        workers: args.workers,
        journal_mode,
        // A connection's own setting, so it cannot be read back from outside: it is what the store was started with.
        synchronous: "FULL",
        runs,
        half_rate,
        cold_start_ms,
        idle_mib,
    };
    let mut out = std::io::stdout().lock();
    match args.json {
        true => writeln!(out, "{}", serde_json::to_string_pretty(&figures)?)?,
        false => write!(out, "{}", table::markdown(&figures))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The folder, without the stores of a bench before.
fn prepared(dir: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(dir).with_context(|| format!("{} (--dir)", dir.display()))?;
    let dir = dir.canonicalize().with_context(|| dir.display().to_string())?;
    for entry in std::fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        let is_run = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| {
            name.strip_prefix("run-").is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
        });
        if is_run {
            std::fs::remove_dir_all(&path).with_context(|| path.display().to_string())?;
        }
    }
    Ok(dir)
}

/// A run: a new store, a catalogue, a warm-up, and then as many orders at once as the workers can place.
async fn full_load(place: &Place, args: &SagaArgs, number: u32) -> Result<Report> {
    let store = place.start().await?;
    let shop = Shop::sign_in(&place.store_args(), args.workers).await?;
    let codes = catalogue(&shop).await?;
    let plan = |seed: u64, orders: u64| Plan {
        mode: Mode::Closed { workers: args.workers },
        seed,
        orders: NonZeroU64::new(orders),
        duration: None,
        codes: codes.clone(),
        lines_max: 3,
        quantity_max: 2,
        payment_token: "tok_ok".to_owned(),
    };
    let warm_up = load::measure(&shop, plan(0, WARM_UP_ORDERS), SETTLE, false).await?;
    all_confirmed(&warm_up, Some(WARM_UP_ORDERS))?;
    let report = load::measure(&shop, plan(u64::from(number), args.orders), SETTLE, true).await?;
    all_confirmed(&report, Some(args.orders))?;
    stopped_and_sound(place, store).await?;
    Ok(report)
}

/// Arrivals at half the rate that the store can take, whatever it answers.
async fn half_rate(place: &Place, store: Store, args: &SagaArgs, rate: f64) -> Result<Report> {
    let shop = Shop::sign_in(&place.store_args(), args.workers).await?;
    let plan = Plan {
        mode: Mode::Open { rate, fixed: false, in_flight_max: 1_024 },
        seed: u64::from(args.runs) + 1,
        orders: None,
        duration: Some(Duration::from_secs(args.half_rate_s)),
        codes: codes().collect(),
        lines_max: 3,
        quantity_max: 2,
        payment_token: "tok_ok".to_owned(),
    };
    let report = load::measure(&shop, plan, SETTLE, true).await?;
    all_confirmed(&report, None)?;
    if report.not_sent > 0 {
        bail!(
            "at half the rate {} arrivals could not be sent: the latency would not be that of the rate",
            report.not_sent
        );
    }
    stopped_and_sound(place, store).await?;
    Ok(report)
}

async fn stopped_and_sound(place: &Place, store: Store) -> Result<()> {
    // Once live and once stopped: a stopped store hides nothing behind what is under way.
    place.verify().await?;
    store.stop().await?;
    place.verify().await.map(drop)
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
async fn catalogue(shop: &Shop) -> Result<Vec<String>> {
    let codes: Vec<String> = codes().collect();
    let products: Vec<Value> = (1..).zip(&codes).map(|(number, code)| product(number, code)).collect();
    let answer = shop.post("/v1/products/bulk", "bench-catalogue", &json!({ "products": products })).await?;
    let results = answer.get("results").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if let Some(refused) = results.iter().find(|result| result.get("error").is_some_and(|error| !error.is_null())) {
        bail!("the catalogue was not taken: {refused}");
    }
    if results.len() != codes.len() {
        bail!("the store answered for {} products of {}", results.len(), codes.len());
    }
    let last = codes.last().context("the catalogue is empty")?;
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
    Ok(codes)
}

fn product(number: i64, code: &str) -> Value {
    json!({
        "name": format!("Bench product {number}"),
        "description": "Made to be ordered often.",
        "categories": ["bench"],
        "variants": [{ "code": code, "options": {}, "price": { "amount": 100 + number, "currency": "GBP" }, "stock": STOCK }],
    })
}
