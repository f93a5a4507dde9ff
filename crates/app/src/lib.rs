//! The whole `pangaea` command line, for a program with a catalogue of its own.
//!
//! A program that hosts more than the store's four modules is one expression:
//!
//! ```no_run
//! # use pangaea_kernel::{Definition, Module, http::Edge};
//! # struct Reviews;
//! # impl Module for Reviews {
//! #     fn define(&self) -> Definition { Definition::new("reviews") }
//! #     fn routes(&self) -> utoipa_axum::router::OpenApiRouter<Edge> { Default::default() }
//! # }
//! let exit_code = pangaea::main_with(&pangaea::Catalogue::store().and(|_| Ok(Reviews)));
//! ```
//!
//! `docs/write-a-module.md` is the guide, `examples/reviews` the whole of it.

mod catalogue;
mod commands;
mod provider;
mod random;
mod retail;

use std::process::ExitCode;

use clap::Parser;

pub use catalogue::{Catalogue, options};
pub use pangaea_runtime::config::Config;

/// Placing orders as fast as they are taken or at a rate, as `pangaea load` does: for benchmarks of a program's own.
pub mod load {
    pub use crate::commands::load::{Mode, Plan, Quantiles, Report, Shop, measure};
    pub use crate::retail::StoreArgs;
}

/// Recordings as tests of a program's own modules.
pub mod replay {
    pub use crate::commands::replay::assert_replays_clean;
}

/// The command line over these modules: reads the arguments, does what they say, and returns how it ended.
pub fn main_with(catalogue: &Catalogue) -> ExitCode {
    let cli = commands::Cli::parse();
    #[expect(clippy::disallowed_methods, reason = "faults are no configuration: shipped builds refuse the variable")]
    let faults = std::env::var_os(pangaea_faults::VARIABLE);
    if let Err(reason) = pangaea_faults::refuse(faults.as_deref()) {
        eprintln!("error: {reason}");
        return ExitCode::FAILURE;
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the asynchronous runtime could not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(commands::dispatch(cli, catalogue)) {
        Ok(code) => code,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// `pangaea … | head -1` ends the reader early, which is no failure.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}
