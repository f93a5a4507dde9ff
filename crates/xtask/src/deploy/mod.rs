//! `cargo xtask deploy`: what `deploy/` holds that is known from the modules' declarations, and the checks of all of it.

mod agree;
mod apiserver;
mod cluster;
mod compose;
mod compose_up;
mod copies;
mod defaults;
mod environment;
mod envoy;
mod facts;
mod generate;
mod gotool;
mod image;
mod images;
mod kubernetes;
mod load;
mod local;
mod metrics;
mod objects;
mod otel;
mod policy;
mod program;
mod promtool;
mod render;
mod running;
mod schemas;
mod secrets;
mod stand_in;
mod store;
mod supply;
mod versions;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail, ensure};
use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::Value;

use self::facts::Facts;
use crate::steps::Steps;
use crate::workspace::{root, target};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    cargo xtask deploy\n  \
    cargo xtask deploy --check\n  \
    cargo xtask deploy --check --only render,policy\n\n\
    Without --check, deploy/generated is written from what the program says of its modules. Every check looks at files or\n\
    starts what it needs by itself; a tool that cannot be had is told at the end, and is a failure: `cargo xtask test`, which runs the\n\
    quick ones, lets those pass that .ci/allowed-missing names.")]
pub(crate) struct DeployArgs {
    /// Check, and write nothing
    #[arg(long)]
    check: bool,
    /// These checks only, separated by commas
    #[arg(long, value_name = "A,B", value_delimiter = ',', requires = "check", value_parser = names())]
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
    /// Overlays that have been rendered already: most checks look at all of them.
    rendered: RefCell<BTreeMap<String, Vec<Value>>>,
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
    when: When,
    run: fn(&Context) -> Result<Outcome>,
}

/// What a check takes decides when it runs by itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum When {
    /// In every test run: seconds, and tools that are quickly had.
    Tests,
    /// With `--check`: its tools take a while to be had for the first time.
    Asked,
    /// With `--all`, or by its name: minutes.
    All,
}

const CHECKS: &[Check] = &[
    Check { name: "drift", when: When::Tests, run: generate::check },
    Check { name: "render", when: When::Tests, run: render::check },
    Check { name: "policy", when: When::Tests, run: policy::check },
    Check { name: "agree", when: When::Tests, run: agree::check },
    Check { name: "local", when: When::Tests, run: local::check },
    Check { name: "promtool", when: When::Tests, run: promtool::check },
    Check { name: "metrics", when: When::Tests, run: metrics::check },
    Check { name: "envoy", when: When::Tests, run: envoy::check },
    Check { name: "schemas", when: When::Asked, run: schemas::check },
    Check { name: "compose", when: When::Asked, run: compose::check },
    Check { name: "supply", when: When::All, run: supply::check },
    Check { name: "image", when: When::All, run: image::check },
    Check { name: "apiserver", when: When::All, run: apiserver::check },
    Check { name: "cluster", when: When::All, run: cluster::check },
    Check { name: "istio", when: When::All, run: cluster::check_istio },
    Check { name: "compose-up", when: When::All, run: compose_up::check },
    Check { name: "otel", when: When::All, run: otel::check },
];

/// Which checks there are, for `--only` and its help.
fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(CHECKS.iter().map(|check| check.name))
}

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
    let mut steps = Steps::default();
    let most = if args.all { When::All } else { When::Asked };
    let missing = run_checks(&context, &mut steps, |check| match args.only.is_empty() {
        true => check.when <= most,
        false => args.only.iter().any(|name| name == check.name),
    });
    println!("{}", steps.table());
    for (tool, reason) in &missing {
        println!("missing: {tool}: {reason}");
    }
    Ok(if steps.failed() == 0 && missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Those of a test run, with the program that it has built. Gives the tools that are missing.
///
/// # Errors
/// When the program is not there.
pub(crate) fn run_in_tests(steps: &mut Steps) -> Result<Vec<(String, String)>> {
    let context = Context::new(Some(target().join("debug/pangaea")))?;
    ensure!(context.program.is_file(), "{} was not built", context.program.display());
    Ok(run_checks(&context, steps, |check| check.when == When::Tests))
}

fn run_checks(context: &Context, steps: &mut Steps, is_wanted: impl Fn(&Check) -> bool) -> Vec<(String, String)> {
    let mut missing = Vec::new();
    for check in CHECKS.iter().filter(|check| is_wanted(check)) {
        steps.run(&format!("deploy: {}", check.name), || {
            let mut outcome = (check.run)(context)?;
            missing.append(&mut outcome.missing);
            judge(&outcome)
        });
    }
    missing
}

/// Prints what was found.
///
/// # Errors
/// When something failed.
fn judge(outcome: &Outcome) -> Result<()> {
    outcome.passed.iter().for_each(|line| println!("ok: {line}"));
    outcome.failed.iter().for_each(|line| println!("FAILED: {line}"));
    match outcome.failed.len() {
        0 => Ok(()),
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
        Ok(Self { root: root(), tools: target().join("tools"), program, rendered: RefCell::default() })
    }
}
