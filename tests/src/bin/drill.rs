//! The drills by command: `cargo xtask drill --help`.

use std::process::ExitCode;

use clap::Parser;
use pangaea_tests::drill::{AnyDrill, perform};

/// Faults on purpose while orders flow, and the proof afterwards that nothing was lost or doubled
#[derive(Debug, Parser)]
#[command(
    name = "drill",
    disable_help_subcommand = true,
    after_help = "Examples:\n  \
    cargo xtask drill kill --count 300 --placement apart-postgres\n  \
    cargo xtask drill failpoints --rounds 10\n  \
    cargo xtask drill --json outage --count 300 --longest-ms 60000\n\n\
    Progress goes to standard error, the report to standard output."
)]
struct Cli {
    /// The report as one line of JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    drill: AnyDrill,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Cli { json, drill } = Cli::parse();
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--json").collect();
    let report = perform(&drill, &format!("cargo xtask drill {}", words.join(" "))).await;
    if json {
        println!("{}", report.to_json());
    } else {
        println!("{report}");
    }
    if report.has_passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
