//! `pangaea verify`: what must be true of a store, asked of its databases and of the provider's ledger.
//!
//! It opens read pools only, so a live store goes on meanwhile. Between two databases a live store always shows something
//! half done; so a breach counts only if it is still there after every reader has passed the ends that were noted first.

mod books;
mod check;
mod journals;
mod ledger;
mod replays;
mod settle;
pub(super) mod stores;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use serde_json::json;
use tokio::time::Instant;

use self::check::Check;
use self::stores::Stores;
use super::ConfigArgs;
use super::served::once_served;
use crate::catalogue::Catalogue;

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    pangaea verify\n  \
    pangaea verify --config config/apart.toml\n  \
    pangaea verify --ledger data/provider-ledger.jsonl --json\n\n\
    Exit code: 0 when every invariant holds, 1 otherwise. Nothing is written; the store may run.")]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The provider's ledger; the configured one of the embedded simulator when not given
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// Report dead letters without calling them a breach
    #[arg(long)]
    allow_dead_letters: bool,
    /// How long a live store may take to pass what was found under way, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(0..=600_000))]
    settle_ms: u64,
    /// How long a database server that is not there yet is waited for, in seconds
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=600))]
    wait_s: u64,
    /// Leave the replay of the journals out, which takes a second for some ten thousand inputs
    #[arg(long)]
    no_replay: bool,
    /// Print the checks as JSON
    #[arg(long)]
    json: bool,
}

/// Checks, and prints a line for each check.
///
/// # Errors
/// When a database or the ledger is missing or cannot be read: that is no verdict on the store.
pub(super) async fn run(args: VerifyArgs, catalogue: &Catalogue) -> Result<ExitCode> {
    let config = args.config.load()?.config;
    let (ledger, allow) = (&args.ledger, args.allow_dead_letters);
    let open = async || Stores::open(&config, catalogue, ledger.clone(), allow).await;
    let deadline = Instant::now() + Duration::from_secs(args.wait_s);
    let stores = once_served(&config, deadline, open).await?;
    let settle = Duration::from_millis(args.settle_ms);
    let checks = async {
        let mut checks = persisting(&stores, settle).await?;
        if !args.no_replay {
            checks.extend(replays::look(&stores).await?);
        }
        anyhow::Ok(checks)
    };
    let checks = checks.await;
    stores.close().await;
    let checks = checks?;
    let ok = checks.iter().all(Check::is_ok);
    let mut out = std::io::stdout().lock();
    if args.json {
        let checks: Vec<_> = checks.iter().map(Check::json).collect();
        writeln!(out, "{:#}", json!({ "ok": ok, "checks": checks }))?;
    } else {
        for check in &checks {
            write!(out, "{check}")?;
        }
        let breached = checks.iter().filter(|check| !check.is_ok()).count();
        match breached {
            0 => writeln!(out, "{} checks: every invariant holds", checks.len())?,
            _ => writeln!(out, "{} checks: {breached} breached", checks.len())?,
        }
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The checks, with those breaches only that outlast the readers' passing of the ends noted before the first look.
async fn persisting(stores: &Stores, settle: Duration) -> Result<Vec<Check>> {
    let ends = settle::ends(stores).await?;
    let first = look(stores).await?;
    if first.iter().all(Check::is_ok) {
        return Ok(first);
    }
    let passed = settle::wait_for_readers(stores, &ends, settle).await?;
    let second = look(stores).await?;
    let note = (!passed)
        .then_some("the readers did not pass the ends first noted in time: a store that is stopped has work waiting");
    let pairs = second.into_iter().zip(&first);
    Ok(pairs.map(|(check, before)| check.persisting_since(before).with_note(note)).collect())
}

/// One look at everything; the same checks in the same order every time.
async fn look(stores: &Stores) -> Result<Vec<Check>> {
    // What the provider did comes first, what the modules believe of it afterwards: see `books`.
    let ledger = ledger::read(stores.ledger.as_deref()).await?;
    let mut checks = journals::look(stores).await?;
    for store in &stores.all {
        checks.extend(store.own_invariants().await?);
    }
    checks.extend(books::look(stores, ledger).await?);
    Ok(checks)
}
