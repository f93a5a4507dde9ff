//! A PostgreSQL server for one test run, in a temporary folder.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::process::{Interrupt, Signal, free_port, stop, tied_to_us};
use crate::tools::Postgres;

const START_MAX: Duration = Duration::from_secs(60);
const STOP_MAX: Duration = Duration::from_secs(20);
/// Another program may take the free port between the look and the start.
const TRIES: u32 = 3;

/// A running server; dropping it stops it and removes its folder.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    port: u16,
    _folder: Folder,
}

/// A temporary folder that is removed when dropped.
#[derive(Debug)]
struct Folder(PathBuf);

/// The user the server runs as: PostgreSQL refuses root.
#[derive(Debug, Clone, Copy)]
struct User {
    uid: u32,
    gid: u32,
}

// === impl Server ===

impl Server {
    /// Creates a database cluster and starts a server on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When `initdb` fails, the server does not become ready within a minute, or the run is interrupted.
    pub(crate) fn start(programs: &Postgres, interrupt: &Interrupt) -> Result<Self> {
        let folder = Folder::create()?;
        let user = User::for_server(&folder.0)?;
        create_cluster(programs, &folder.0, user)?;
        let mut tried = 1;
        loop {
            match Self::start_once(programs, &folder.0, user, interrupt) {
                Ok((child, port)) => {
                    return Ok(Self { child, port, _folder: folder });
                }
                Err(error) if tried == TRIES || interrupt.is_set() => return Err(error),
                Err(error) => println!("PostgreSQL, try {tried} of {TRIES}: {error:#}"),
            }
            tried += 1;
        }
    }

    /// The address for `PANGAEA_TEST_POSTGRES_URL`.
    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    fn start_once(
        programs: &Postgres,
        folder: &Path,
        user: Option<User>,
        interrupt: &Interrupt,
    ) -> Result<(Child, u16)> {
        let port = free_port()?;
        let log = fs::File::create(folder.join("log"))?;
        let mut command = programs.with_libraries(tied_to_us(&programs.bin().join("postgres"), Signal::Int));
        command.arg("-D").arg(folder.join("data")).arg("-k").arg(folder);
        command.args(["-h", "127.0.0.1", "-p", &port.to_string()]);
        for setting in ["fsync=on", "max_connections=200", "jit=off", "timezone=UTC", "log_timezone=UTC"] {
            command.args(["-c", setting]);
        }
        // A process group of its own: Ctrl-C then ends the tests first, and the server after them.
        command.process_group(0).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).current_dir(folder);
        let mut child = as_user(command, user).spawn().context("could not start postgres")?;
        match wait_until_ready(&mut child, folder, interrupt) {
            Ok(()) => Ok((child, port)),
            Err(error) => {
                stop(&mut child, Signal::Int, STOP_MAX);
                let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
                Err(error.context(log))
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if stop(&mut self.child, Signal::Int, STOP_MAX).is_none() {
            println!("PostgreSQL (process {}) could not be stopped", self.child.id());
        }
    }
}

fn create_cluster(programs: &Postgres, folder: &Path, user: Option<User>) -> Result<()> {
    let mut command = programs.with_libraries(Command::new(programs.bin().join("initdb")));
    command.arg("-D").arg(folder.join("data")).args(["-U", "postgres", "--auth=trust"]);
    // Only the creation skips fsync: the server itself runs with it.
    command.args(["--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]).current_dir(folder);
    let output = as_user(command, user).output().context("could not start initdb")?;
    ensure!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// Waits for the word `ready` in the pid file. A TCP connection would be accepted, and refused, before that.
fn wait_until_ready(child: &mut Child, folder: &Path, interrupt: &Interrupt) -> Result<()> {
    let until = Instant::now() + START_MAX;
    while Instant::now() < until {
        ensure!(!interrupt.is_set(), "interrupted");
        if let Some(status) = child.try_wait()? {
            bail!("postgres ended at its start: {status}");
        }
        let pid_file = fs::read_to_string(folder.join("data/postmaster.pid")).unwrap_or_default();
        if pid_file.lines().nth(7).is_some_and(|state| state.trim() == "ready") {
            return Ok(());
        }
        sleep(Duration::from_millis(50));
    }
    bail!("postgres was not ready after {} s", START_MAX.as_secs())
}

fn as_user(mut command: Command, user: Option<User>) -> Command {
    if let Some(User { uid, gid }) = user {
        command.uid(uid).gid(gid);
    }
    command
}

// === impl Folder ===

impl Folder {
    /// Short, because a Unix socket's path may have 107 bytes at most.
    fn create() -> Result<Self> {
        let path = |number: u32| std::env::temp_dir().join(format!("pangaea-pg-{}-{number}", std::process::id()));
        // A run that was killed leaves its folder behind, and process ids come again.
        let path = (0..100).map(path).find(|path| !path.exists()).context("too many folders of killed runs")?;
        fs::create_dir(&path).with_context(|| format!("could not create {}", path.display()))?;
        let folder = Self(path);
        fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o700))?;
        Ok(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            println!("could not remove {}: {error}", self.0.display());
        }
    }
}

// === impl User ===

impl User {
    /// Nobody else when this is not root; else `postgres` or `nobody`, who is given the folder.
    fn for_server(folder: &Path) -> Result<Option<Self>> {
        if fs::metadata(folder)?.uid() != 0 {
            return Ok(None);
        }
        let users = fs::read_to_string("/etc/passwd").context("could not read /etc/passwd")?;
        let user = ["postgres", "nobody"].iter().find_map(|name| Self::named(name, &users));
        let user =
            user.ok_or_else(|| anyhow!("root may not run PostgreSQL, and there is no user `postgres` or `nobody`"))?;
        chown(folder, Some(user.uid), Some(user.gid))?;
        Ok(Some(user))
    }

    fn named(name: &str, users: &str) -> Option<Self> {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some(Self { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_user() {
        let users = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65533:n:/:/sbin/nologin\nbad:x:y:1::/:\n";
        let user = User::named("nobody", users).unwrap();
        assert_eq!((user.uid, user.gid), (65534, 65533));
        assert!(User::named("postgres", users).is_none());
        assert!(User::named("bad", users).is_none());
    }
}
