//! `pangaea`: the store, its tools, and nothing that is not in the crates.

mod catalogue;
mod commands;
mod provider;
mod retail;

use std::process::ExitCode;

use clap::Parser;

/// Allocation is a large part of what a message costs; this allocator halves it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
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
    match runtime.block_on(commands::dispatch(cli)) {
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
