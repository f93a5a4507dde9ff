//! Programs and files out of Go modules, at pinned versions, under `target/tools`.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde_json::Value;

use super::Context;
use crate::process::on_path;

/// The program that `go install package@version` makes. It is built once, in a folder of this name and version.
///
/// # Errors
/// When it is not there and cannot be built.
pub(crate) fn program(ctx: &Context, name: &str, package: &str, version: &str) -> Result<PathBuf> {
    let bin = ctx.tools.join(format!("{name}-{version}"));
    let program = bin.join(file_of(package));
    if program.is_file() {
        return Ok(program);
    }
    let what = format!("{package}@{version}");
    let output = go(ctx)?.args(["install", &what]).env("GOBIN", &bin).output()?;
    ensure!(output.status.success(), "go install {what}: {}", String::from_utf8_lossy(&output.stderr).trim());
    ensure!(program.is_file(), "go install {what} made no {}", program.display());
    Ok(program)
}

/// Go names a program after the last folder of its package; a major version is none.
fn file_of(package: &str) -> &str {
    let is_version = |part: &&str| part.strip_prefix('v').is_some_and(|rest| rest.parse::<u32>().is_ok());
    package.rsplit('/').find(|part| !is_version(part)).unwrap_or(package)
}

/// The unpacked folder of a module.
///
/// # Errors
/// When it cannot be downloaded.
pub(crate) fn module(ctx: &Context, module: &str, version: &str) -> Result<PathBuf> {
    let what = format!("{module}@{version}");
    let output = go(ctx)?.args(["mod", "download", "-json", &what]).output()?;
    let about: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("go mod download {what}: {}", String::from_utf8_lossy(&output.stderr).trim()))?;
    if let Some(error) = about.get("Error").and_then(Value::as_str) {
        bail!("go mod download {what}: {error}");
    }
    let folder = about.get("Dir").and_then(Value::as_str);
    folder.map(PathBuf::from).ok_or_else(|| anyhow!("go mod download {what} told no folder"))
}

/// `go`, outside of any module, with all that it writes under target/tools.
fn go(ctx: &Context) -> Result<Command> {
    let go = on_path("go").ok_or_else(|| anyhow!("no `go` on PATH"))?;
    let home = ctx.tools.join("go");
    fs::create_dir_all(&home)?;
    let mut command = Command::new(go);
    // Modules are unpacked without write bits otherwise, and `cargo clean` could not take them away.
    command.env("GOFLAGS", "-modcacherw").env("GOPATH", &home).env("GOCACHE", home.join("cache"));
    command.env_remove("GOROOT").current_dir(env::temp_dir());
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_named_after_its_package() {
        for (package, file) in [
            ("github.com/yannh/kubeconform/cmd/kubeconform", "kubeconform"),
            ("sigs.k8s.io/kustomize/kustomize/v5", "kustomize"),
            ("github.com/compose-spec/compose-go/v2/cmd", "cmd"),
        ] {
            assert_eq!(file_of(package), file);
        }
    }
}
