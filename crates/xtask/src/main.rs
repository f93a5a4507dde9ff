//! The project's automation: `cargo xtask <command>`.
//!
//! It is a program and not a pile of shell scripts, so that it runs the same on a laptop and in hosted CI.
#![allow(
    clippy::disallowed_methods,
    reason = "a developer's tool reads the environment and starts processes; it hosts no handler"
)]

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

mod binary;
mod cgroups;
mod ci;
mod deploy;
mod drill;
mod new_module;
mod outcome;
mod postgres;
mod process;
mod releases;
mod steps;
mod test;
mod tools;
mod up;
mod workspace;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Pangaea's automation", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run every test, against a PostgreSQL and nats-servers that this command finds, installs and starts itself.
    Test(TestArgs),
    /// Check the format, run clippy, then `test`.
    Ci,
    /// Build the binary with link-time optimisation.
    Dist,
    /// Write what `deploy/` holds from the modules' declarations, or check all of `deploy/`.
    Deploy(deploy::DeployArgs),
    /// Run the store as several processes over NATS, behind one address.
    Up(up::UpArgs),
    /// Simulate the whole store by seeds, and judge it after each run.
    #[command(disable_help_flag = true)]
    Sim {
        /// The simulation's arguments, e.g. `--seeds 500`, `--seed 17 --trace`, `--help`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Build the release binary and run a benchmark of it; `--help` lists them.
    #[command(disable_help_flag = true)]
    Bench {
        /// The benchmark's name and its arguments, e.g. `saga --help`.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Build the store with faults and run one of its drills, against servers found as `test` finds them; `--help` lists them.
    #[command(disable_help_flag = true)]
    Drill {
        /// The drill's name and its arguments, e.g. `kill --count 300 --placement apart-postgres`, or `--help`.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Build the store and run one workload in every placement: the same outcome everywhere, else the first difference.
    #[command(disable_help_flag = true)]
    Equivalence {
        /// Its arguments, e.g. `--placement apart-postgres --rounds 10`, `--json`, or `--help`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Make a module: a contract crate and a module crate that compile and are tested, to be made one's own.
    NewModule(new_module::NewModuleArgs),
}

/// What `cargo xtask test` takes.
#[derive(Debug, Args, Default)]
pub(crate) struct TestArgs {
    /// Install missing servers system-wide with apt-get (also when CI=true).
    #[arg(long)]
    pub(crate) install: bool,
    /// Arguments for `cargo test`, e.g. `-p pangaea-bus -- conformance`.
    #[arg(last = true)]
    pub(crate) cargo_test: Vec<String>,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Test(args) => test::run(&args),
        Command::Ci => ci::run(),
        Command::Dist => binary::dist(),
        Command::Deploy(args) => deploy::run(&args),
        Command::Up(args) => up::run(&args),
        Command::Sim { args } => binary::sim(&args),
        Command::Bench { args } => binary::bench(&args),
        Command::Drill { args } => drill::run("drill", &args),
        Command::Equivalence { args } => drill::run("equivalence", &args),
        Command::NewModule(args) => new_module::run(args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_of_what_is_run_is_asked_there_and_not_here() {
        for name in ["bench", "drill", "equivalence", "sim"] {
            for given in [&["--help"][..], &["saga", "--help"]] {
                let line = ["xtask", name].into_iter().chain(given.iter().copied());
                let Cli { command } = Cli::try_parse_from(line).unwrap();
                let (Command::Bench { args }
                | Command::Drill { args }
                | Command::Equivalence { args }
                | Command::Sim { args }) = command
                else {
                    panic!("{name} is {command:?}");
                };
                assert_eq!(args, given, "{name}");
            }
        }
    }
}
