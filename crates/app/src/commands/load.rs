//! `pangaea load`: orders placed at a rate of its own, whatever the store answers.
//!
//! Arrivals are an open loop: their times are fixed by the seed before any answer is known, and latency counts from the
//! intended moment. A store that stalls is thus charged for every order that should have been sent meanwhile, which a
//! closed loop of workers would leave out. The closed loop (`--closed`) is there to find the highest rate.

mod drive;
pub(super) mod histogram;
mod plan;
mod progress;
mod report;
mod settle;
mod shop;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::num::NonZeroU64;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use pangaea_kernel::{Clock, SystemClock};
use tokio::time::Instant;

pub use self::histogram::Quantiles;
pub use self::plan::{Mode, Plan};
pub use self::report::Report;
pub use self::shop::Shop;
use crate::retail::StoreArgs;

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    pangaea load --rate 50 --duration-s 10\n  \
    pangaea load --rate 200 --orders 2000 --seed 7 --json\n  \
    pangaea load --closed 64 --orders 5000\n  \
    pangaea load --sku TEA-EARL-GREY-100 --rate 500 --duration-s 1\n\n\
    The same seed gives the same orders under the same idempotency keys: repeated, they are answered and not placed again.\n\
    Exit code: 1 when an accepted order is missing or does not settle in time.")]
pub(crate) struct LoadArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// Orders a second
    #[arg(long, default_value_t = 50.0, value_parser = parse_rate)]
    rate: f64,
    /// How the moments of sending are chosen
    #[arg(long, value_enum, default_value_t = Arrivals::Exponential)]
    arrivals: Arrivals,
    /// For how long to send; without --orders 10 s
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    duration_s: Option<u64>,
    /// How many orders to send, at most 1,000,000
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=plan::ORDERS_MAX))]
    orders: Option<u64>,
    /// Decides arrivals, SKUs, quantities and idempotency keys; from the clock when not given, and printed
    #[arg(long)]
    seed: Option<u64>,
    /// Order only this SKU (repeat for more); any of the catalogue's when not given
    #[arg(long = "sku", value_name = "CODE")]
    skus: Vec<String>,
    /// Lines of an order, at most
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    lines_max: u64,
    /// Units of a line, at most
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    quantity_max: u64,
    /// The payment provider's token
    #[arg(long, default_value = "tok_ok")]
    payment_token: String,
    /// Connections to the store, at most
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// Orders without an answer at once; an arrival beyond it is counted and not sent
    #[arg(long, default_value_t = 1_024, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    in_flight: u32,
    /// So many workers, each sending its next order as soon as the last is answered, in place of a rate
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000), conflicts_with_all = ["rate", "arrivals", "in_flight"])]
    closed: Option<u32>,
    /// How long to wait for the accepted orders to settle
    #[arg(long, value_name = "S", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    settle_s: u64,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arrivals {
    /// Independent of each other, as customers are
    Exponential,
    /// Evenly spaced
    Fixed,
}

/// Sends, waits until all is settled, and prints what came of it.
///
/// # Errors
/// When the store cannot be reached, the sign-in is refused, or there is nothing to order.
pub(super) async fn run(args: LoadArgs) -> Result<ExitCode> {
    let json = args.json;
    let shop = Shop::sign_in(&args.store, args.closed.unwrap_or(args.connections)).await?;
    let codes = match args.skus.as_slice() {
        [] => shop.codes_available().await?,
        codes => codes.to_vec(),
    };
    if codes.is_empty() {
        bail!("the catalogue has nothing available to order; add products, or name one with --sku");
    }
    let settle = Duration::from_secs(args.settle_s);
    let plan = args.into_plan(codes);
    plan.check().map_err(anyhow::Error::msg)?;
    let report = measure(&shop, plan, settle, !json).await?;
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        write!(out, "{report}")?;
    }
    Ok(if report.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Sends a plan's orders and waits at most `settle` until those accepted are settled.
///
/// # Errors
/// When the store cannot be asked any more how the orders stand.
pub async fn measure(shop: &Shop, plan: Plan, settle: Duration, with_progress: bool) -> Result<Report> {
    let begun = Instant::now();
    let driven = drive::drive(shop, &plan, with_progress).await;
    let settled = settle::settle(shop, &plan, &driven.accepted, settle).await?;
    Ok(Report::new(&plan, begun, driven, settled))
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.01..=100_000.0).contains(&rate) => Ok(rate),
        _ => Err("write orders a second, 0.01 to 100000".to_owned()),
    }
}

// === impl LoadArgs ===

impl LoadArgs {
    fn into_plan(self, codes: Vec<String>) -> Plan {
        const DURATION_DEFAULT_S: u64 = 10;
        let duration = match (self.duration_s, self.orders) {
            (None, None) => Some(Duration::from_secs(DURATION_DEFAULT_S)),
            (seconds, _) => seconds.map(Duration::from_secs),
        };
        let mode = match self.closed {
            Some(workers) => Mode::Closed { workers },
            None => {
                Mode::Open { rate: self.rate, fixed: self.arrivals == Arrivals::Fixed, in_flight_max: self.in_flight }
            }
        };
        Plan {
            mode,
            seed: self.seed.unwrap_or_else(|| SystemClock.now().as_millis().unsigned_abs()),
            orders: self.orders.and_then(NonZeroU64::new),
            duration,
            codes,
            lines_max: self.lines_max,
            quantity_max: self.quantity_max,
            payment_token: self.payment_token,
        }
    }
}
