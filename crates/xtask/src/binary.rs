//! Programs of this workspace: building them and running them.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::workspace::{cargo, root, run, shown, target};
use crate::{test, tools};

/// Builds the program in the `release` profile and returns its path.
///
/// # Errors
/// When the build fails.
pub(crate) fn release() -> Result<PathBuf> {
    run(cargo().args(["build", "--release", "--package", "pangaea"]))?;
    Ok(target().join("release/pangaea"))
}

/// Builds the program in the `dev` profile and returns its path.
///
/// # Errors
/// When the build fails.
pub(crate) fn debug() -> Result<PathBuf> {
    run(cargo().args(["build", "--package", "pangaea"]))?;
    Ok(target().join("debug/pangaea"))
}

/// `cargo xtask dist`
pub(crate) fn dist() -> Result<ExitCode> {
    run(cargo().args(["build", "--profile", "dist", "--package", "pangaea"]))?;
    let path = target().join("dist/pangaea");
    let bytes = fs::metadata(&path).with_context(|| format!("{} was not built", path.display()))?.len();
    println!("{} {:.1} MB", path.display(), bytes as f64 / 1e6);
    Ok(ExitCode::SUCCESS)
}

/// Benchmarks that start nats-server or PostgreSQL.
const WITH_SERVERS: [&str; 2] = ["apart", "nats"];

/// `cargo xtask bench`: the release program and the benchmarks, built in one go, so that they share what they are built of.
///
/// # Errors
/// When the build fails.
pub(crate) fn bench(args: &[String]) -> Result<ExitCode> {
    run(cargo().args(["build", "--release", "--package", "pangaea", "--package", "pangaea-bench"]))?;
    let mut command = Command::new(target().join("release/pangaea-bench"));
    if args.first().is_some_and(|name| WITH_SERVERS.contains(&name.as_str())) {
        test::give(&mut command, &test::environment(&tools::find_or_install(false)));
    }
    command.args(args).current_dir(root());
    println!("$ {}", shown(&command));
    let status = command.status().context("could not start the benchmark")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// For what runs long: our own crates optimised a little, in the dev profile still, because only builds with debug assertions
/// have failpoints. What is built by others is shared with the tests.
pub(crate) const LONG_RUNS: [&str; 2] = ["--config", "profile.dev.opt-level=1"];

/// `cargo xtask sim`.
pub(crate) fn sim(args: &[String]) -> Result<ExitCode> {
    run(cargo().arg("build").args(LONG_RUNS).args(["--package", "pangaea-sim"]))?;
    let mut command = Command::new(target().join("debug/pangaea-sim"));
    command.args(args).current_dir(root());
    println!("$ {}", shown(&command));
    let status = command.status().context("could not start the simulation")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
