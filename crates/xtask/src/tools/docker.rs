//! A Docker engine: the one that is there, or one that is started from Debian's packages.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::{debian, is_root};
use crate::process::{Signal, on_path, stop};

const START_MAX: Duration = Duration::from_secs(30);
const STOP_MAX: Duration = Duration::from_secs(20);

/// A Docker engine, and how it is reached.
#[derive(Debug)]
pub(crate) struct Engine {
    client: PathBuf,
    host: Option<String>,
    path: Option<std::ffi::OsString>,
    /// The engine that this program has started, with its folder.
    own: Option<(Child, PathBuf)>,
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
    let unpacked = debian::folder();
    if on_path("dockerd").is_none() && !unpacked.join("usr/sbin/dockerd").is_file() {
        debian::unpack("docker.io", &unpacked)?;
    }
    start(&unpacked)
}

/// Starts dockerd with everything of its own: no bridge and no rules of the kernel's packet filter, so that nothing of this
/// machine is changed, and a file system driver that works everywhere.
fn start(unpacked: &Path) -> Result<Engine> {
    let folder = env::temp_dir().join(format!("pangaea-dockerd-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let folders = ["usr/bin", "usr/sbin"].map(|name| unpacked.join(name));
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(folders.into_iter().chain(env::split_paths(&path)))?;
    let find = |name: &str| env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file());
    let dockerd = find("dockerd").context("no dockerd among what was unpacked")?;
    let client = find("docker").context("no docker among what was unpacked")?;
    let host = format!("unix://{}/docker.sock", folder.display());
    let log = File::create(folder.join("log"))?;
    let mut command = Command::new(dockerd);
    command.args(["--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=vfs"]);
    for (name, file) in [("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid")] {
        command.arg(name).arg(folder.join(file));
    }
    command.args(["--host", &host]).env("PATH", &path);
    command.env("LD_LIBRARY_PATH", unpacked.join("usr/lib").join(format!("{}-linux-gnu", env::consts::ARCH)));
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let child = command.spawn().context("dockerd does not start")?;
    let mut engine = Engine { client, host: Some(host), path: Some(path), own: Some((child, folder)) };
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
            let Some((child, folder)) = &mut self.own else { bail!("no engine of our own") };
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
        if let Some((mut child, folder)) = self.own.take() {
            // It ends its containers first.
            stop(&mut child, Signal::Term, STOP_MAX);
            let _ = fs::remove_dir_all(folder);
        }
    }
}
