//! What runs during the check; everything ends with the value that started it.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::bootstrap::{Pods, configuration};
use super::http::Client;
use super::model::Traffic;
use crate::process::{Signal, free_port, http_status, stop, tied_to_us};

const START_MAX: Duration = Duration::from_secs(30);
const STOP_MAX: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);
/// Another program may take a free port between the look and the start.
const TRIES: u32 = 3;

pub(super) const MODULES: [&str; 4] = ["product", "order", "payment", "user"];
/// As short as the store lets it be, so that a token can be seen to end.
pub(super) const TOKEN_LIFE_S: u64 = 30;

/// A folder that is removed when dropped.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

/// A child with its output in a file.
#[derive(Debug)]
struct Running {
    child: Child,
    name: String,
    log: PathBuf,
}

/// An Envoy with one configuration.
#[derive(Debug)]
pub(super) struct Envoy {
    _running: Running,
    pub(super) address: SocketAddr,
}

/// The store, a process for each module, over a broker of its own.
#[derive(Debug)]
pub(super) struct Store {
    // Dropped in this order: the broker last.
    _modules: Vec<Running>,
    _broker: Running,
    addresses: Vec<(&'static str, SocketAddr)>,
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

// === impl Folder ===

impl Folder {
    pub(super) fn create() -> Result<Self> {
        let path = |number: u32| std::env::temp_dir().join(format!("pangaea-envoy-{}-{number}", std::process::id()));
        let path = (0..100).map(path).find(|path| !path.exists()).context("too many folders of killed runs")?;
        fs::create_dir(&path).with_context(|| format!("could not create {}", path.display()))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            println!("could not remove {}: {error}", self.0.display());
        }
    }
}

// === impl Running ===

impl Running {
    fn start(name: &str, mut command: Command, folder: &Path) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let output = fs::File::create(&log)?;
        // A process group of its own: Ctrl-C would else reach it before what depends on it.
        command.process_group(0).current_dir(folder).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().with_context(|| format!("could not start {name}"))?;
        Ok(Self { child, name: name.to_owned(), log })
    }

    /// # Errors
    /// With its last lines when it ends, or is not ready in time.
    fn wait(&mut self, is_ready: impl Fn() -> bool) -> Result<()> {
        let until = Instant::now() + START_MAX;
        while !is_ready() {
            let ended = self.child.try_wait()?;
            if let Some(status) = ended {
                bail!("{} has ended ({status}): {}", self.name, self.last_lines());
            }
            ensure!(Instant::now() < until, "{} is not ready: {}", self.name, self.last_lines());
            sleep(POLL);
        }
        Ok(())
    }

    fn last_lines(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<_> = text.lines().rev().take(8).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if stop(&mut self.child, Signal::Term, STOP_MAX).is_none() {
            println!("{} (process {}) could not be stopped", self.name, self.child.id());
        }
    }
}

// === impl Envoy ===

impl Envoy {
    /// # Errors
    /// With Envoy's own words when it does not take the configuration.
    pub(super) fn start(program: &Path, name: &str, traffic: &Traffic, pods: &Pods, folder: &Path) -> Result<Self> {
        let mut tried = 1;
        loop {
            match Self::start_once(program, name, traffic, pods, folder) {
                Err(error) if tried < TRIES && format!("{error:#}").contains("in use") => tried += 1,
                other => return other,
            }
        }
    }

    fn start_once(program: &Path, name: &str, traffic: &Traffic, pods: &Pods, folder: &Path) -> Result<Self> {
        let (address, admin) = (local(free_port()?), local(free_port()?));
        let file = folder.join(format!("{name}.json"));
        fs::write(&file, serde_json::to_vec_pretty(&configuration(traffic, pods, address, admin)?)?)?;
        let mut command = tied_to_us(program, Signal::Term);
        command
            .args(["--disable-hot-restart", "--concurrency", "2", "--log-level", "warning", "--config-path"])
            .arg(&file);
        let mut running = Running::start(name, command, folder)?;
        running.wait(|| http_status(admin, "/ready").is_ok_and(|status| status == 200))?;
        Ok(Self { _running: running, address })
    }

    pub(super) fn client(&self) -> Client {
        Client::new(self.address)
    }
}

// === impl Store ===

impl Store {
    /// # Errors
    /// When a process does not become ready.
    pub(super) fn start(program: &Path, nats: &Path, folder: &Path) -> Result<Self> {
        let port = free_port()?;
        let mut command = tied_to_us(nats, Signal::Term);
        command.args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"]).arg(folder.join("jetstream"));
        let mut broker = Running::start("nats", command, folder)?;
        broker.wait(|| std::net::TcpStream::connect(local(port)).is_ok())?;
        let mut modules = Vec::new();
        let mut addresses = Vec::new();
        let mut operations = Vec::new();
        for module in MODULES {
            let (http, operated) = (local(free_port()?), local(free_port()?));
            let mut command = tied_to_us(program, Signal::Term);
            command.args(["run", "--modules", module]).env_clear();
            command.env("PANGAEA__HTTP__LISTEN", http.to_string());
            command.env("PANGAEA__OPERATIONS__LISTEN", operated.to_string());
            command.env("PANGAEA__BUS__KIND", "nats").env("PANGAEA__BUS__URL", format!("nats://127.0.0.1:{port}"));
            command.env("PANGAEA__MODULES__USER__SETTINGS__ACCESS_TOKEN_SECONDS", TOKEN_LIFE_S.to_string());
            command.env("PANGAEA__TELEMETRY__LOG_FORMAT", "json");
            modules.push(Running::start(module, command, folder)?);
            addresses.push((module, http));
            operations.push(operated);
        }
        for (running, operated) in modules.iter_mut().zip(operations) {
            running.wait(|| http_status(operated, "/readyz").is_ok_and(|status| status == 200))?;
        }
        Ok(Self { _modules: modules, _broker: broker, addresses })
    }

    pub(super) fn pods(&self) -> Pods {
        let mut pods = Pods::default();
        for (module, address) in &self.addresses {
            pods.add(module, "v1", *address);
        }
        pods
    }
}
