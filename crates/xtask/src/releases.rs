//! Programs of earlier releases, which tests run beside this version.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::workspace::{self, cargo, run};

/// What rolling forward and back is tested against. A commit and not a tag, because a clone need not have the tags.
const VERSION: &str = "0.1.0";
const COMMIT: &str = "973f1cdc12cecbc77a6bd638c3b16c1ed18abebd";

/// What this version's `[profile.dev]` says that the release's does not.
const PROFILE: [&str; 2] = ["profile.dev.opt-level=0", "profile.dev.package.\"*\".opt-level=1"];

/// The folder with the program `pangaea` of v0.1.0 and, in `src`, its sources; built once for each clone.
///
/// It is built in the workspace's own target folder, with the workspace's whole choice of features and this version's
/// profile: so it shares every third-party crate with this version, and only the store's own crates are compiled again.
///
/// # Errors
/// When this clone's history does not reach to the release, or it does not build.
pub(crate) fn v0_1_0() -> Result<PathBuf> {
    let folder = workspace::target().join("releases").join(VERSION);
    let (program, stamp) = (folder.join("pangaea"), folder.join("commit"));
    if program.is_file() && fs::read_to_string(&stamp).is_ok_and(|commit| commit == COMMIT) {
        return Ok(folder);
    }
    let sources = folder.join("src");
    unpack(&sources)?;
    let mut build = cargo();
    build.args(["build", "--locked", "--workspace", "--bin", "pangaea"]).current_dir(&sources);
    for setting in PROFILE {
        build.args(["--config", setting]);
    }
    // Nobody will change these sources, so what incremental builds keep would only take room.
    build.env("CARGO_TARGET_DIR", workspace::target()).env("CARGO_INCREMENTAL", "0");
    run(&mut build)?;
    // Taken away from where the next build of this version puts its own.
    let built = workspace::target().join("debug/pangaea");
    fs::rename(&built, &program).with_context(|| format!("{} was not built", built.display()))?;
    fs::write(&stamp, COMMIT)?;
    Ok(folder)
}

/// The release's sources as the history has them.
fn unpack(sources: &Path) -> Result<()> {
    let git = |args: &[&str]| {
        let mut command = Command::new("git");
        command.args(args).current_dir(workspace::root());
        command
    };
    let known = git(&["cat-file", "-e", &format!("{COMMIT}^{{commit}}")]).output().context("could not start git")?;
    ensure!(
        known.status.success(),
        "this clone does not have the commit {COMMIT}, which is v{VERSION}: its history is cut off; fetch the rest with \
         `git fetch --unshallow` (with actions/checkout: fetch-depth: 0)"
    );
    if sources.exists() {
        fs::remove_dir_all(sources)?;
    }
    fs::create_dir_all(sources)?;
    let archive = sources.with_extension("tar");
    run(git(&["archive", "--format", "tar", "--output"]).arg(&archive).arg(COMMIT))?;
    run(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(sources))?;
    Ok(fs::remove_file(archive)?)
}
