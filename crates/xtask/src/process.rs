//! Child processes: signals, stopping, ports.

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

const POLL: Duration = Duration::from_millis(50);
/// Tests have nothing to drain.
const GROUP_STOP_MAX: Duration = Duration::from_secs(10);

/// Tells whether this process has been asked to stop.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

/// The signal that asks a child to end.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Signal {
    /// SIGINT: PostgreSQL's fast shutdown.
    Int,
    /// SIGTERM: drain, then end.
    Term,
    /// SIGKILL: for what hears of no other.
    Kill,
}

/// A program found on `PATH`.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// `program` such that it gets `signal` when this process dies without stopping it, where `setpriv` can arrange that.
pub(crate) fn tied_to_us(program: &std::path::Path, signal: Signal) -> Command {
    match on_path("setpriv") {
        Some(setpriv) if cfg!(target_os = "linux") => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", signal.name()]).arg(program);
            command
        }
        _ => Command::new(program),
    }
}

/// A port on 127.0.0.1 that was free a moment ago.
///
/// # Errors
/// When the system has none.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port on 127.0.0.1")?;
    Ok(listener.local_addr()?.port())
}

/// Asks the child to end, waits up to `patience`, then kills it.
pub(crate) fn stop(child: &mut Child, signal: Signal, patience: Duration) -> Option<ExitStatus> {
    if let Ok(Some(status)) = child.try_wait() {
        return Some(status);
    }
    // The standard library can only send SIGKILL, and calling libc is `unsafe`: `kill` is on every Unix.
    let _ = Command::new("kill").args(["-s", signal.name(), &child.id().to_string()]).status();
    let until = Instant::now() + patience;
    while Instant::now() < until {
        match child.try_wait() {
            Ok(None) => sleep(POLL),
            Ok(Some(status)) => return Some(status),
            Err(_) => break,
        }
    }
    let _ = child.kill();
    child.wait().ok()
}

/// Kills what is left of a process group, of which there may be nothing.
pub(crate) fn kill_group(group: u32) {
    let mut kill = Command::new("kill");
    kill.args(["-s", "KILL", "--", &format!("-{group}")]);
    let _ = kill.stdout(Stdio::null()).stderr(Stdio::null()).status();
}

/// The status of an HTTP GET.
///
/// # Errors
/// When nobody listens, or the answer is no HTTP.
pub(crate) fn http_status(address: SocketAddr, path: &str) -> std::io::Result<u16> {
    use std::io::Write;
    let patience = Duration::from_secs(2);
    let mut stream = std::net::TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    // In one write: who answers after the first part, and closes, would break the pipe for the others.
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut head = Vec::new();
    stream.take(64).read_to_end(&mut head)?;
    let text = String::from_utf8_lossy(&head);
    let status = text.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok());
    status.ok_or_else(|| std::io::Error::new(ErrorKind::InvalidData, "no HTTP answer"))
}

// === impl Interrupt ===

impl Interrupt {
    /// From now on SIGINT, SIGTERM and SIGHUP set a flag in place of ending this process; what was started can then
    /// be stopped.
    ///
    /// # Errors
    /// When the system refuses a handler.
    pub(crate) fn listen() -> Result<Self> {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // The second signal ends this process at once, for a user who has waited long enough.
            signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&flag))?;
            signal_hook::flag::register(signal, Arc::clone(&flag))?;
        }
        Ok(Self(flag))
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Passes an interrupt on to a process group, and kills what is left of it a little later. Returns when `ended` is
    /// set.
    pub(crate) fn pass_on(&self, group: u32, ended: &AtomicBool) {
        let signal_group = |name: &str| {
            let _ = Command::new("kill").args(["-s", name, "--", &format!("-{group}")]).status();
        };
        let mut kill_at = None;
        while !ended.load(Ordering::Relaxed) {
            match kill_at {
                None if self.is_set() => {
                    signal_group(Signal::Term.name());
                    kill_at = Some(Instant::now() + GROUP_STOP_MAX);
                }
                Some(at) if Instant::now() >= at => {
                    signal_group("KILL");
                    kill_at = Some(Instant::now() + GROUP_STOP_MAX);
                }
                _ => {}
            }
            sleep(POLL);
        }
    }
}

// === impl Signal ===

impl Signal {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Int => "INT",
            Self::Term => "TERM",
            Self::Kill => "KILL",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;

    use super::*;

    #[test]
    fn a_child_that_ignores_the_signal_is_killed() {
        let mut deaf = Command::new("sh").args(["-c", "trap '' TERM; while :; do sleep 0.05; done"]).spawn().unwrap();
        sleep(Duration::from_millis(200));
        let started = Instant::now();
        let status = stop(&mut deaf, Signal::Term, Duration::from_millis(300)).unwrap();
        assert!(started.elapsed() >= Duration::from_millis(300));
        assert!(!status.success());
        assert!(deaf.try_wait().unwrap().is_some());
    }

    #[test]
    fn an_interrupt_reaches_the_whole_group() {
        let interrupt = Interrupt(Arc::new(AtomicBool::new(false)));
        let ended = AtomicBool::new(false);
        let mut parent = Command::new("sh").args(["-c", "sleep 60 & wait"]).process_group(0).spawn().unwrap();
        let group = parent.id();
        let status = std::thread::scope(|scope| {
            scope.spawn(|| interrupt.pass_on(group, &ended));
            sleep(Duration::from_millis(200));
            assert!(parent.try_wait().unwrap().is_none(), "nobody has asked it to end yet");
            interrupt.0.store(true, Ordering::Relaxed);
            let status = parent.wait().unwrap();
            ended.store(true, Ordering::Relaxed);
            status
        });
        assert!(!status.success());
        let left = || Command::new("kill").args(["-s", "0", "--", &format!("-{group}")]).output().unwrap().status;
        let until = Instant::now() + Duration::from_secs(10);
        while left().success() {
            assert!(Instant::now() < until, "the grandchild lives on");
            sleep(POLL);
        }
    }

    #[test]
    fn reads_the_status_of_an_answer() {
        use std::io::Write;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            let read = stream.read(&mut request).unwrap();
            stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n").unwrap();
            String::from_utf8_lossy(&request[..read]).into_owned()
        });
        assert_eq!(http_status(address, "/readyz").unwrap(), 503);
        assert!(server.join().unwrap().starts_with("GET /readyz HTTP/1.1\r\n"));
    }
}
