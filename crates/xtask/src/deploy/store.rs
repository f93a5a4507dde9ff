//! A store of a check's own: the real program, on free ports, in a folder that is gone afterwards.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::Context;
use super::facts::Facts;
use super::running::{Folder, Running};
use crate::process::{Signal, free_port, tied_to_us};
use crate::tools;

/// Processes, stopped in reverse order when this is dropped.
#[derive(Debug)]
pub(crate) struct Store {
    /// What clients use.
    pub(crate) http: SocketAddr,
    /// Where each process shows its metrics, in the order of the groups.
    pub(crate) operations: Vec<SocketAddr>,
    program: PathBuf,
    running: Vec<Running>,
    folder: Folder,
}

pub(crate) fn local() -> Result<SocketAddr> {
    Ok(SocketAddr::from(([127, 0, 0, 1], free_port()?)))
}

/// The body of an HTTP GET.
///
/// # Errors
/// When nobody answers.
pub(crate) fn get(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    // HTTP/1.0: the answer comes in one piece and ends with the connection.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    ensure!(head.contains(" 200 "), "{address}{path}: {}", head.lines().next().unwrap_or_default());
    Ok(body.to_owned())
}

// === impl Store ===

impl Store {
    /// All modules in one process. `settings` are `key=value` for `--set`.
    ///
    /// # Errors
    /// When it does not get ready.
    pub(crate) fn together(program: PathBuf, settings: &[&str]) -> Result<Self> {
        let folder = Folder::make("together")?;
        let (http, operations) = (local()?, local()?);
        let mut store = Self { http, operations: Vec::new(), program, running: Vec::new(), folder };
        store.host("together", &[], http, operations, settings)?;
        store.wait_ready()?;
        Ok(store)
    }

    /// A process for each of these groups of modules, over a broker; an edge before all of them.
    ///
    /// # Errors
    /// When there is no nats-server, or a process does not get ready.
    pub(crate) fn apart(ctx: &Context, groups: &[&[&str]], settings: &[&str]) -> Result<Self> {
        let folder = Folder::make("apart")?;
        let (broker, edge) = (local()?, local()?);
        let mut command = tied_to_us(&tools::nats_server()?, Signal::Term);
        command.args(["-a", "127.0.0.1", "-p", &broker.port().to_string(), "-js", "-sd"]).arg(folder.path());
        let mut nats = Running::start("nats", &mut command, folder.path())?;
        nats.wait_ready(broker, "")?;
        let program = ctx.program.clone();
        let mut store = Self { http: edge, operations: Vec::new(), program, running: vec![nats], folder };
        let url = format!("bus.url=nats://{broker}");
        let settings: Vec<_> = settings.iter().copied().chain(["bus.kind=nats", &url]).collect();
        let mut command = tied_to_us(&store.program, Signal::Term);
        command.args(["edge", "--listen", &edge.to_string()]).env_clear();
        let modules = Facts::read(ctx)?.modules;
        for group in groups {
            let (http, operations) = (local()?, local()?);
            store.host(&group.join("-"), &["--modules", &group.join(",")], http, operations, &settings)?;
            for prefix in modules.iter().filter(|one| group.contains(&one.name.as_str())).flat_map(|one| &one.prefixes)
            {
                command.args(["--route", &format!("{prefix}=http://{http}")]);
            }
        }
        store.wait_ready()?;
        let mut running = Running::start("edge", &mut command, store.folder.path())?;
        running.wait_ready(edge, "")?;
        store.running.push(running);
        Ok(store)
    }

    /// `pangaea load` with these words; what it says at the end.
    ///
    /// # Errors
    /// When it cannot be started, or an accepted order is missing or does not settle.
    pub(crate) fn load(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.args(["load", "--url", &format!("http://{}", self.http)]).args(words).env_clear();
        let output = command.output().context("`pangaea load` does not start")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`pangaea load {}`: {said} {complaint}", words.join(" "));
        Ok(said)
    }

    /// The metrics of all processes.
    ///
    /// # Errors
    /// When one does not answer.
    pub(crate) fn metrics(&self) -> Result<String> {
        self.operations.iter().map(|address| get(*address, "/metrics")).collect()
    }

    fn host(
        &mut self,
        name: &str,
        words: &[&str],
        http: SocketAddr,
        operations: SocketAddr,
        settings: &[&str],
    ) -> Result<()> {
        let mut command = tied_to_us(&self.program, Signal::Term);
        // Everything that it writes by default is beneath its working directory.
        command.arg("run").args(words).env_clear().current_dir(self.folder.path());
        let listens = [format!("http.listen={http}"), format!("operations.listen={operations}")];
        for setting in listens.iter().map(String::as_str).chain(settings.iter().copied()) {
            command.args(["--set", setting]);
        }
        self.running.push(Running::start(name, &mut command, self.folder.path())?);
        self.operations.push(operations);
        Ok(())
    }

    /// Waits for all that have been started: some may need others.
    fn wait_ready(&mut self) -> Result<()> {
        let hosts = self.running.len() - self.operations.len();
        let mut pairs = self.running[hosts..].iter_mut().zip(&self.operations);
        pairs.try_for_each(|(running, operations)| running.wait_ready(*operations, "/readyz"))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        while let Some(running) = self.running.pop() {
            drop(running);
        }
    }
}
