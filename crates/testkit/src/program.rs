use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::process::{Output, Process};

/// The first build of everything takes its time on a small machine.
pub(crate) const RUN_MAX: Duration = Duration::from_secs(300);

/// The top folder of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("."))
}

/// The executable under test: the one that `PANGAEA_PROGRAM` names, such as a release that is about to be shipped; else
/// `pangaea` beside the folder of the running test's executable. That one is built once where it is missing, so that
/// `cargo test -p pangaea-tests` alone works too; `cargo xtask test` has always built it.
///
/// # Errors
/// When it is not there and cannot be built.
pub fn program() -> Result<&'static Path> {
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let found = PROGRAM.get_or_init(|| find_or_build().map_err(|error| format!("{error:#}")));
    found.as_deref().map_err(|error| anyhow!("{error}"))
}

/// Runs the program to its end, with a clean environment plus `env`, in `folder`. At most five minutes.
///
/// # Errors
/// When it cannot be started, or does not end in time.
pub async fn run_program(folder: &Path, args: &[&str], env: &[(String, String)]) -> Result<Output> {
    run_within(program()?, folder, args, env, RUN_MAX).await
}

pub(crate) async fn run_within(
    program: &Path,
    folder: &Path,
    args: &[&str],
    env: &[(String, String)],
    within: Duration,
) -> Result<Output> {
    let name = args.first().copied().unwrap_or("pangaea");
    let mut process = Process::new(name, program, folder);
    process.args(args).envs(env);
    process.run(within).await
}

/// `target/<profile>/deps/<test>`, or `target/<profile>/<program>`, → `target/<profile>/pangaea`.
fn find_or_build() -> Result<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "tests are told by the environment which program to run")]
    if let Some(named) = std::env::var_os("PANGAEA_PROGRAM") {
        return Ok(std::path::absolute(named)?);
    }
    let this = std::env::current_exe().context("the test does not know its own path")?;
    let mut profile = this.parent().context("the test's executable is in no target folder")?;
    if profile.ends_with("deps") {
        profile = profile.parent().context("the test's executable is in no target folder")?;
    }
    let program = profile.join(format!("pangaea{}", std::env::consts::EXE_SUFFIX));
    if program.is_file() {
        return Ok(program);
    }
    let mut build = Command::new(env!("CARGO"));
    // With the tests, whose manifest asks for the program's faults.
    build.args(["build", "--package", "pangaea", "--package", "pangaea-tests"]).current_dir(workspace());
    if profile.file_name().is_some_and(|name| name == "release") {
        build.arg("--release");
    }
    let built = build.status().context("cargo could not be started")?;
    ensure!(built.success(), "`cargo build -p pangaea` failed: {built}");
    if !program.is_file() {
        bail!("cargo has built the program, but not as {}", program.display());
    }
    Ok(program)
}
