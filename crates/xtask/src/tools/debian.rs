//! Debian packages without root: downloaded and unpacked under `target/tools/debian`.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::process::on_path;
use crate::workspace;

/// The folder with the unpacked `usr`, `lib` …
pub(super) fn folder() -> PathBuf {
    super::folder().join("debian")
}

/// A file of a package, as `usr/sbin/nft`: unpacked, or the system's where the package is installed.
///
/// # Errors
/// When there is neither, with what stands in the way.
pub(crate) fn program(package: &str, file: &str) -> Result<PathBuf> {
    let unpacked = folder().join(file);
    if unpacked.is_file() {
        return Ok(unpacked);
    }
    let name = Path::new(file).file_name().unwrap_or_default();
    match unpack(package, &folder()) {
        Ok(()) if unpacked.is_file() => Ok(unpacked),
        Ok(()) => bail!("{package} has no {file}"),
        Err(error) => on_path(&name.to_string_lossy()).ok_or_else(|| error.context(format!("no {package}"))),
    }
}

/// A command that finds programs and libraries of unpacked packages, too.
pub(crate) fn with_unpacked(command: &mut Command) -> Result<()> {
    let folders = ["usr/bin", "usr/sbin", "bin", "sbin"].map(|name| folder().join(name));
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.env("PATH", std::env::join_paths(folders.into_iter().chain(std::env::split_paths(&path)))?);
    let libraries =
        ["usr/lib", "lib"].map(|name| folder().join(name).join(format!("{}-linux-gnu", std::env::consts::ARCH)));
    command
        .env("XTABLES_LIBDIR", libraries[0].join("xtables"))
        .env("LD_LIBRARY_PATH", std::env::join_paths(libraries)?);
    Ok(())
}

/// Unpacks the package and what it needs beyond what the system has.
///
/// # Errors
/// When this is no Debian, the package is unknown, or the download fails.
pub(super) fn unpack(package: &str, into: &Path) -> Result<()> {
    ensure!(on_path("apt-get").is_some() && on_path("dpkg").is_some(), "no apt-get and dpkg on PATH");
    let debs = super::folder().join("debs");
    fs::create_dir_all(&debs)?;
    let fetched = fetch(package, &debs, &[]).or_else(|error| {
        // The system's package lists are absent or stale. Only root may renew those: fetch lists of our own.
        println!("with the system's package lists: {error:#}");
        let own = own_lists()?;
        let mut update = Command::new("apt-get");
        workspace::run(update.arg("update").args(&own))?;
        fetch(package, &debs, &own)
    })?;
    fs::create_dir_all(into)?;
    for deb in fetched {
        workspace::run(Command::new("dpkg").arg("-x").arg(deb).arg(into))?;
    }
    Ok(())
}

/// Downloads the packages that an installation would add; returns their files.
fn fetch(package: &str, debs: &Path, options: &[OsString]) -> Result<Vec<PathBuf>> {
    let output = Command::new("apt-get")
        .args(["install", "--simulate", "--no-install-recommends"])
        .args(options)
        .arg(package)
        .env("LC_ALL", "C")
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    let packages = to_unpack(&String::from_utf8_lossy(&output.stdout));
    if packages.is_empty() {
        bail!("{package} is installed already");
    }
    let mut download = Command::new("apt-get");
    workspace::run(download.arg("download").args(options).args(&packages).current_dir(debs))?;
    packages.iter().map(|package| file_of(package, debs)).collect()
}

/// Reads the lines `Inst <package> (<version> …)` of a simulated installation.
///
/// LLVM serves only PostgreSQL's just-in-time compiler, which the test server leaves off: 100 MB for nothing.
fn to_unpack(simulation: &str) -> Vec<String> {
    let names = simulation.lines().filter_map(|line| line.strip_prefix("Inst ")?.split_whitespace().next());
    names.filter(|name| !name.starts_with("libllvm") && !name.starts_with("libz3")).map(str::to_owned).collect()
}

fn file_of(package: &str, debs: &Path) -> Result<PathBuf> {
    let name = package.split(':').next().unwrap_or(package);
    let prefix = format!("{name}_");
    let files = fs::read_dir(debs)?.filter_map(|entry| Some(entry.ok()?.path()));
    let mut files: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .filter(|path| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(&prefix)))
        .collect();
    files.sort_by_key(|path| fs::metadata(path).and_then(|about| about.modified()).ok());
    files.pop().ok_or_else(|| anyhow!("apt-get downloaded no file for {package}"))
}

/// apt's options for package lists under `target/tools/apt`, which need no root.
fn own_lists() -> Result<Vec<OsString>> {
    let apt = super::folder().join("apt");
    let mut options = Vec::new();
    for (key, name) in [("Dir::State::lists", "lists"), ("Dir::Cache", "cache")] {
        let folder = apt.join(name);
        fs::create_dir_all(folder.join("partial")).context("package lists of our own")?;
        let mut option = OsString::from(format!("{key}="));
        option.push(folder);
        options.extend([OsString::from("-o"), option]);
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_packages_that_would_be_installed() {
        let simulation = "Reading package lists...\nInst libpq5 (15.18 Debian [amd64])\n\
            Inst libllvm14 (1:14 Debian [amd64])\nInst postgresql-15 (15.18 Debian [amd64])\nConf libpq5 (15.18)\n";
        assert_eq!(to_unpack(simulation), ["libpq5", "postgresql-15"]);
    }
}
