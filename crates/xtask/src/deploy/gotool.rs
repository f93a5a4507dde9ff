//! Programs and files out of Go modules, at pinned versions, under `target/tools`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde_json::Value;

use super::Context;
use crate::process::on_path;
use crate::workspace;

/// What the modules that are built need at least.
pub(crate) const GO: &str = "1.26.0";

/// A Go module of ours, that exists only so that programs are built of it: `go install` takes no replacements, and none of its
/// versions can be chosen but the program's own.
#[derive(Debug)]
pub(crate) struct Recipe {
    /// Its folder below target/tools, in whose name its versions are: `kubernetes-v1.36.3`.
    pub(crate) folder: String,
    pub(crate) go_mod: String,
    /// A program of its own, if it has one.
    pub(crate) main_go: Option<&'static str>,
}

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

/// Builds packages of a module; gives the program of the last one.
///
/// # Errors
/// When one cannot be built.
pub(crate) fn of_module(ctx: &Context, name: &str, module: &str, version: &str, packages: &[&str]) -> Result<PathBuf> {
    let go_mod = format!("module pangaea.example/{name}\n\ngo {GO}\n\nrequire {module} {version}\n");
    let recipe = Recipe { folder: format!("{name}-{version}"), go_mod, main_go: None };
    let mut program = PathBuf::new();
    for package in packages {
        let file = package.rsplit('/').next().unwrap_or(package);
        program = recipe.build(ctx, file, &format!("{module}/{package}"), &["-ldflags", "-s -w"])?;
    }
    Ok(program)
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
    // What is built for minutes should not be in anybody's way.
    let mut command = Command::new("nice");
    // Modules are unpacked without write bits otherwise, and `cargo clean` could not take them away.
    command.arg(go).env("GOFLAGS", "-modcacherw").env("GOPATH", &home).env("GOCACHE", home.join("cache"));
    command.env_remove("GOROOT").current_dir(env::temp_dir());
    Ok(command)
}

// === impl Recipe ===

impl Recipe {
    /// Builds `package` of the module, `.` being its own program, as the file `name` in its folder; once.
    ///
    /// # Errors
    /// When there is no `go`, or it fails.
    pub(crate) fn build(&self, ctx: &Context, name: &str, package: &str, options: &[&str]) -> Result<PathBuf> {
        let folder = ctx.tools.join(&self.folder);
        self.write_into(&folder)?;
        let program = folder.join(name);
        if program.is_file() {
            return Ok(program);
        }
        println!("{name} is built once, which takes minutes");
        let mut command = go(ctx)?;
        command.arg("build").args(options).arg("-o").arg(&program).arg(package).current_dir(&folder);
        // The list of checksums grows as modules are needed, each checked against the public log.
        command.env("GOFLAGS", "-mod=mod -modcacherw -trimpath -buildvcs=false").env("CGO_ENABLED", "0");
        workspace::run(&mut command).with_context(|| format!("{name} cannot be built"))?;
        Ok(program)
    }

    /// What is there of another recipe goes, with the programs that were built of it.
    fn write_into(&self, folder: &Path) -> Result<()> {
        let text = format!("{}\n{}", self.go_mod, self.main_go.unwrap_or_default());
        // Go adds to go.mod what it finds to be needed, so that file does not tell.
        let recipe = folder.join("recipe");
        if fs::read_to_string(&recipe).is_ok_and(|there| there == text) {
            return Ok(());
        }
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder)?;
        fs::write(folder.join("go.mod"), &self.go_mod)?;
        if let Some(main) = self.main_go {
            fs::write(folder.join("main.go"), main)?;
        }
        fs::write(recipe, text)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::running::Folder;

    #[test]
    fn another_recipe_takes_away_what_was_built_of_the_last() {
        let made = Folder::make("recipe").unwrap();
        let folder = made.path().join("tool-v1");
        let recipe = |main_go| Recipe { folder: "tool-v1".to_owned(), go_mod: "module a\n".to_owned(), main_go };
        recipe(Some("package main")).write_into(&folder).unwrap();
        fs::write(folder.join("tool"), "built").unwrap();
        fs::write(folder.join("go.mod"), "module a\nrequire b v1\n").unwrap();
        recipe(Some("package main")).write_into(&folder).unwrap();
        assert!(folder.join("tool").is_file());
        recipe(Some("package main // more")).write_into(&folder).unwrap();
        assert!(!folder.join("tool").exists());
        assert_eq!(fs::read_to_string(folder.join("go.mod")).unwrap(), "module a\n");
        assert_eq!(fs::read_to_string(folder.join("main.go")).unwrap(), "package main // more");
    }

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
