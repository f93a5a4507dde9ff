//! `cargo xtask deploy`: what `deploy/` holds that is known from the modules' declarations, and the checks of all of it.

mod compose;
mod copies;
mod envoy;
mod facts;
mod generate;
mod gotool;
mod image;
mod metrics;
mod policy;
mod promtool;
mod render;
mod running;
mod schemas;
mod store;
mod supply;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;

use self::facts::Facts;
use crate::steps::Steps;
use crate::workspace::{root, target};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    cargo xtask deploy\n  \
    cargo xtask deploy --check\n  \
    cargo xtask deploy --check --only render,policy\n\n\
    Without --check, deploy/generated is written from what the program says of its modules. Every check looks at files or\n\
    starts what it needs by itself; a tool that cannot be had is told at the end, and is a failure unless\n\
    .ci/allowed-missing names it.")]
pub(crate) struct DeployArgs {
    /// Check, and write nothing
    #[arg(long)]
    check: bool,
    /// These checks only, separated by commas
    #[arg(long, value_name = "A,B", value_delimiter = ',', requires = "check")]
    only: Vec<String>,
    /// Run the checks that take minutes, too
    #[arg(long, requires = "check")]
    all: bool,
    /// Use this program; it is built when not given
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
}

/// What a check has to work with.
pub(crate) struct Context {
    pub(crate) root: PathBuf,
    /// Where tools are kept that this machine lacks.
    pub(crate) tools: PathBuf,
    /// The store's program.
    pub(crate) program: PathBuf,
}

/// What a check has found.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// A line each.
    pub(crate) passed: Vec<String>,
    /// A line each: file, object, and what to do.
    pub(crate) failed: Vec<String>,
    /// Tools without which something could not be looked at, and why they are not there.
    pub(crate) missing: Vec<(String, String)>,
}

/// A check by its name.
struct Check {
    name: &'static str,
    /// Not part of the test run: it takes minutes.
    is_long: bool,
    run: fn(&Context) -> Result<Outcome>,
}

const CHECKS: &[Check] = &[
    Check { name: "drift", is_long: false, run: generate::check },
    Check { name: "render", is_long: false, run: render::check },
    Check { name: "schemas", is_long: false, run: schemas::check },
    Check { name: "policy", is_long: false, run: policy::check },
    Check { name: "promtool", is_long: false, run: promtool::check },
    Check { name: "metrics", is_long: false, run: metrics::check },
    Check { name: "compose", is_long: false, run: compose::check },
    Check { name: "envoy", is_long: false, run: envoy::check },
    Check { name: "supply", is_long: true, run: supply::check },
    Check { name: "image", is_long: true, run: image::check },
];

/// `cargo xtask deploy`.
///
/// # Errors
/// When the program cannot be built or a file not be written; a check that fails is no error.
pub(crate) fn run(args: &DeployArgs) -> Result<ExitCode> {
    let context = Context::new(args.program.clone())?;
    if !args.check {
        let written = generate::write(&context, &Facts::read(&context)?)?;
        copies::write(&context)?;
        println!("{written} files written below deploy/generated");
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(unknown) = args.only.iter().find(|name| !CHECKS.iter().any(|check| check.name == **name)) {
        let known: Vec<_> = CHECKS.iter().map(|check| check.name).collect();
        bail!("there is no check {unknown}; there are {}", known.join(", "));
    }
    let mut steps = Steps::default();
    let is_wanted = |check: &&Check| match args.only.is_empty() {
        true => args.all || !check.is_long,
        false => args.only.iter().any(|name| name == check.name),
    };
    let mut missing = Vec::new();
    for check in CHECKS.iter().filter(is_wanted) {
        let found = steps.run(&format!("deploy: {}", check.name), || judge((check.run)(&context)?));
        missing.extend(found.unwrap_or_default());
    }
    println!("{}", steps.table());
    for (tool, reason) in &missing {
        println!("missing: {tool}: {reason}");
    }
    Ok(if steps.failed() == 0 && missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints what was found. Gives the tools that are missing.
///
/// # Errors
/// When something failed.
fn judge(outcome: Outcome) -> Result<Vec<(String, String)>> {
    outcome.passed.iter().for_each(|line| println!("ok: {line}"));
    outcome.failed.iter().for_each(|line| println!("FAILED: {line}"));
    match outcome.failed.len() {
        0 => Ok(outcome.missing),
        count => bail!("{count} faults"),
    }
}

// === impl Context ===

impl Context {
    pub(crate) fn new(program: Option<PathBuf>) -> Result<Self> {
        let program = match program {
            Some(program) => std::path::absolute(program)?,
            None => crate::binary::debug()?,
        };
        Ok(Self { root: root(), tools: target().join("tools"), program })
    }
}
