//! `pangaea-auditor`: judges a store from outside of it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use pangaea_auditor::{Audit, Nats};

const BREACHED: u8 = 1;
const NOT_JUDGED: u8 = 2;

/// Judges a store from outside: that no accepted order is lost, nobody is charged twice, money and stock are conserved, and
/// the logs, streams and readers of the modules agree with each other.
///
/// Everything is only read. Exit status: 0 when all claims hold, 1 when one is breached, 2 when it could not be judged.
#[derive(Debug, Parser)]
#[command(
    name = "pangaea-auditor",
    version,
    after_help = "Example, for a store that runs from the folder `data`:\n  \
        pangaea-auditor --database sqlite:data/{module}.db --ledger data/provider-ledger.jsonl --settled\n\n\
        With PostgreSQL and NATS:\n  \
        pangaea-auditor --database postgres://pangaea@db/pangaea --nats nats://127.0.0.1:4222 --namespace pangaea"
)]
struct Arguments {
    /// The modules' databases: sqlite:<file> with {module} in it, sqlite:<folder>/, or postgres://…
    #[arg(long, value_name = "URL")]
    database: String,
    /// The NATS server that holds the streams.
    #[arg(long, value_name = "URL", requires = "namespace")]
    nats: Option<String>,
    /// The first token of the store's subjects.
    #[arg(long, value_name = "NAME", requires = "nats")]
    namespace: Option<String>,
    /// The client's log of accepted orders: an id a line.
    #[arg(long, value_name = "FILE")]
    accepted: Option<PathBuf>,
    /// The provider's ledger: JSON lines.
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// What clients were answered: JSON lines of principal, method, path, key, status, body.
    #[arg(long, value_name = "FILE")]
    replies: Option<PathBuf>,
    /// A text that must be nowhere. May be given more than once.
    #[arg(long = "canary", value_name = "TEXT")]
    canaries: Vec<String>,
    /// Nothing is under way any more: every order must have ended, every reader and stream be at its end.
    #[arg(long)]
    settled: bool,
    /// Dead letters are known; what they hold up is not judged as ended.
    #[arg(long)]
    allow_dead_letters: bool,
    /// A message that an operator has given up. May be given more than once.
    #[arg(long, value_name = "ID")]
    abandoned: Vec<String>,
    /// Writes the report as JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(BREACHED),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(NOT_JUDGED)
        }
    }
}

fn run(arguments: Arguments) -> Result<bool> {
    let nats = arguments.nats.zip(arguments.namespace).map(|(url, namespace)| Nats { url, namespace });
    let audit = Audit {
        database: arguments.database,
        nats,
        accepted: arguments.accepted,
        ledger: arguments.ledger,
        replies: arguments.replies,
        canaries: arguments.canaries,
        settled: arguments.settled,
        dead_letters_allowed: arguments.allow_dead_letters,
        abandoned: arguments.abandoned,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("the runtime")?;
    let report = runtime.block_on(audit.judge())?;
    let text = if arguments.json { serde_json::to_string_pretty(&report)? + "\n" } else { report.to_string() };
    // Whoever reads only the beginning of it has seen enough.
    let _ = std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes());
    Ok(report.is_sound())
}
