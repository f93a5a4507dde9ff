//! PostgreSQL's programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, anyhow};

use super::{apt_install, debian, version_with};
use crate::process::on_path;

/// `initdb` and `postgres` of one installation, both seen to run.
#[derive(Debug)]
pub(crate) struct Postgres {
    bin: PathBuf,
    libraries: Option<String>,
    version: String,
}

/// PostgreSQL on `PATH`, where distributions keep it, or under `target/tools`; else it is installed.
///
/// # Errors
/// When there is none and none can be installed.
pub(crate) fn find_or_install(system_wide: bool) -> Result<Postgres> {
    if let Some(found) = find() {
        return Ok(found);
    }
    if system_wide {
        match apt_install(&["postgresql"]) {
            Ok(()) => {}
            Err(error) => println!("apt-get could not install postgresql: {error:#}"),
        }
        if let Some(found) = find() {
            return Ok(found);
        }
    }
    debian::unpack("postgresql", &debian::folder())
        .map_err(|error| error.context("install PostgreSQL 14 or later, or run with --install on Debian or Ubuntu"))?;
    find().ok_or_else(|| anyhow!("the unpacked PostgreSQL under {} does not run", debian::folder().display()))
}

fn find() -> Option<Postgres> {
    let on_path = on_path("initdb").and_then(|file| Some(fs::canonicalize(file).ok()?.parent()?.to_owned()));
    let system = versions_under(Path::new("/usr/lib/postgresql"));
    let own = versions_under(&debian::folder().join("usr/lib/postgresql"));
    let places = on_path.into_iter().chain(system).map(|bin| (bin, None));
    let places = places.chain(own.into_iter().map(|bin| (bin, own_libraries())));
    places.filter_map(|(bin, libraries)| Postgres::at(bin, libraries)).next()
}

/// `<folder>/<version>/bin`, the highest version first.
fn versions_under(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    versions.into_iter().map(|(_, bin)| bin).collect()
}

/// `LD_LIBRARY_PATH` for the unpacked packages: `usr/lib/<triplet>` and `lib/<triplet>`.
fn own_libraries() -> Option<String> {
    let roots = ["usr/lib", "lib"].map(|folder| debian::folder().join(folder));
    let folders = roots.iter().filter_map(|root| fs::read_dir(root).ok()).flatten().flatten().map(|entry| entry.path());
    let folders = folders.filter(|path| path.to_string_lossy().contains("-linux-gnu"));
    std::env::join_paths(folders).ok()?.into_string().ok()
}

// === impl Postgres ===

impl Postgres {
    fn at(bin: PathBuf, libraries: Option<String>) -> Option<Self> {
        let mut found = Self { bin, libraries, version: String::new() };
        version_with(&mut found.with_libraries(Command::new(found.bin.join("initdb")))).ok()?;
        found.version = version_with(&mut found.with_libraries(Command::new(found.bin.join("postgres")))).ok()?;
        Some(found)
    }

    /// The folder of the programs.
    pub(crate) fn bin(&self) -> &Path {
        &self.bin
    }

    /// `LD_LIBRARY_PATH` for programs that were unpacked and not installed.
    pub(crate) fn libraries(&self) -> Option<&str> {
        self.libraries.as_deref()
    }

    /// What `postgres --version` says.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// The command with the environment that the programs need.
    pub(crate) fn with_libraries(&self, mut command: Command) -> Command {
        if let Some(libraries) = &self.libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        command
    }
}
