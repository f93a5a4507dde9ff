//! One workload in every placement, by command: `cargo xtask equivalence --help`.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use pangaea_tests::equivalence::{Case, Report, Workload};

/// One scripted workload in every placement, on a clock that the driver moves: the same digest everywhere, else the first
/// difference; then many buyers at once: the same counts everywhere, and `pangaea verify`
#[derive(Debug, Parser)]
#[command(
    name = "equivalence",
    after_help = "Examples:\n  \
    cargo xtask equivalence\n  \
    cargo xtask equivalence --placement together-memory --placement apart-postgres --rounds 1\n  \
    cargo xtask equivalence --json\n\n\
    Progress goes to standard error, the report to standard output. Exit code: 0 when all are equal, 1 otherwise."
)]
struct Cli {
    /// Where the workload runs; all placements when not given. The others are compared with the first, and one alone with
    /// together-memory
    #[arg(long = "placement", value_name = "NAME")]
    placements: Vec<Case>,
    /// How often the script is run through in each store
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: u32,
    /// Buyers at once in the contended part, a multiple of 8
    #[arg(long, default_value_t = 400, value_parser = eighths)]
    buyers: u32,
    /// Faults that the last placement has and the others have not, as in `PANGAEA_FAULTS`: to see a difference found
    #[arg(long, value_name = "FAULTS")]
    faults: Option<String>,
    /// The report as one line of JSON
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Cli { placements, rounds, buyers, faults, json } = Cli::parse();
    let trials = trials(placements, faults.as_deref());
    let started = Instant::now();
    let say = |text: String| eprintln!("[{:>7.1} s] {text}", started.elapsed().as_secs_f64());
    let report = Report::of(&trials, Workload { rounds, buyers }, say).await;
    if json {
        println!("{}", report.to_json());
    } else {
        println!("{report}");
    }
    if report.has_passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One placement alone is compared with the plainest one.
fn trials(mut cases: Vec<Case>, faults: Option<&str>) -> Vec<(Case, Option<&str>)> {
    match cases.len() {
        0 => cases.extend(Case::ALL),
        1 => cases.insert(0, Case::FIRST),
        _ => {}
    }
    let last = cases.len() - 1;
    cases.into_iter().enumerate().map(|(number, case)| (case, faults.filter(|_| number == last))).collect()
}

fn eighths(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(buyers @ 8..=4_000) if buyers % 8 == 0 => Ok(buyers),
        _ => Err("a multiple of 8, from 8 to 4000".to_owned()),
    }
}
