//! etcd and kube-apiserver on free ports, with keys and a token of their own, in a temporary folder.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::build::Programs;
use super::kubectl::Kubectl;
use crate::deploy::running::Folder;
use crate::process::{Signal, free_port, stop, tied_to_us};
use crate::workspace;

const START_MAX: Duration = Duration::from_secs(120);
const STOP_MAX: Duration = Duration::from_secs(20);

/// A running control plane of two processes: it admits and stores, and nothing runs in it. Dropping it stops both.
#[derive(Debug)]
pub(super) struct Cluster {
    /// In the order of their start.
    children: Vec<(&'static str, Child)>,
    folder: Folder,
    url: String,
    kubectl: Kubectl,
}

// === impl Cluster ===

impl Cluster {
    /// Starts both and waits until the API is ready.
    ///
    /// # Errors
    /// When one ends, or is not ready within two minutes; with the end of its log.
    pub(super) fn start(programs: &Programs) -> Result<Self> {
        let folder = Folder::make("kubernetes")?;
        let [etcd, peers, api] = [free_port()?, free_port()?, free_port()?];
        let token = keys(programs, folder.path())?;
        let url = format!("https://127.0.0.1:{api}");
        let kubectl = Kubectl::new(&programs.kubectl, folder.path(), &url, &token)?;
        let mut cluster = Self { children: Vec::new(), folder, url, kubectl };
        cluster.spawn("etcd", etcd_command(programs, cluster.folder.path(), etcd, peers))?;
        cluster.spawn("kube-apiserver", apiserver_command(programs, cluster.folder.path(), etcd, api))?;
        cluster.wait_ready()?;
        Ok(cluster)
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    fn spawn(&mut self, name: &'static str, mut command: Command) -> Result<()> {
        println!("{name}: $ {}", workspace::shown(&command));
        let log = File::create(self.folder.path().join(name).with_extension("log"))?;
        command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .current_dir(self.folder.path());
        let child = command.spawn().with_context(|| format!("{name} does not start"))?;
        self.children.push((name, child));
        Ok(())
    }

    fn wait_ready(&mut self) -> Result<()> {
        let until = Instant::now() + START_MAX;
        loop {
            for (name, child) in &mut self.children {
                if let Some(status) = child.try_wait()? {
                    bail!("{name} ended at its start ({status}): {}", last_lines(self.folder.path(), name));
                }
            }
            let answer = self.kubectl.raw("/readyz");
            if answer.is_ok() {
                return Ok(());
            }
            ensure!(
                Instant::now() < until,
                "kube-apiserver is not ready: {}; {}",
                answer.unwrap_err(),
                last_lines(self.folder.path(), "kube-apiserver")
            );
            sleep(Duration::from_millis(500));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        while let Some((name, mut child)) = self.children.pop() {
            if stop(&mut child, Signal::Term, STOP_MAX).is_none() {
                println!("{name}: process {} could not be stopped", child.id());
            }
        }
    }
}

/// A key for service accounts' tokens, and a token for us. The API makes its own certificate.
fn keys(programs: &Programs, folder: &Path) -> Result<String> {
    let key = folder.join("service-account.key");
    let mut make = Command::new(&programs.openssl);
    make.args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out"]).arg(&key);
    let made = make.output().context("openssl does not start")?;
    ensure!(made.status.success(), "openssl genpkey: {}", String::from_utf8_lossy(&made.stderr).trim());
    let random = Command::new(&programs.openssl).args(["rand", "-hex", "32"]).output()?;
    let token = String::from_utf8(random.stdout)?.trim().to_owned();
    ensure!(token.len() == 64, "openssl rand gave no token");
    fs::write(folder.join("tokens.csv"), format!("{token},check,check,\"system:masters\"\n"))?;
    Ok(token)
}

fn etcd_command(programs: &Programs, folder: &Path, clients: u16, peers: u16) -> Command {
    let (clients, peers) = (format!("http://127.0.0.1:{clients}"), format!("http://127.0.0.1:{peers}"));
    let mut command = tied_to_us(&programs.etcd, Signal::Term);
    command.arg("--data-dir").arg(folder.join("etcd"));
    command.args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients]);
    command.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
    // What it keeps is thrown away at the end.
    command.args(["--initial-cluster", &format!("default={peers}"), "--unsafe-no-fsync"]);
    command
}

fn apiserver_command(programs: &Programs, folder: &Path, etcd: u16, port: u16) -> Command {
    let key = folder.join("service-account.key");
    let mut command = tied_to_us(&programs.apiserver, Signal::Term);
    command.args(["--etcd-servers", &format!("http://127.0.0.1:{etcd}")]);
    command.args(["--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1"]);
    command.args(["--secure-port", &port.to_string(), "--service-cluster-ip-range", "10.96.0.0/16"]);
    command.arg("--cert-dir").arg(folder.join("certificates"));
    command.arg("--token-auth-file").arg(folder.join("tokens.csv"));
    // What is privileged is PodSecurity's to refuse.
    command.arg("--allow-privileged=true");
    command.args(["--authorization-mode", "RBAC", "--service-account-issuer", "https://kubernetes.default.svc"]);
    command.arg("--service-account-key-file").arg(&key).arg("--service-account-signing-key-file").arg(&key);
    command
}

fn last_lines(folder: &Path, name: &str) -> String {
    let log = fs::read_to_string(folder.join(name).with_extension("log")).unwrap_or_default();
    let lines: Vec<_> = log.lines().rev().take(12).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
}
