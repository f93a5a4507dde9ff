//! The reader of compose files that `docker compose` itself is built on, without an engine.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::folder;
use crate::process::on_path;
use crate::workspace;

const PACKAGE: &str = "github.com/compose-spec/compose-go/v2/cmd";
const VERSION: &str = "v2.9.1";

/// The program under `target/tools`; built there with Go when it is not.
///
/// # Errors
/// When it cannot be built.
pub(crate) fn reader() -> Result<PathBuf> {
    // The version is part of the path: the program does not tell it.
    let bin = folder().join(format!("compose-go-{VERSION}"));
    let reader = bin.join("cmd");
    if reader.is_file() {
        return Ok(reader);
    }
    let go = on_path("go").context("no `go` on PATH")?;
    let mut command = Command::new(go);
    // Outside of any Go module, as for the servers.
    command.args(["install", &format!("{PACKAGE}@{VERSION}")]).env("GOBIN", &bin).current_dir(env::temp_dir());
    workspace::run(&mut command)?;
    ensure!(reader.is_file(), "{} was not built", reader.display());
    Ok(reader)
}
