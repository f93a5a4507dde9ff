//! Two nats-servers: a current one, and the oldest that is supported.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};

use super::{apt_install, debian, folder, version_of};
use crate::process::on_path;
use crate::workspace;

/// Releases to build with `go install`: the next one is for a Go that is too old for the one before.
const CURRENT: [&str; 2] = ["v2.14.9", "v2.12.15"];
/// What Debian 12 carries, and so the floor. Built by Go where there is no Debian package of it.
const OLD: &str = "v2.9.10";

type Version = (u32, u32, u32);

/// A nats-server 2.12 or later; failing that, one newer than the floor.
///
/// # Errors
/// When there is none and none can be built.
pub(super) fn find_or_install_current() -> Result<PathBuf> {
    if let Some(found) = newest(|version| version >= (2, 12, 0)) {
        return Ok(found);
    }
    let bin = folder().join("bin");
    let built = CURRENT.iter().map(|version| go_install(version, &bin)).find(Result::is_ok);
    if let Some(Ok(built)) = built {
        return Ok(built);
    }
    newest(|version| version >= (2, 10, 0)).ok_or_else(|| {
        anyhow!("put a nats-server 2.12 or later on PATH, or install Go, with which this command builds one")
    })
}

/// A nats-server 2.9: one that is there, Debian's, or a build of its source.
///
/// # Errors
/// When there is none and none can be installed.
pub(super) fn find_or_install_old(system_wide: bool) -> Result<PathBuf> {
    let is_old = |version: Version| ((2, 9, 0)..(2, 10, 0)).contains(&version);
    if let Some(found) = newest(is_old) {
        return Ok(found);
    }
    if system_wide
        && apt_install(&["nats-server"]).is_ok()
        && let Some(found) = newest(is_old)
    {
        return Ok(found);
    }
    if let Err(error) = debian::unpack("nats-server", &debian::folder()) {
        println!("no Debian package of nats-server: {error:#}");
    } else if let Some(found) = newest(is_old) {
        return Ok(found);
    }
    go_install(OLD, &folder().join("nats-2.9")).context("nats-server 2.9 comes from Debian 12 or is built with Go")
}

/// The server that `cargo xtask up` starts: any supported one, the newest first.
///
/// # Errors
/// When there is none and none can be built.
pub(crate) fn server_for_up() -> Result<PathBuf> {
    match newest(|version| version >= (2, 9, 0)) {
        Some(found) => Ok(found),
        None => find_or_install_current(),
    }
}

fn newest(wanted: impl Fn(Version) -> bool) -> Option<PathBuf> {
    let found = places().into_iter().filter_map(|path| Some((version(&path)?, path)));
    found.filter(|(version, _)| wanted(*version)).max_by_key(|(version, _)| *version).map(|(_, path)| path)
}

fn places() -> Vec<PathBuf> {
    let from_user = ["PANGAEA_NATS_SERVER", "PANGAEA_NATS_SERVER_OLD"].into_iter().filter_map(env::var_os);
    let own = [
        folder().join("bin/nats-server"),
        folder().join("nats-2.9/nats-server"),
        debian::folder().join("usr/sbin/nats-server"),
        PathBuf::from("/usr/sbin/nats-server"),
    ];
    from_user.map(PathBuf::from).chain(on_path("nats-server")).chain(own).filter(|path| path.is_file()).collect()
}

fn version(server: &Path) -> Option<Version> {
    parse_version(&version_of(server).ok()?)
}

/// Reads `nats-server: v2.14.9`.
fn parse_version(text: &str) -> Option<Version> {
    let numbers = text.rsplit_once('v')?.1.split('-').next()?;
    let mut numbers = numbers.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??, numbers.next()??))
}

fn go_install(version: &str, bin: &Path) -> Result<PathBuf> {
    let Some(go) = on_path("go") else { bail!("no `go` on PATH") };
    let package = format!("github.com/nats-io/nats-server/v2@{version}");
    // Run outside of any Go module, and with a GOBIN of its own, so that it touches nothing but target/tools.
    let mut command = Command::new(go);
    command.args(["install", &package]).env("GOBIN", bin).current_dir(env::temp_dir());
    workspace::run(&mut command)?;
    let server = bin.join("nats-server");
    version_of(&server)?;
    Ok(server)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_versions() {
        let cases = [
            ("nats-server: v2.14.9", Some((2, 14, 9))),
            ("nats-server: v2.9.10", Some((2, 9, 10))),
            ("nats-server: v2.15.0-RC.1", Some((2, 15, 0))),
            ("nats-server: dev", None),
            ("", None),
        ];
        for (text, version) in cases {
            assert_eq!(parse_version(text), version, "{text}");
        }
    }
}
