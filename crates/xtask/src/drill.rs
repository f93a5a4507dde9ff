//! `cargo xtask drill` and `cargo xtask equivalence`: the long forms of what the end-to-end tests do.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::binary::LONG_RUNS;
use crate::workspace::{cargo, root, run as run_command, shown, target};
use crate::{test, tools};

/// Builds the store and the programs beside the tests in one go, because only what is built together with the tests has faults,
/// and runs one of these programs.
///
/// # Errors
/// When the build fails.
pub(crate) fn run(program: &str, args: &[String]) -> Result<ExitCode> {
    let tools = tools::find_or_install(false);
    let packages = ["--package", "pangaea", "--package", "pangaea-tests", "--bins"];
    run_command(cargo().arg("build").args(LONG_RUNS).args(packages))?;
    let mut command = Command::new(target().join("debug").join(program));
    test::give(&mut command, &test::environment(&tools));
    command.args(args).current_dir(root());
    println!("$ {}", shown(&command));
    let status = command.status().with_context(|| format!("could not start {program}"))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
