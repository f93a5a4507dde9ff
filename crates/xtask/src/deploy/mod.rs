//! `cargo xtask deploy --check`: a stand-in until the real one is merged.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;

mod gotool;
mod policy;
mod render;
mod schemas;

/// What `cargo xtask deploy` takes.
#[derive(Debug, Args)]
pub(crate) struct DeployArgs {
    /// Check what is there.
    #[arg(long)]
    check: bool,
    /// One check only.
    #[arg(long)]
    only: Option<String>,
}

/// Where a check finds things.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) root: PathBuf,
    /// `target/tools`
    pub(crate) tools: PathBuf,
    pub(crate) is_install_allowed: bool,
}

/// What a check found.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) passed: Vec<String>,
    pub(crate) failed: Vec<String>,
    /// Tools that could not be had, and why.
    pub(crate) missing: Vec<(String, String)>,
}

type Check = fn(&Context) -> Result<Outcome>;

const CHECKS: [(&str, Check); 3] = [("render", render::check), ("schemas", schemas::check), ("policy", policy::check)];

/// Runs the checks.
///
/// # Errors
/// When one cannot be run.
pub(crate) fn run(args: &DeployArgs) -> Result<ExitCode> {
    if !args.check {
        bail!("only --check is here");
    }
    let tools = crate::workspace::target().join("tools");
    let ctx = Context { root: crate::workspace::root(), tools, is_install_allowed: true };
    let mut is_good = true;
    for (name, check) in CHECKS.iter().filter(|(name, _)| args.only.as_deref().is_none_or(|only| only == *name)) {
        let outcome = check(&ctx)?;
        outcome.passed.iter().for_each(|text| println!("{name}: passed: {text}"));
        outcome.missing.iter().for_each(|(tool, why)| println!("{name}: missing: {tool}: {why}"));
        outcome.failed.iter().for_each(|text| println!("{name}: FAILED: {text}"));
        is_good &= outcome.failed.is_empty() && outcome.missing.is_empty();
    }
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
