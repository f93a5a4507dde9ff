//! `cargo xtask test`.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, bail, ensure};

use crate::TestArgs;
use crate::deploy;
use crate::outcome::{Outcome, copy_and_count};
use crate::postgres::Server;
use crate::process::Interrupt;
use crate::releases;
use crate::steps::Steps;
use crate::tools::{self, Missing, Tools};
use crate::workspace;

/// Runs the tests alone.
pub(crate) fn run(args: &TestArgs) -> Result<ExitCode> {
    let mut steps = Steps::default();
    let outcome = run_steps(args, &mut steps)?;
    Ok(finish(&steps, outcome))
}

/// Runs the tests as steps of a longer run.
///
/// # Errors
/// Only before the first step; a failed step is in `steps`.
pub(crate) fn run_steps(args: &TestArgs, steps: &mut Steps) -> Result<Outcome> {
    let interrupt = Interrupt::listen()?;
    let allowed = allowed_missing()?;
    let system_wide = args.install || env::var("CI").is_ok_and(|ci| ci == "true");
    let mut tools = steps.run("tools", || Ok(tools::find_or_install(system_wide))).unwrap_or_default();
    log_input();
    let (mut environment, _server) = start_servers(&mut tools, &interrupt, steps);
    if runs_end_to_end(&args.cargo_test) {
        let release = steps.run("build v0.1.0", releases::v0_1_0);
        environment.insert("PANGAEA_RELEASE_0_1_0", release.map(|folder| folder.display().to_string()));
    }
    let outcome = run_tests(args, &environment, &interrupt, steps);
    if args.cargo_test.is_empty() && !interrupt.is_set() {
        let missing = deploy::run_in_tests(steps)?;
        tools.missing.extend(missing.into_iter().map(|(name, why)| Missing { name, why }));
    }
    steps.run("what could not run", || report_missing(&tools.missing, &allowed));
    Ok(outcome)
}

/// Prints the table and, as the last line, the counts.
///
/// A step that failed otherwise than by a test counts as one failure, so that the last line never looks like success.
pub(crate) fn finish(steps: &Steps, mut outcome: Outcome) -> ExitCode {
    println!("{}", steps.table());
    if outcome.ignored > 0 {
        println!("{} ignored", outcome.ignored);
    }
    if outcome.failed == 0 {
        outcome.failed = steps.failed();
    }
    println!("{outcome}");
    if outcome.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Variables that lead to servers. One without a value is removed: what runs uses no server that this run did not provide.
pub(crate) type Environment = BTreeMap<&'static str, Option<String>>;

/// Variables for the tests, and the server that must live as long as they run.
fn start_servers(tools: &mut Tools, interrupt: &Interrupt, steps: &mut Steps) -> (Environment, Option<Server>) {
    let server = tools
        .postgres
        .as_ref()
        .and_then(|programs| steps.run("start PostgreSQL", || Server::start(programs, interrupt)));
    let mut environment = environment(tools);
    environment.insert("PANGAEA_TEST_POSTGRES_URL", server.as_ref().map(Server::url));
    for (name, value) in &environment {
        println!("{name}={}", value.as_deref().unwrap_or("(unset)"));
    }
    (environment, server)
}

/// Where the programs are that tests and drills start by themselves.
pub(crate) fn environment(tools: &Tools) -> Environment {
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let postgres = tools.postgres.as_ref();
    BTreeMap::from([
        ("PANGAEA_NATS_SERVER", path(&tools.nats).or_else(|| path(&tools.nats_old))),
        ("PANGAEA_NATS_SERVER_OLD", path(&tools.nats_old)),
        ("PANGAEA_TEST_POSTGRES_URL", None),
        ("PANGAEA_POSTGRES_BIN", postgres.map(|programs| programs.bin().display().to_string())),
        ("PANGAEA_POSTGRES_LIBRARIES", postgres.and_then(|programs| programs.libraries().map(str::to_owned))),
    ])
}

pub(crate) fn give(command: &mut Command, environment: &Environment) {
    for (name, value) in environment {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
}

fn run_tests(args: &TestArgs, environment: &Environment, interrupt: &Interrupt, steps: &mut Steps) -> Outcome {
    let plan = Plan::new(&args.cargo_test);
    let mut sum = Outcome::default();
    let mut step = |name: &str, arguments: &[String]| {
        steps.run(name, || {
            ensure!(!interrupt.is_set(), "interrupted");
            let mut command = workspace::cargo();
            command.args(arguments);
            give(&mut command, environment);
            counted(&mut command, interrupt, &mut sum)
        });
    };
    step("build", &plan.build);
    step("test", &plan.test);
    match &plan.doc {
        Some(doc) => step("doc test", doc),
        None => steps.skip("doc test", "only what the given arguments select was run"),
    }
    sum
}

/// Runs the command, shows its output as it comes and adds its results to `sum`.
///
/// It runs in a process group of its own, so that an interrupt reaches the tests too, whoever it was sent to.
fn counted(command: &mut Command, interrupt: &Interrupt, sum: &mut Outcome) -> Result<()> {
    let shown = workspace::shown(command);
    println!("$ {shown}");
    let mut child = command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("could not start {shown}"))?;
    let output = child.stdout.take().context("the output was just asked for")?;
    let group = child.id();
    let ended = AtomicBool::new(false);
    let (counted, status) = thread::scope(|scope| {
        scope.spawn(|| interrupt.pass_on(group, &ended));
        let counted = copy_and_count(output, io::stdout().lock());
        let status = child.wait();
        ended.store(true, Ordering::Relaxed);
        (counted, status)
    });
    let (counted, status) = (counted?, status?);
    *sum += counted;
    ensure!(status.success(), "`{shown}` failed: {status}, {counted}");
    Ok(())
}

/// The arguments of cargo, step by step.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    build: Vec<String>,
    test: Vec<String>,
    doc: Option<Vec<String>>,
}

// === impl Plan ===

impl Plan {
    /// Without arguments everything; else what the arguments select.
    ///
    /// `cargo build --all-targets` and not `cargo test --no-run`, because the end-to-end tests start the program
    /// itself, which the latter builds only for tests of the same package. What it builds is not built again.
    fn new(given: &[String]) -> Self {
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        let test = words(&["test", "--workspace", "--all-targets", "--no-fail-fast"]);
        if given.is_empty() {
            let build = words(&["build", "--workspace", "--all-targets"]);
            return Self { build, test, doc: Some(words(&["test", "--workspace", "--doc", "--no-fail-fast"])) };
        }
        let mut build = words(&["build"]);
        match packages(given) {
            packages if packages.is_empty() => build.extend(words(&["--workspace", "--all-targets"])),
            packages => {
                build.push("--all-targets".to_owned());
                let needs_program = packages.iter().any(|name| name == "pangaea-tests" || name == "pangaea-testkit");
                let program = needs_program.then(|| "pangaea".to_owned());
                build.extend(packages.into_iter().chain(program).flat_map(|name| ["-p".to_owned(), name]));
            }
        }
        let mut test = words(&["test", "--no-fail-fast"]);
        if packages(given).is_empty() {
            test.push("--workspace".to_owned());
        }
        test.extend(given.iter().cloned());
        Self { build, test, doc: None }
    }
}

/// Whether the end-to-end tests are among what is asked for: they alone run programs of earlier releases.
fn runs_end_to_end(given: &[String]) -> bool {
    let packages = packages(given);
    packages.is_empty() || packages.iter().any(|name| name == "pangaea-tests")
}

/// The packages named by `-p`, `-pNAME`, `--package` and `--package=NAME`.
fn packages(given: &[String]) -> Vec<String> {
    let mut packages = Vec::new();
    let mut words = given.iter().take_while(|word| *word != "--");
    while let Some(word) = words.next() {
        if word == "-p" || word == "--package" {
            packages.extend(words.next().cloned());
        } else if let Some(name) = word.strip_prefix("--package=").or_else(|| word.strip_prefix("-p")) {
            packages.push(name.to_owned());
        }
    }
    packages
}

/// Names the recorded month that the tests read, and how much of it there is.
fn log_input() {
    let Some(path) = env::var_os("PANGAEA_RETAIL_CSV").map(PathBuf::from) else {
        return println!("PANGAEA_RETAIL_CSV is unset: tests on a recorded month are not run");
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    match fs::File::open(&path) {
        Ok(file) => {
            let lines = BufReader::new(file).split(b'\n').map_while(io::Result::ok);
            let rows = lines.filter(|line| !line.iter().all(u8::is_ascii_whitespace)).count().saturating_sub(1);
            println!("input: {name}, {rows} rows");
        }
        Err(error) => println!("input: {name} cannot be read: {error}"),
    }
}

/// Lists the missing tools; those that the file does not allow are a failure.
fn report_missing(missing: &[Missing], allowed: &BTreeMap<String, String>) -> Result<()> {
    let mut refused = Vec::new();
    for Missing { name, why } in missing {
        match allowed.get(name) {
            Some(reason) => println!("{name}: missing, which is allowed ({reason}): {why}"),
            None => {
                println!("{name}: missing: {why}");
                refused.push(name.as_str());
            }
        }
    }
    io::stdout().flush()?;
    if refused.is_empty() {
        return Ok(());
    }
    bail!("{} missing: install it, or name it in .ci/allowed-missing with a reason", refused.join(", "))
}

/// Reads `.ci/allowed-missing`: `name: reason` per line, `#` starts a comment.
fn allowed_missing() -> Result<BTreeMap<String, String>> {
    let path = workspace::root().join(".ci/allowed-missing");
    match fs::read_to_string(&path) {
        Ok(text) => parse_allowed(&text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error).context("could not read .ci/allowed-missing"),
    }
}

/// All that can be missing in a test run. `.ci/allowed-missing` lists them for who reads it.
const TOOLS: [&str; 6] = ["nats-server", "nats-server-old", "postgresql", "kustomize", "promtool", "envoy"];

fn parse_allowed(text: &str) -> Result<BTreeMap<String, String>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| match line.split_once(':') {
            Some((name, _)) if !TOOLS.contains(&name.trim()) => {
                bail!(".ci/allowed-missing: nothing here looks for {}; there are {}", name.trim(), TOOLS.join(", "))
            }
            Some((name, reason)) if !reason.trim().is_empty() => Ok((name.trim().to_owned(), reason.trim().to_owned())),
            _ => bail!(".ci/allowed-missing: `{line}` is not of the form `name: reason`"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn plans_everything_or_what_is_asked() {
        let all = Plan::new(&[]);
        assert_eq!(all.build, words("build --workspace --all-targets"));
        assert_eq!(all.test, words("test --workspace --all-targets --no-fail-fast"));
        assert_eq!(all.doc, Some(words("test --workspace --doc --no-fail-fast")));

        let some = Plan::new(&words("-p pangaea-tests --package=pangaea-bus name -- -p"));
        assert_eq!(some.build, words("build --all-targets -p pangaea-tests -p pangaea-bus -p pangaea"));
        assert_eq!(some.test, words("test --no-fail-fast -p pangaea-tests --package=pangaea-bus name -- -p"));
        assert_eq!(some.doc, None);
        assert!(runs_end_to_end(&[]) && runs_end_to_end(&words("-p pangaea-tests name")));
        assert!(!runs_end_to_end(&words("-p pangaea-bus conformance")));

        let named = Plan::new(&words("conformance"));
        assert_eq!(named.build, words("build --workspace --all-targets"));
        assert_eq!(named.test, words("test --no-fail-fast --workspace conformance"));
    }

    #[test]
    fn a_missing_tool_fails_unless_it_is_allowed_with_a_reason() {
        let missing = [Missing { name: "postgresql".to_owned(), why: "no apt-get".to_owned() }];
        let allowed = parse_allowed("# why not\n\npostgresql: this image has none\n").unwrap();
        report_missing(&missing, &allowed).unwrap();
        let refusal = report_missing(&missing, &BTreeMap::new()).unwrap_err().to_string();
        assert!(refusal.contains("postgresql missing"), "{refusal}");
        for bad in ["postgresql", "postgresql:", "postgresql:  ", "postgres: none here"] {
            assert!(parse_allowed(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_file_names_every_tool_that_it_may_allow() {
        let text = fs::read_to_string(workspace::root().join(".ci/allowed-missing")).unwrap();
        parse_allowed(&text).unwrap();
        let comment: String = text.lines().filter_map(|line| line.strip_prefix('#')).collect();
        let named = comment.split_once("Names:").unwrap().1.split_once('.').unwrap().0;
        let named: Vec<_> = named.split([',', ';', ':']).map(str::trim).filter(|word| !word.contains(' ')).collect();
        assert_eq!(named, TOOLS);
    }

    #[test]
    fn a_failed_step_without_a_failed_test_counts() {
        let mut steps = Steps::default();
        steps.run("build", || -> Result<()> { bail!("does not compile") });
        let code = finish(&steps, Outcome { passed: 3, failed: 0, ignored: 0 });
        assert_eq!(code, ExitCode::FAILURE);
    }
}
