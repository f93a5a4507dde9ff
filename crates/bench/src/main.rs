//! `cargo xtask bench`: what the store costs, measured on this machine.
//!
//! Every claim about speed is a figure of one of these, with what it is compared to measured in the same run. The store is
//! a process of the release program; the load generator is this one, on the same cores. Orders count when they are
//! *confirmed*, and a run counts when `pangaea verify` is green after it.

mod apart;
mod bus;
mod byhand;
mod machine;
mod memory;
mod orders;
mod place;
mod reads;
mod replay;
mod saga;
mod settings;
mod shadow;
mod sheet;
mod size;
mod tax;
mod telemetry;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser};

/// The store's: the load generator and what is written by hand are not to be slower for another one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Benchmarks of the store
#[derive(Parser)]
#[command(
    name = "cargo xtask bench",
    after_help = "Examples:\n  \
    cargo xtask bench saga\n  \
    cargo xtask bench saga --orders 2000 --runs 3 --dir /mnt/disk/bench --json\n  \
    cargo xtask bench ring\n\n\
    Let nothing else run meanwhile: the load average before the bench is in the figures."
)]
enum Bench {
    /// Confirmed orders a second and their latency, together on SQLite
    Saga(saga::SagaArgs),
    /// The store beside a hand-written program of the same saga
    Tax(tax::TaxArgs),
    /// The same apart, on NATS and PostgreSQL, beside pgbench
    Apart(apart::ApartArgs),
    /// NATS: append, pull and acknowledge, beside async-nats by hand
    Nats(bus::BusArgs),
    /// The memory bus: rows from the ring to a reader
    Ring(bus::BusArgs),
    /// Cold start, idle memory, and growth under load
    Memory(memory::MemoryArgs),
    /// An order's cost in a small and in a large store
    Size(size::SizeArgs),
    /// Reading products, beside a bare axum route
    Reads(reads::ReadsArgs),
    /// What exporting a tenth of the traces costs
    Telemetry(telemetry::TelemetryArgs),
    /// Inputs a second through the handlers again, and memory of a longer recording
    Replay(replay::ReplayArgs),
    /// What a shadow of order beside the store costs, at half the highest rate
    Shadow(shadow::ShadowArgs),
    #[command(hide = true)]
    BareRoute(reads::BareArgs),
}

/// What every benchmark takes.
#[derive(Args, Clone)]
struct Common {
    /// Runs; the figures are their median, least and most
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// A folder on a disk; stores of a bench before are removed from it
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    dir: PathBuf,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Bench::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(bench: Bench) -> Result<()> {
    if cfg!(debug_assertions) {
        eprintln!("bench: this is a debug build; use `cargo xtask bench` for figures that mean something");
    }
    let (common, sheet) = match bench {
        Bench::Saga(args) => (args.common.clone(), saga::run(args).await?),
        Bench::Tax(args) => (args.common.clone(), tax::run(args).await?),
        Bench::Apart(args) => (args.common.clone(), apart::run(args).await?),
        Bench::Nats(args) => (args.common.clone(), bus::nats(args).await?),
        Bench::Ring(args) => (args.common.clone(), bus::ring(args).await?),
        Bench::Memory(args) => (args.common.clone(), memory::run(args).await?),
        Bench::Size(args) => (args.common.clone(), size::run(args).await?),
        Bench::Reads(args) => (args.common.clone(), reads::run(args).await?),
        Bench::Telemetry(args) => (args.common.clone(), telemetry::run(args).await?),
        Bench::Replay(args) => (args.common.clone(), replay::run(args).await?),
        Bench::Shadow(args) => (args.common.clone(), shadow::run(args).await?),
        Bench::BareRoute(args) => return reads::bare_route(args).await,
    };
    sheet.print(common.json)
}
