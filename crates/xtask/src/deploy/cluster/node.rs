//! One node with its control plane: containerd, kubelet, kube-proxy, and the controllers that make pods of Deployments.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;

use super::images::PAUSE;
use super::programs::Programs;
use crate::cgroups::Groups;
use crate::deploy::kubernetes::{ControlPlane, Kubectl, Namespaces, Place, SERVICES};
use crate::deploy::running::{Folder, Running};
use crate::{tools, workspace};

pub(super) const NAME: &str = "node";
/// The cluster's DNS.
pub(super) const DNS: &str = "10.96.0.10";
const PODS: &str = "10.244.0.0/24";
const CLUSTER: &str = "10.244.0.0/16";
/// In the node's folder: what describes the pods' network, and the programs that make it.
pub(super) const NETWORKS: &str = "cni";
pub(super) const PLUGINS: &str = "cni-plugins";
const START_MAX: Duration = Duration::from_secs(90);
/// The groups of pods.
const KUBEPODS: &str = "kubepods";

/// A running cluster. Dropping it leaves nothing.
#[derive(Debug)]
pub(super) struct Node {
    // Dropped in this order. With the namespaces every process ends that was started in them.
    namespaces: Namespaces,
    control: ControlPlane,
    processes: Vec<Running>,
    _groups: Groups,
    folder: Folder,
    client: PathBuf,
}

// === impl Node ===

impl Node {
    /// Starts everything, and waits until the node is ready.
    ///
    /// # Errors
    /// When something ends, or the node is not ready in time.
    pub(super) fn start(programs: &Programs) -> Result<Self> {
        let groups = Groups::named(KUBEPODS);
        if let Some(place) = groups.place() {
            bail!("{} is there: pods run on this machine, and two kubelets would end each other's", place.display());
        }
        let folder = Folder::make("node")?;
        let namespaces = Namespaces::make()?;
        let control = ControlPlane::start(&programs.control, namespaces.place())?;
        let client = programs.containerd.with_file_name("ctr");
        let mut node = Self { namespaces, control, processes: Vec::new(), _groups: groups, folder, client };
        // kube-proxy and the policies' router look for it by its names.
        tools::link_iptables(node.folder.path())?;
        node.controllers(programs)?;
        node.containerd(programs)?;
        node.kubelet(programs)?;
        node.proxy(programs)?;
        Ok(node)
    }

    pub(super) fn kubectl(&self) -> &Kubectl {
        self.control.kubectl()
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.control.folder().join("kubeconfig")
    }

    /// A program, to be run on the node.
    pub(super) fn command(&self, program: &Path) -> Result<Command> {
        let mut command = self.namespaces.place().command(program);
        tools::with_unpacked(&mut command)?;
        let path =
            command.get_envs().find(|(key, _)| *key == "PATH").and_then(|(_, value)| value.map(ToOwned::to_owned));
        let folders = std::env::split_paths(&path.unwrap_or_default()).collect::<Vec<_>>();
        let own = [self.folder.path().to_owned(), self.client.parent().map(Path::to_owned).unwrap_or_default()];
        command.env("PATH", std::env::join_paths(own.into_iter().chain(folders))?);
        Ok(command)
    }

    /// Starts a program of the node's.
    ///
    /// # Errors
    /// When it does not start.
    pub(super) fn run(&mut self, name: &str, command: &mut Command) -> Result<&mut Running> {
        println!("{name}: $ {}", workspace::shown(command));
        self.processes.push(Running::start(name, command, self.folder.path())?);
        self.processes.last_mut().context("it was just added")
    }

    /// Gives an image to containerd.
    ///
    /// # Errors
    /// When it refuses.
    pub(super) fn load(&mut self, archive: &Path) -> Result<()> {
        self.namespaces.ensure_run()?;
        let output = self.ctr()?.args(["--namespace", "k8s.io", "images", "import"]).arg(archive).output()?;
        ensure!(output.status.success(), "ctr images import: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    }

    /// What the node's programs said last, for whom a trial failed.
    pub(super) fn told(&self) -> String {
        let pods = self.kubectl().ask(&["get", "pods", "--all-namespaces", "--output", "wide"], &[]);
        let events =
            self.kubectl().ask(&["get", "events", "--all-namespaces", "--field-selector", "type=Warning"], &[]);
        let logs = self.processes.iter().map(Running::last_lines).collect::<Vec<_>>().join("\n");
        format!("{}\n{}\n{logs}", pods.unwrap_or_else(|error| error), events.unwrap_or_else(|error| error))
    }

    fn place(&self) -> Place {
        self.namespaces.place()
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("containerd.sock")
    }

    fn ctr(&self) -> Result<Command> {
        let mut command = self.command(&self.client)?;
        command.arg("--address").arg(self.socket());
        Ok(command)
    }

    fn controllers(&mut self, programs: &Programs) -> Result<()> {
        let (keys, kubeconfig) = (self.control.folder().to_owned(), self.kubeconfig());
        let mut command = self.command(&programs.controllers)?;
        command.arg("--kubeconfig").arg(&kubeconfig).args(["--leader-elect=false", "--allocate-node-cidrs"]);
        command.arg("--service-account-private-key-file").arg(keys.join("service-account.key"));
        command.arg("--root-ca-file").arg(keys.join("certificates/apiserver.crt"));
        command.args(["--cluster-cidr", CLUSTER, "--service-cluster-ip-range", SERVICES]);
        self.run("kube-controller-manager", &mut command)?;
        let mut command = self.command(&programs.scheduler)?;
        command.arg("--kubeconfig").arg(&kubeconfig).arg("--leader-elect=false");
        self.run("kube-scheduler", &mut command)?;
        Ok(())
    }

    fn containerd(&mut self, programs: &Programs) -> Result<()> {
        let folder = self.folder.path().to_owned();
        let network = json!({
            "cniVersion": "1.0.0", "name": "pods",
            "plugins": [{ "type": "ptp", "ipam": {
                "type": "host-local", "dataDir": folder.join("addresses"),
                "ranges": [[{ "subnet": PODS }]], "routes": [{ "dst": "0.0.0.0/0" }],
            } }],
        });
        for place in [NETWORKS, PLUGINS] {
            fs::create_dir(folder.join(place))?;
        }
        // A mesh adds its own to them.
        for plugin in fs::read_dir(&programs.cni)?.flatten().filter(|file| file.path().is_file()) {
            symlink(plugin.path(), folder.join(PLUGINS).join(plugin.file_name()))?;
        }
        fs::write(folder.join(NETWORKS).join("10-pods.conflist"), network.to_string())?;
        let configuration = folder.join("containerd.toml");
        fs::write(&configuration, containerd_toml(&folder, programs))?;
        let mut command = self.command(&programs.containerd)?;
        command.arg("--config").arg(&configuration);
        self.run("containerd", &mut command)?;
        let mut answers = self.ctr()?;
        answers.arg("version");
        let containerd = self.processes.last_mut().context("it was just started")?;
        containerd.wait_until(START_MAX, || answers.output().is_ok_and(|output| output.status.success()))
    }

    fn kubelet(&mut self, programs: &Programs) -> Result<()> {
        let folder = self.folder.path().to_owned();
        let never = json!({ "memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%" });
        let configuration = json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            "containerRuntimeEndpoint": format!("unix://{}", self.socket().display()),
            // Also where the kernel's groups have the older layout, as here and there in a container.
            "cgroupDriver": "cgroupfs", "failCgroupV1": false,
            // It can be reached from within its namespaces only.
            "authentication": { "anonymous": { "enabled": true }, "webhook": { "enabled": false } },
            "authorization": { "mode": "AlwaysAllow" },
            "clusterDNS": [DNS], "clusterDomain": "cluster.local", "resolvConf": "",
            // This machine's disk may be full of builds.
            "evictionHard": never, "localStorageCapacityIsolation": false,
            "podLogsDir": folder.join("pods"), "volumePluginDir": folder.join("plugins"),
        });
        let file = folder.join("kubelet.json");
        fs::write(&file, configuration.to_string())?;
        let address = self.place().address().to_string();
        let mut command = self.command(&programs.kubelet)?;
        command.arg("--config").arg(file).arg("--kubeconfig").arg(self.kubeconfig());
        command.arg("--root-dir").arg(folder.join("kubelet")).arg("--cert-dir").arg(folder.join("certificates"));
        command.args(["--hostname-override", NAME, "--node-ip", &address]);
        self.run("kubelet", &mut command)?;
        let ready = ["wait", "--for=condition=Ready", "--timeout=1s", "node", NAME];
        let Self { control, processes, .. } = self;
        let kubelet = processes.last_mut().context("it was just started")?;
        kubelet.wait_until(START_MAX, || control.kubectl().ask(&ready, &[]).is_ok())
    }

    fn proxy(&mut self, programs: &Programs) -> Result<()> {
        let configuration = json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": "nftables",
            "clientConnection": { "kubeconfig": self.kubeconfig() }, "clusterCIDR": CLUSTER, "hostnameOverride": NAME,
            // What it would set is not the namespaces' own.
            "conntrack": { "maxPerCore": 0 },
        });
        let file = self.folder.path().join("kube-proxy.json");
        fs::write(&file, configuration.to_string())?;
        let mut command = self.command(&programs.proxy)?;
        self.run("kube-proxy", command.arg("--config").arg(file))?;
        Ok(())
    }
}

/// With folders of its own, and without a score for the kernel's killer that only a whole machine's root may set.
fn containerd_toml(folder: &Path, programs: &Programs) -> String {
    let (folder, runc) = (folder.display(), programs.runc.display());
    format!(
        "version = 3\nroot = \"{folder}/containerd\"\nstate = \"{folder}/containerd-state\"\n\
         [grpc]\naddress = \"{folder}/containerd.sock\"\n\
         [plugins.'io.containerd.cri.v1.images'.pinned_images]\nsandbox = \"{PAUSE}\"\n\
         [plugins.'io.containerd.cri.v1.runtime']\nrestrict_oom_score_adj = true\n\
         [plugins.'io.containerd.cri.v1.runtime'.cni]\nbin_dirs = [\"{folder}/{PLUGINS}\"]\nconf_dir = \"{folder}/{NETWORKS}\"\n\
         [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]\nruntime_type = \"io.containerd.runc.v2\"\n\
         [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]\nBinaryName = \"{runc}\"\n"
    )
}
