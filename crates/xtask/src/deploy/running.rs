//! Processes that a check starts, and their folder: both are gone when the check is over, however it ends.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::process::{Signal, http_status, stop};

const READY_MAX: Duration = Duration::from_secs(60);
/// Longer than the store's own drain.
const STOP_MAX: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// A process whose output goes to a file.
#[derive(Debug)]
pub(crate) struct Running {
    name: String,
    child: Child,
    log: PathBuf,
}

/// A folder of a check's own.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

// === impl Running ===

impl Running {
    /// # Errors
    /// When it does not start.
    pub(crate) fn start(name: &str, command: &mut Command, folder: &Path) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let output = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().with_context(|| format!("could not start {name}"))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Waits until `GET path` is answered with 200; an empty path asks for a connection only.
    ///
    /// # Errors
    /// When it ends before, or the time is over.
    pub(crate) fn wait_ready(&mut self, address: SocketAddr, path: &str) -> Result<()> {
        let until = Instant::now() + READY_MAX;
        loop {
            let is_ready = match path {
                "" => TcpStream::connect_timeout(&address, POLL).is_ok(),
                path => http_status(address, path).is_ok_and(|status| status == 200),
            };
            if is_ready {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} has ended ({status}): {}", self.name, self.last_lines());
            }
            if Instant::now() > until {
                bail!("{} does not answer on {address}{path}: {}", self.name, self.last_lines());
            }
            sleep(POLL);
        }
    }

    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks it to end, and waits.
    pub(crate) fn stop(&mut self) -> Option<ExitStatus> {
        stop(&mut self.child, Signal::Term, STOP_MAX)
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn last_lines(&self) -> String {
        let log = self.log();
        let mut lines: Vec<_> = log.lines().rev().take(5).collect();
        lines.reverse();
        lines.join(" / ")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

// === impl Folder ===

impl Folder {
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn make(name: &str) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("pangaea-{name}-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is in the system's folder for such things.
        let _ = fs::remove_dir_all(&self.0);
    }
}
