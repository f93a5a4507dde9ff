//! `cargo xtask ci`: all that a change must pass.

use std::process::ExitCode;

use anyhow::Result;

use crate::TestArgs;
use crate::steps::Steps;
use crate::test;
use crate::workspace::{cargo, has_component, run as execute};

/// Format, clippy, tests; each runs even when the one before failed, so that one run shows all that is wrong.
pub(crate) fn run() -> Result<ExitCode> {
    let mut steps = Steps::default();
    if has_component("fmt") {
        steps.run("format", || execute(cargo().args(["fmt", "--all", "--check"])));
    } else {
        steps.skip("format", "rustfmt is not installed (rustup component add rustfmt)");
    }
    if has_component("clippy") {
        let flags = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
        steps.run("clippy", || execute(cargo().args(flags)));
    } else {
        steps.skip("clippy", "clippy is not installed (rustup component add clippy)");
    }
    let outcome = test::run_steps(&TestArgs::default(), &mut steps)?;
    Ok(test::finish(&steps, outcome))
}
