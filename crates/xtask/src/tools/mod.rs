//! The servers that the tests run against: found, else installed under `target/tools`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};

use crate::process::on_path;
use crate::workspace;

mod cargo;
mod debian;
mod docker;
mod iptables;
mod nats;
pub(crate) mod pip;
mod postgres;
mod prometheus;

pub(crate) use cargo::installed as cargo_tool;
pub(crate) use debian::{program as debian_program, with_unpacked};
pub(crate) use docker::{Engine, engine as docker_engine, engine_with_networks as docker_engine_with_networks};
pub(crate) use iptables::{link as link_iptables, program as iptables};
pub(crate) use nats::server_for_up as nats_server;
pub(crate) use postgres::{Postgres, find_or_install as postgres};
pub(crate) use prometheus::promtool;

/// What was found or installed. A tool that is absent is named in `missing`.
#[derive(Debug, Default)]
pub(crate) struct Tools {
    /// A current nats-server.
    pub(crate) nats: Option<PathBuf>,
    /// The oldest nats-server that is supported, 2.9.
    pub(crate) nats_old: Option<PathBuf>,
    pub(crate) postgres: Option<Postgres>,
    pub(crate) missing: Vec<Missing>,
}

/// A tool that could not be had, so that the tests which need it did not run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) name: String,
    pub(crate) why: String,
}

/// Finds every tool and installs what is not there.
pub(crate) fn find_or_install(system_wide: bool) -> Tools {
    let mut tools = Tools::default();
    let postgres = postgres::find_or_install(system_wide);
    tools.postgres = tools.keep("postgresql", postgres);
    let old = nats::find_or_install_old(system_wide);
    tools.nats_old = tools.keep("nats-server-old", old);
    let current = nats::find_or_install_current();
    tools.nats = tools.keep("nats-server", current);
    tools
}

/// The folder that this program installs into.
fn folder() -> PathBuf {
    workspace::target().join("tools")
}

/// What the program answers to `--version`; an error when it does not run.
///
/// Being there is not enough: a file may be for another processor, miss a library, or wrap something that is gone.
fn version_of(program: &Path) -> Result<String> {
    version_with(&mut Command::new(program))
}

fn version_with(program: &mut Command) -> Result<String> {
    let name = workspace::shown(program);
    let output = program.arg("--version").output().with_context(|| format!("{name} does not start"))?;
    if !output.status.success() {
        bail!("{name} --version failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Installs Debian packages on the whole system.
///
/// # Errors
/// When there is no apt-get, or it refuses.
fn apt_install(packages: &[&str]) -> Result<()> {
    let apt = on_path("apt-get").ok_or_else(|| anyhow!("no apt-get on PATH"))?;
    let apt = || match on_path("sudo") {
        Some(sudo) if !is_root() => {
            let mut command = Command::new(sudo);
            command.arg("-n").arg(&apt);
            command
        }
        _ => Command::new(&apt),
    };
    workspace::run(apt().arg("update"))?;
    workspace::run(apt().args(["install", "-y", "--no-install-recommends"]).args(packages))
}

/// Whether this process runs as root: asked of a file that it makes, since the standard library has no `geteuid`.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    let probe = folder().join(".owner");
    let made = fs::create_dir_all(folder()).and_then(|()| fs::write(&probe, ""));
    made.and_then(|()| fs::metadata(&probe)).is_ok_and(|about| about.uid() == 0)
}

// === impl Tools ===

impl Tools {
    fn keep<T: Shown>(&mut self, name: &str, found: Result<T>) -> Option<T> {
        match found {
            Ok(tool) => {
                println!("{name}: {}", tool.shown());
                Some(tool)
            }
            Err(error) => {
                println!("{name}: not found: {error:#}");
                self.missing.push(Missing { name: name.to_owned(), why: format!("{error:#}").replace('\n', " ") });
                None
            }
        }
    }
}

/// How a found tool is shown in the log.
trait Shown {
    fn shown(&self) -> String;
}

// === impl Shown ===

impl Shown for PathBuf {
    fn shown(&self) -> String {
        format!("{} ({})", self.display(), version_of(self).unwrap_or_default())
    }
}

impl Shown for Postgres {
    fn shown(&self) -> String {
        format!("{} ({})", self.bin().display(), self.version())
    }
}
