//! `pangaea dead-letters`: what could not be handled, looked at and dealt with in a running store.
//!
//! It asks the operations listener of a process, because only the writer of a module may touch its database.

mod show;

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use pangaea_kernel::http::percent_encoded;
use serde_json::{Value, json};

use super::ConfigArgs;
use super::operations::Operations;

#[derive(Subcommand)]
pub(crate) enum DeadLettersCommand {
    /// List dead letters and what is parked behind them
    List(ListArgs),
    /// Show one dead letter
    Show(ShowArgs),
    /// Handle dead letters again, in the order in which they died
    Redrive(DealArgs),
    /// Give dead letters up: their inputs are never handled
    Abandon(DealArgs),
}

/// The process that is asked.
#[derive(Args)]
struct Place {
    #[command(flatten)]
    config: ConfigArgs,
    /// Operations address of the process that runs the module; the configured operations.listen when not given
    #[arg(long, value_name = "URL")]
    operations: Option<String>,
    /// Only letters of this module; every module of the process when not given
    #[arg(long, value_name = "NAME")]
    module: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    pangaea dead-letters list\n  \
    pangaea dead-letters list --module payment --fingerprint 4tz9k2m0q8wd\n  \
    pangaea dead-letters list --operations http://127.0.0.1:9092 --json\n\n\
    In a split store every process has an operations address of its own.")]
pub(crate) struct ListArgs {
    #[command(flatten)]
    place: Place,
    /// Only those that failed alike
    #[arg(long, value_name = "TEXT")]
    fingerprint: Option<String>,
    /// Only those about this thing, e.g. an order's id
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Letters shown, at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    pangaea dead-letters show --id msg_06qm0z4k1ydr2y0mwp2v1cz3e8\n  \
    pangaea dead-letters show --id msg_06qm0z4k1ydr2y0mwp2v1cz3e8 --payload\n\n\
    A payload may hold personal data, so it is shown only when asked for.")]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    place: Place,
    /// The letter
    #[arg(long, value_name = "ID")]
    id: String,
    /// Show what the message says, too
    #[arg(long)]
    payload: bool,
}

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    pangaea dead-letters redrive --all --dry-run\n  \
    pangaea dead-letters redrive --fingerprint 4tz9k2m0q8wd\n  \
    pangaea dead-letters redrive --key ord_06qm0z4k1y3f7x2v9c8w5t6n4e\n  \
    pangaea dead-letters abandon --id msg_06qm0z4k1ydr2y0mwp2v1cz3e8\n\n\
    Each letter is a transaction of its own, so nothing is lost when one fails again: it stays, with its new error.\n\
    Letters of one key go in order: one that has an older one before it is not touched. Redriving a fingerprint takes\n\
    along what is parked behind its letters; an abandoned letter leaves what is parked behind it to be redriven.\n\n\
    Exit code: 0 when none of the chosen letters is left, 1 otherwise.")]
pub(crate) struct DealArgs {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    which: Which,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// Exactly one of these.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// One letter
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Those that failed alike: `list` shows the fingerprint
    #[arg(long, value_name = "TEXT")]
    fingerprint: Option<String>,
    /// Those about one thing, e.g. an order's id
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Every letter
    #[arg(long)]
    all: bool,
}

pub(super) async fn run(command: DeadLettersCommand) -> Result<ExitCode> {
    match command {
        DeadLettersCommand::List(args) => list(args).await,
        DeadLettersCommand::Show(args) => show_one(args).await,
        DeadLettersCommand::Redrive(args) => deal("redrive", args).await,
        DeadLettersCommand::Abandon(args) => deal("abandon", args).await,
    }
}

async fn list(args: ListArgs) -> Result<ExitCode> {
    let ListArgs { place, fingerprint, key, limit } = args;
    let query = [("module", &place.module), ("fingerprint", &fingerprint), ("key", &key)];
    let (letters, more) = letters(&place.open()?, &query, limit as usize).await?;
    let mut out = std::io::stdout().lock();
    if place.json {
        writeln!(out, "{:#}", json!({ "items": letters, "more": more }))?;
    } else {
        write!(out, "{}", show::table(&letters, more))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn show_one(args: ShowArgs) -> Result<ExitCode> {
    let ShowArgs { place, id, payload } = args;
    let operations = place.open()?;
    let (found, _) = letters(&operations, &[("module", &place.module), ("id", &Some(id.clone()))], 1).await?;
    let module = found.first().and_then(|letter| letter["module"].as_str()).map(str::to_owned);
    let module = module.with_context(|| {
        format!(
            "no dead letter {id} at {operations}; it may be redriven already, or be another process's: see --operations"
        )
    })?;
    let path = format!("/dead-letters/{}/{}?payload={payload}", percent_encoded(&module), percent_encoded(&id));
    let letter = operations.get(&path).await?;
    let mut out = std::io::stdout().lock();
    if place.json {
        writeln!(out, "{letter:#}")?;
    } else {
        write!(out, "{}", show::whole(&letter))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Redrives or abandons, and prints a line for each letter as it is dealt with.
async fn deal(verb: &str, args: DealArgs) -> Result<ExitCode> {
    let DealArgs { place, which, dry_run } = args;
    let Which { id, fingerprint, key, all } = which;
    let selector = json!({
        "module": place.module, "id": id, "fingerprint": fingerprint, "key": key, "all": all, "dry_run": dry_run,
    });
    let mut left = false;
    let mut ended = false;
    place
        .open()?
        .post_for_lines(&format!("/dead-letters/{verb}"), &selector, |line: Value| {
            let mut out = std::io::stdout().lock();
            left |= show::is_left(&line);
            ended |= line.get("done").is_some();
            if place.json { writeln!(out, "{line}") } else { write!(out, "{}", show::progress(&line)) }
        })
        .await?;
    if !ended {
        anyhow::bail!("the work was not finished; run the same command again, what has been done is not done twice");
    }
    Ok(if left { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Letters page by page, at most `limit`, and whether there are more.
async fn letters(
    operations: &Operations,
    query: &[(&str, &Option<String>)],
    limit: usize,
) -> Result<(Vec<Value>, bool)> {
    const PAGE_MAX: usize = 200;
    let filters =
        query.iter().filter_map(|(name, value)| Some(format!("&{name}={}", percent_encoded(value.as_deref()?))));
    let filters: String = filters.collect();
    let (mut letters, mut cursor) = (Vec::new(), String::new());
    loop {
        let wanted = (limit - letters.len()).min(PAGE_MAX);
        let mut page = operations.get(&format!("/dead-letters?limit={wanted}{filters}{cursor}")).await?;
        if let Some(items) = page["items"].as_array_mut() {
            letters.append(items);
        }
        match page["next_cursor"].as_str() {
            Some(next) if letters.len() < limit => cursor = format!("&cursor={next}"),
            next => return Ok((letters, next.is_some())),
        }
    }
}

// === impl Place ===

impl Place {
    fn open(&self) -> Result<Operations> {
        match &self.operations {
            Some(url) => Operations::at(url),
            None => Operations::configured(&self.config.load()?.config),
        }
    }
}
