//! The simulation's command line, behind `cargo xtask sim`.

use std::io::{IsTerminal, Write};
use std::num::NonZero;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use clap::Parser;
use pangaea_sim::{Counts, Options, Outcome, Seeds, Simulation, Summary};
use serde_json::{Value, json};

/// Seconds between two lines of progress.
const PROGRESS_EVERY_SECONDS: u64 = 10;

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask sim",
    about = "Simulates the whole store, driven by seeds, and judges it after each run",
    after_help = "Exit code: 0 when nothing was wrong, 1 with the seed of a run that failed. PANGAEA_FAULTS may plant a bug or a change."
)]
struct Cli {
    /// How many seeds to run, one after the other
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Run this seed only
    #[arg(long, conflicts_with_all = ["seeds", "first"])]
    seed: Option<u64>,
    /// Runs at the same time, each in a thread of its own; three for each processor unless given, because a run waits a lot
    #[arg(long)]
    jobs: Option<usize>,
    /// Go on behind a run that failed
    #[arg(long)]
    keep_going: bool,
    /// Print every step, with what the modules log; for one seed
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

/// A run hands every statement to a thread of its database and waits for it.
const JOBS_PER_PROCESSOR: usize = 3;

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    #[expect(clippy::disallowed_methods, reason = "which faults are planted is said once, at the start")]
    let faults = std::env::var_os(pangaea_faults::VARIABLE);
    pangaea_faults::refuse(faults.as_deref()).map_err(|reason| anyhow!(reason))?;
    if cli.trace {
        tracing_subscriber::fmt().with_max_level(tracing_subscriber::filter::LevelFilter::INFO).without_time().init();
    }
    let simulation = Simulation::prepare()?;
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let jobs = cli.jobs.unwrap_or(processors * JOBS_PER_PROCESSOR);
    let seeds = match cli.seed {
        Some(first) => Seeds { first, count: 1, jobs: 1, keep_going: false },
        None => Seeds { first: cli.first, count: cli.seeds, jobs, keep_going: cli.keep_going },
    };
    let progress = Progress::new(seeds.count);
    let options = Options { printed: cli.trace, sabotage: None };
    let summary = seeds.run(&simulation, options, |outcome| progress.tell(outcome, cli.seed.is_some() && !cli.json))?;
    let mut out = std::io::stdout().lock();
    if cli.json {
        writeln!(out, "{:#}", figures(&seeds, &summary))?;
    } else {
        write!(out, "{}", report(&summary))?;
    }
    Ok(if summary.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A line on standard error now and then.
struct Progress {
    count: u64,
    done: AtomicU64,
    told_seconds: AtomicU64,
    started: Instant,
}

// === impl Progress ===

impl Progress {
    fn new(count: u64) -> Self {
        Self { count, done: AtomicU64::new(0), told_seconds: AtomicU64::new(0), started: Instant::now() }
    }

    fn tell(&self, outcome: &Outcome, alone: bool) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(failure) = &outcome.failure {
            eprintln!("seed {} failed: {failure}", outcome.seed);
            eprintln!("  cargo xtask sim --seed {} --trace", outcome.seed);
        }
        if alone {
            println!("seed {}: {} steps, hash {}", outcome.seed, outcome.steps, outcome.hash);
        }
        let seconds = self.started.elapsed().as_secs();
        let told = self.told_seconds.load(Ordering::Relaxed);
        let due = seconds >= told + if std::io::stderr().is_terminal() { 1 } else { PROGRESS_EVERY_SECONDS };
        let swap = || self.told_seconds.compare_exchange(told, seconds, Ordering::Relaxed, Ordering::Relaxed);
        if due && swap().is_ok() {
            eprintln!("{done} of {} seeds, {:.1} a second", self.count, rate(done, self.started.elapsed()));
        }
    }
}

fn rate(runs: u64, elapsed: Duration) -> f64 {
    runs as f64 / elapsed.as_secs_f64().max(0.001)
}

fn report(summary: &Summary) -> String {
    let Summary { runs, steps, counts, failures, elapsed } = summary;
    let Counts { faults, provider, orders, .. } = counts;
    let listed = |counts: &std::collections::BTreeMap<&'static str, u64>| {
        let all: Vec<String> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
        if all.is_empty() { "none".to_owned() } else { all.join(", ") }
    };
    format!(
        "orders: {}; {} ended by a person; {} refunds\n\
         deaths: {}\n  {} with work waiting, {} requests cut; {} drained stops\n\
         failed steps: {}\n\
         messages: {} came again, {} refused behind a gap, {} lost by the broker and given again\n\
         provider: {} calls; {} replies lost, {} lost, {} late, {} refused\n\
         answers given again: {}; timers fired: {}; looks in between: {}\n\
         {runs} seeds, {steps} steps in {:.1} s ({:.1} seeds a second): {} failed\n",
        listed(orders),
        counts.reviews,
        counts.refunds,
        listed(&faults.crashes),
        counts.deaths_with_work,
        counts.requests_cut,
        counts.restarts,
        listed(&faults.failures),
        counts.duplicates,
        counts.gaps,
        counts.messages_lost,
        provider.calls,
        provider.replies_lost,
        provider.lost,
        provider.late,
        provider.refused,
        counts.repeats,
        counts.timers,
        counts.looks,
        elapsed.as_secs_f64(),
        rate(*runs, *elapsed),
        failures.len()
    )
}

fn figures(seeds: &Seeds, summary: &Summary) -> Value {
    let Summary { runs, steps, counts, failures, elapsed } = summary;
    let failed = |outcome: &Outcome| {
        json!({
            "seed": outcome.seed,
            "hash": outcome.hash,
            "reason": outcome.failure,
            "reproduce": format!("cargo xtask sim --seed {}", outcome.seed),
        })
    };
    json!({
        "ok": failures.is_empty(),
        "first": seeds.first,
        "seeds": runs,
        "steps": steps,
        "seconds": elapsed.as_secs_f64(),
        "seeds_per_second": rate(*runs, *elapsed),
        "orders": counts.orders,
        "orders_ended_by_a_person": counts.reviews,
        "refunds": counts.refunds,
        "deaths": counts.faults.crashes,
        "deaths_with_work_waiting": counts.deaths_with_work,
        "requests_cut": counts.requests_cut,
        "drained_stops": counts.restarts,
        "failed_steps": counts.faults.failures,
        "messages_duplicated": counts.duplicates,
        "messages_behind_a_gap": counts.gaps,
        "messages_lost_by_the_broker": counts.messages_lost,
        "provider": {
            "calls": counts.provider.calls,
            "replies_lost": counts.provider.replies_lost,
            "lost": counts.provider.lost,
            "late": counts.provider.late,
            "refused": counts.provider.refused,
        },
        "answers_given_again": counts.repeats,
        "timers_fired": counts.timers,
        "looks_in_between": counts.looks,
        "failures": failures.iter().map(failed).collect::<Vec<_>>(),
    })
}
