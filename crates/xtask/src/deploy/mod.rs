//! `cargo xtask deploy --check`: a stand-in until the real one is merged.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;

mod compose;
mod copies;
mod image;
mod metrics;
mod promtool;
mod running;
mod store;
mod supply;

#[derive(Debug, Args)]
pub(crate) struct DeployArgs {
    #[arg(long)]
    check: bool,
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

pub(crate) fn run(args: &DeployArgs) -> Result<ExitCode> {
    let root = crate::workspace::root();
    let ctx = Context { root, tools: crate::workspace::target().join("tools"), is_install_allowed: true };
    if !args.check {
        copies::write(&ctx)?;
        return Ok(ExitCode::SUCCESS);
    }
    let outcome = match args.only.as_deref() {
        Some("compose") => compose::check(&ctx)?,
        Some("copies") => copies::check(&ctx)?,
        Some("promtool") => promtool::check(&ctx)?,
        Some("metrics") => metrics::check(&ctx)?,
        Some("image") => image::check(&ctx)?,
        Some("supply") => supply::check(&ctx)?,
        other => bail!("no check {other:?}"),
    };
    outcome.passed.iter().for_each(|text| println!("passed: {text}"));
    outcome.missing.iter().for_each(|(tool, why)| println!("missing: {tool}: {why}"));
    outcome.failed.iter().for_each(|text| println!("FAILED: {text}"));
    println!("{} passed, {} failed, {} missing", outcome.passed.len(), outcome.failed.len(), outcome.missing.len());
    Ok(if outcome.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
