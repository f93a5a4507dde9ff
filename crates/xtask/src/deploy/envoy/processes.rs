//! What runs during the check; everything ends with the value that started it.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Result, ensure};

use super::bootstrap::{Pods, configuration};
use super::http::Client;
use super::model::Traffic;
use crate::deploy::running::Running;
use crate::deploy::store::local;
use crate::process::{Signal, tied_to_us};

/// Another program may take a free port between the look and the start.
const TRIES: u32 = 3;

/// As short as the store lets it be, so that a token can be seen to end.
pub(super) const TOKEN_LIFE_S: u64 = 30;

/// An Envoy with one configuration.
#[derive(Debug)]
pub(super) struct Envoy {
    _running: Running,
    pub(super) address: SocketAddr,
    admin: SocketAddr,
}

/// The store, a process for each module, over a broker of its own.
#[derive(Debug)]
pub(super) struct Store {
    // Dropped in this order: the broker last.
    _modules: Vec<Running>,
    _broker: Running,
    addresses: Vec<(String, SocketAddr)>,
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
        let (address, admin) = (local()?, local()?);
        let file = folder.join(format!("{name}.json"));
        fs::write(&file, serde_json::to_vec_pretty(&configuration(traffic, pods, address, admin)?)?)?;
        let mut command = tied_to_us(program, Signal::Term);
        command
            .args(["--disable-hot-restart", "--concurrency", "2", "--log-level", "warning", "--config-path"])
            .arg(&file)
            .current_dir(folder);
        let mut running = Running::start(name, &mut command, folder)?;
        running.wait_ready(admin, "/ready")?;
        Ok(Self { _running: running, address, admin })
    }

    pub(super) fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// A counter or a gauge of its upstreams, all together.
    ///
    /// # Errors
    /// When it does not answer, or has no such figure.
    pub(super) fn upstreams(&self, figure: &str) -> Result<u64> {
        let said = Client::new(self.admin).get(&format!("/stats?filter={figure}$"), &[])?.body;
        let mut figures = said.lines().filter_map(|line| line.rsplit_once(": ")?.1.parse::<u64>().ok()).peekable();
        ensure!(figures.peek().is_some(), "Envoy has no {figure}: {said}");
        Ok(figures.sum())
    }
}

// === impl Store ===

impl Store {
    /// # Errors
    /// When a process does not become ready.
    pub(super) fn start(program: &Path, nats: &Path, names: &[String], folder: &Path) -> Result<Self> {
        let nats_address = local()?;
        let port = nats_address.port();
        let mut command = tied_to_us(nats, Signal::Term);
        command.args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"]).arg(folder.join("jetstream"));
        let mut broker = Running::start("nats", command.current_dir(folder), folder)?;
        broker.wait_ready(nats_address, "")?;
        let mut modules = Vec::new();
        let mut addresses = Vec::new();
        let mut operations = Vec::new();
        for module in names {
            let (http, operated) = (local()?, local()?);
            let mut command = tied_to_us(program, Signal::Term);
            command.args(["run", "--modules", module]).env_clear();
            command.env("PANGAEA__HTTP__LISTEN", http.to_string());
            command.env("PANGAEA__OPERATIONS__LISTEN", operated.to_string());
            command.env("PANGAEA__BUS__KIND", "nats").env("PANGAEA__BUS__URL", format!("nats://127.0.0.1:{port}"));
            command.env("PANGAEA__MODULES__USER__SETTINGS__ACCESS_TOKEN_SECONDS", TOKEN_LIFE_S.to_string());
            command.env("PANGAEA__TELEMETRY__LOG_FORMAT", "json");
            modules.push(Running::start(module, command.current_dir(folder), folder)?);
            addresses.push((module.clone(), http));
            operations.push(operated);
        }
        for (running, operated) in modules.iter_mut().zip(operations) {
            running.wait_ready(operated, "/readyz")?;
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
