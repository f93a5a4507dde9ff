//! A Docker engine: the one that is there, or one that is started from Debian's packages.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::{debian, iptables, is_root};
use crate::cgroups::Groups;
use crate::process::{Signal, on_path, stop};

const START_MAX: Duration = Duration::from_secs(30);
const STOP_MAX: Duration = Duration::from_secs(20);

/// A Docker engine, and how it is reached.
#[derive(Debug)]
pub(crate) struct Engine {
    client: PathBuf,
    host: Option<String>,
    path: Option<std::ffi::OsString>,
    own: Option<Own>,
}

/// The engine that this program has started.
#[derive(Debug)]
struct Own {
    child: Child,
    folder: PathBuf,
    /// Dropped last: a group can be removed when nothing runs in it.
    _groups: Groups,
}

/// # Errors
/// When none answers and none can be started, with what stands in the way.
pub(crate) fn engine() -> Result<Engine> {
    if let Some(client) = on_path("docker") {
        let engine = Engine { client, host: None, path: None, own: None };
        if engine.answers() {
            return Ok(engine);
        }
    }
    ensure!(is_root(), "no Docker engine answers, and only root can start one");
    // No bridge and no rules of the kernel's packet filter, so that nothing of this machine is changed. Mounts of its own, since it
    // leaves one, in a folder that could not be removed then.
    let run = |dockerd: &Path| {
        let mut command = Command::new("unshare");
        command.arg("--mount").arg(dockerd);
        command
    };
    start(run, |_| Ok(()), &["--iptables=false", "--ip6tables=false", "--bridge=none"])
}

/// An engine of our own that gives containers networks, and so makes bridges and rules of the kernel's packet filter wherever `run`
/// has it run. `run` makes the command of a program.
///
/// # Errors
/// When it cannot be started, with what stands in the way.
pub(crate) fn engine_with_networks(run: impl FnOnce(&Path) -> Command) -> Result<Engine> {
    ensure!(is_root(), "only root can start a Docker engine");
    start(run, iptables::link, &["--ip6tables=false"])
}

/// Starts dockerd with everything of its own, and a file system driver that works everywhere. It finds first what `link` puts into its
/// folder.
fn start(run: impl FnOnce(&Path) -> Command, link: impl FnOnce(&Path) -> Result<()>, words: &[&str]) -> Result<Engine> {
    let unpacked = debian::folder();
    if on_path("dockerd").is_none() && !unpacked.join("usr/sbin/dockerd").is_file() {
        debian::unpack("docker.io", &unpacked)?;
    }
    let name = format!("pangaea-dockerd-{}", std::process::id());
    let folder = env::temp_dir().join(&name);
    // A killed run's, whose process had the same number.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    link(&folder)?;
    let folders = [folder.clone(), unpacked.join("usr/bin"), unpacked.join("usr/sbin")];
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(folders.into_iter().chain(env::split_paths(&path)))?;
    let find = |name: &str| env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file());
    let dockerd = find("dockerd").context("no dockerd among what was unpacked")?;
    let client = find("docker").context("no docker among what was unpacked")?;
    let host = format!("unix://{}/docker.sock", folder.display());
    let log = File::create(folder.join("log"))?;
    let mut command = run(&dockerd);
    command.args(words).arg("--storage-driver=vfs");
    for (name, file) in [("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid")] {
        command.arg(name).arg(folder.join(file));
    }
    // Groups of its own, which can be told from those of another engine, and taken away.
    let groups = Groups::named(&name);
    command.args(["--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", &format!("/{name}")]);
    debian::with_unpacked(&mut command)?;
    command.args(["--host", &host]).env("PATH", &path);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let child = command.spawn().context("dockerd does not start")?;
    let own = Some(Own { child, folder, _groups: groups });
    let mut engine = Engine { client, host: Some(host), path: Some(path), own };
    engine.wait()?;
    Ok(engine)
}

// === impl Engine ===

impl Engine {
    /// `docker`, for this engine. Its builder is the one that is part of the engine.
    pub(crate) fn docker(&self) -> Command {
        let mut command = Command::new(&self.client);
        if let Some(host) = &self.host {
            command.env("DOCKER_HOST", host).env("DOCKER_BUILDKIT", "0");
        }
        if let Some(path) = &self.path {
            command.env("PATH", path);
        }
        command
    }

    /// Whether it was started by this program, and so knows of no registry.
    pub(crate) fn is_own(&self) -> bool {
        self.own.is_some()
    }

    fn answers(&self) -> bool {
        self.docker().args(["version", "--format", "{{.Server.Version}}"]).output().is_ok_and(|o| o.status.success())
    }

    fn wait(&mut self) -> Result<()> {
        let until = Instant::now() + START_MAX;
        while !self.answers() {
            let Some(Own { child, folder, .. }) = &mut self.own else { bail!("no engine of our own") };
            let last = || {
                let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
                log.lines().last().unwrap_or_default().to_owned()
            };
            if let Some(status) = child.try_wait()? {
                bail!("dockerd has ended ({status}): {}", last());
            }
            ensure!(Instant::now() < until, "dockerd does not answer: {}", last());
            sleep(Duration::from_millis(200));
        }
        Ok(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(own) = &mut self.own {
            // It ends its containers first.
            stop(&mut own.child, Signal::Term, STOP_MAX);
            let _ = fs::remove_dir_all(&own.folder);
        }
    }
}
