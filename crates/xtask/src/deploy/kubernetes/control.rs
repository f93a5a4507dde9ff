//! etcd and kube-apiserver, with keys and a token of their own, in a temporary folder.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::build::Programs;
use super::kubectl::Kubectl;
use super::place::Place;
use crate::deploy::running::{Folder, Running};
use crate::process::free_port;
use crate::workspace;

/// The addresses of Services.
pub(crate) const SERVICES: &str = "10.96.0.0/16";
const START_MAX: Duration = Duration::from_secs(120);

/// A running control plane of two processes: it admits and stores, and nothing runs in it. Dropping it stops both.
#[derive(Debug)]
pub(crate) struct ControlPlane {
    // Dropped in this order: what stores for the other one ends last.
    apiserver: Running,
    etcd: Running,
    folder: Folder,
    url: String,
    kubectl: Kubectl,
}

// === impl ControlPlane ===

impl ControlPlane {
    /// Starts both and waits until the API is ready.
    ///
    /// # Errors
    /// When one ends, or is not ready within two minutes; with the end of its log.
    pub(crate) fn start(programs: &Programs, place: Place) -> Result<Self> {
        let folder = Folder::make("kubernetes")?;
        let [etcd, peers, api] = [free_port()?, free_port()?, free_port()?];
        let token = keys(programs, folder.path())?;
        let url = format!("https://{}:{api}", place.address());
        let kubectl = Kubectl::new(&programs.kubectl, place, folder.path(), &url, &token)?;
        let start = |name, mut command: Command| {
            println!("{name}: $ {}", workspace::shown(&command));
            Running::start(name, command.current_dir(folder.path()), folder.path())
        };
        let etcd_runs = start("etcd", etcd_command(place.command(&programs.etcd), folder.path(), etcd, peers))?;
        let apiserver = place.command(&programs.apiserver);
        let apiserver = start("kube-apiserver", apiserver_command(apiserver, place, folder.path(), etcd, api))?;
        let mut cluster = Self { apiserver, etcd: etcd_runs, folder, url, kubectl };
        cluster.wait_ready()?;
        Ok(cluster)
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Where its keys are, and its configuration for clients: `kubeconfig`.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    fn wait_ready(&mut self) -> Result<()> {
        let Self { apiserver, etcd, kubectl, .. } = self;
        let mut answer = Ok(String::new());
        let ready = apiserver.wait_until(START_MAX, || {
            answer = kubectl.raw("/readyz");
            answer.is_ok() || !etcd.is_running()
        });
        // Without its store the API server says nothing of use.
        etcd.ensure_runs()?;
        ready.with_context(|| format!("GET /readyz: {}", answer.err().unwrap_or_default()))
    }
}

/// A key for service accounts' tokens, and a token for us. The API makes its own certificate.
fn keys(programs: &Programs, folder: &Path) -> Result<String> {
    let key = folder.join("service-account.key");
    let mut make = Command::new(&programs.openssl);
    make.args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out"]).arg(&key);
    let made = make.output().context("openssl does not start")?;
    ensure!(made.status.success(), "openssl genpkey: {}", String::from_utf8_lossy(&made.stderr).trim());
    front_proxy(programs, folder)?;
    let random = Command::new(&programs.openssl).args(["rand", "-hex", "32"]).output()?;
    let token = String::from_utf8(random.stdout)?.trim().to_owned();
    ensure!(token.len() == 64, "openssl rand gave no token");
    fs::write(folder.join("tokens.csv"), format!("{token},check,check,\"system:masters\"\n"))?;
    Ok(token)
}

/// What the API shows to servers behind it, as to one of metrics, so that they believe whom it speaks for.
fn front_proxy(programs: &Programs, folder: &Path) -> Result<()> {
    let mut make = Command::new(&programs.openssl);
    make.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=front-proxy"]);
    make.args(["-addext", "extendedKeyUsage=clientAuth", "-keyout"]).arg(folder.join("front-proxy.key"));
    let made = make.arg("-out").arg(folder.join("front-proxy.crt")).output()?;
    ensure!(made.status.success(), "openssl req: {}", String::from_utf8_lossy(&made.stderr).trim());
    Ok(())
}

fn etcd_command(mut command: Command, folder: &Path, clients: u16, peers: u16) -> Command {
    let (clients, peers) = (format!("http://127.0.0.1:{clients}"), format!("http://127.0.0.1:{peers}"));
    command.arg("--data-dir").arg(folder.join("etcd"));
    command.args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients]);
    command.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
    // What it keeps is thrown away at the end.
    command.args(["--initial-cluster", &format!("default={peers}"), "--unsafe-no-fsync"]);
    command
}

fn apiserver_command(mut command: Command, place: Place, folder: &Path, etcd: u16, port: u16) -> Command {
    let (key, address) = (folder.join("service-account.key"), place.address().to_string());
    command.args(["--etcd-servers", &format!("http://127.0.0.1:{etcd}")]);
    command.args(["--bind-address", &address, "--advertise-address", &address]);
    command.args(["--secure-port", &port.to_string(), "--service-cluster-ip-range", SERVICES]);
    // Not by its name, which nobody here resolves.
    command.args(["--kubelet-preferred-address-types", "InternalIP"]);
    command.arg("--cert-dir").arg(folder.join("certificates"));
    command.arg("--token-auth-file").arg(folder.join("tokens.csv"));
    // What is privileged is PodSecurity's to refuse.
    command.arg("--allow-privileged=true");
    command.args(["--authorization-mode", "RBAC", "--service-account-issuer", "https://kubernetes.default.svc"]);
    let front = ["crt", "key"].map(|kind| folder.join("front-proxy").with_extension(kind));
    command.arg("--proxy-client-cert-file").arg(&front[0]).arg("--proxy-client-key-file").arg(&front[1]);
    command.arg("--requestheader-client-ca-file").arg(&front[0]).args(["--requestheader-allowed-names", "front-proxy"]);
    command.args(["--requestheader-username-headers", "X-Remote-User"]);
    command.args(["--requestheader-group-headers", "X-Remote-Group"]);
    command.args(["--requestheader-extra-headers-prefix", "X-Remote-Extra-"]);
    command.arg("--service-account-key-file").arg(&key).arg("--service-account-signing-key-file").arg(&key);
    command
}
