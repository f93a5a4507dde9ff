//! Processes that a check starts, and their folder: both are gone when the check is over, however it ends.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::process::{Signal, http_status, kill_group, stop};

const READY_MAX: Duration = Duration::from_secs(60);
/// Longer than the store's own drain.
const STOP_MAX: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);
/// What is looked at from afar.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
const LAST_LINES: usize = 12;

/// Looks until it is as it should be, or long enough.
///
/// # Errors
/// With what was wrong at last.
pub(crate) fn eventually<T>(patience: Duration, mut look: impl FnMut() -> Result<T>) -> Result<T> {
    let until = Instant::now() + patience;
    loop {
        match look() {
            Err(_) if Instant::now() < until => sleep(LOOK_AGAIN),
            other => return other.with_context(|| format!("within {} s", patience.as_secs())),
        }
    }
}

/// A process whose output goes to a file. It leads a group of its own, of which nothing is left when this is dropped: a
/// terminal's Ctrl-C would else reach all at once, a database before what writes to it.
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
    /// Its output goes to `<name>.log` in the folder.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn start(name: &str, command: &mut Command, folder: &Path) -> Result<Self> {
        Self::start_with_log(name, command, folder.join(format!("{name}.log")))
    }

    /// # Errors
    /// When it does not start, or its log cannot be made.
    pub(crate) fn start_with_log(name: &str, command: &mut Command, log: PathBuf) -> Result<Self> {
        let output = File::create(&log).with_context(|| format!("could not create {}", log.display()))?;
        command.process_group(0).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().with_context(|| format!("could not start {name}"))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Waits until `GET path` is answered with 200; an empty path asks for a connection only.
    ///
    /// # Errors
    /// When it ends before, or the time is over.
    pub(crate) fn wait_ready(&mut self, address: SocketAddr, path: &str) -> Result<()> {
        self.wait_until(READY_MAX, || match path {
            "" => TcpStream::connect_timeout(&address, POLL).is_ok(),
            path => http_status(address, path).is_ok_and(|status| status == 200),
        })
        .with_context(|| format!("waiting for {address}{path}"))
    }

    /// Waits until it is ready, of which `is_ready` is the judge.
    ///
    /// # Errors
    /// With its last lines when it ends before, or the time is over.
    pub(crate) fn wait_until(&mut self, patience: Duration, mut is_ready: impl FnMut() -> bool) -> Result<()> {
        let until = Instant::now() + patience;
        while !is_ready() {
            self.ensure_runs()?;
            ensure!(Instant::now() < until, "{} is not ready; its last lines: {}", self.name, self.last_lines());
            sleep(POLL);
        }
        Ok(())
    }

    /// # Errors
    /// With its last lines when it has ended.
    pub(crate) fn ensure_runs(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => {
                bail!("{} has ended by itself ({status}); its last lines: {}", self.name, self.last_lines())
            }
            None => Ok(()),
        }
    }

    /// Waits for its end. None when the time is over; then it has been stopped.
    ///
    /// # Errors
    /// When the system does not say.
    pub(crate) fn wait_end(&mut self, until: Instant) -> Result<Option<ExitStatus>> {
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            sleep(POLL);
        }
        self.stop();
        Ok(None)
    }

    /// Its process' number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks it to end, and waits as long as a store may drain.
    pub(crate) fn stop(&mut self) -> Option<ExitStatus> {
        self.stop_within(STOP_MAX)
    }

    /// Asks it to end; kills it when it has not within this time.
    pub(crate) fn stop_within(&mut self, patience: Duration) -> Option<ExitStatus> {
        stop(&mut self.child, Signal::Term, patience)
    }

    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The end of its log, in one line.
    pub(crate) fn last_lines(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().rev().take(LAST_LINES).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.stop().is_none() {
            println!("{}: process {} could not be stopped", self.name, self.child.id());
        }
        // What it has started itself and left behind.
        kill_group(self.child.id());
    }
}

// === impl Folder ===

impl Folder {
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn make(name: &str) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        loop {
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("pangaea-{name}-{}-{number}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self(path)),
                // A killed run's, whose process had the same number.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).with_context(|| path.display().to_string()),
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_its_group_is_left() {
        let folder = Folder::make("running").unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "trap 'exit 0' TERM; sleep 60 & echo started; wait"]);
        let mut running = Running::start("parent", &mut command, folder.path()).unwrap();
        let log = folder.path().join("parent.log");
        let has_started = || fs::read_to_string(&log).is_ok_and(|log| log.contains("started"));
        running.wait_until(Duration::from_secs(10), has_started).unwrap();
        let group = running.child.id();
        drop(running);
        let left = || Command::new("kill").args(["-s", "0", "--", &format!("-{group}")]).output().unwrap().status;
        let until = Instant::now() + Duration::from_secs(10);
        while left().success() {
            assert!(Instant::now() < until, "what it had started lives on");
            sleep(POLL);
        }
    }

    #[test]
    fn who_ends_before_it_is_ready_is_told_with_its_last_lines() {
        let folder = Folder::make("running").unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo first; echo no database; exit 3"]);
        let mut running = Running::start("store", &mut command, folder.path()).unwrap();
        let error = running.wait_until(Duration::from_secs(10), || false).unwrap_err().to_string();
        assert!(error.contains("store has ended by itself") && error.contains("first | no database"), "{error}");
    }

    #[test]
    fn folders_are_new_ones() {
        let [one, other] = [Folder::make("running").unwrap(), Folder::make("running").unwrap()];
        assert_ne!(one.path(), other.path());
    }
}
