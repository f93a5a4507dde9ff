//! `pangaea bench`: a store of its own, measured on this machine.
//!
//! The store is a child process of the same executable, the load generator is this one: what they share is what a laptop
//! shares. Figures of a debug build are printed as such and mean nothing.

mod child;
mod machine;
mod saga;
mod table;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

#[derive(Subcommand)]
pub(crate) enum BenchCommand {
    /// Confirmed orders a second of a whole store on SQLite
    Saga(saga::SagaArgs),
}

pub(super) async fn run(command: BenchCommand) -> Result<ExitCode> {
    let BenchCommand::Saga(args) = command;
    saga::run(args).await
}
