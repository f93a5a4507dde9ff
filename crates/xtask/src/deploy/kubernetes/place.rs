//! Where the processes of a cluster run.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::deploy::running::{Folder, Running};
use crate::process::{Signal, on_path, tied_to_us};

/// Nobody's (RFC 5737), so that it hides nothing that a process inside may want to reach.
const NODE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const START_MAX: Duration = Duration::from_secs(10);
/// Where a kubelet and containerd keep things whatever they are told.
const HIDDEN: &str = "/run /var/log /var/lib/kubelet";
const KUBELET: &str = "/var/lib/kubelet";

/// Where processes run: on this machine, or in [`Namespaces`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// The process whose namespaces are entered.
    init: Option<u32>,
}

/// A network, mounts and process numbers of their own. What runs there changes nothing of this machine, and all of it ends
/// with this.
#[derive(Debug)]
pub(crate) struct Namespaces {
    init: u32,
    holder: Running,
    _folder: Folder,
}

// === impl Place ===

impl Place {
    pub(crate) const HERE: Self = Self { init: None };

    /// The program, to be run there.
    pub(crate) fn command(self, program: &Path) -> Command {
        let Some(init) = self.init else { return tied_to_us(program, Signal::Term) };
        let mut command = tied_to_us(Path::new("nsenter"), Signal::Term);
        command.args(["--target", &init.to_string(), "--net", "--mount", "--pid", "--"]).arg(program);
        command
    }

    /// The address on which processes there reach each other.
    pub(crate) fn address(self) -> Ipv4Addr {
        if self.init.is_some() { NODE } else { Ipv4Addr::LOCALHOST }
    }
}

// === impl Namespaces ===

impl Namespaces {
    /// # Errors
    /// Without root, or when the system has no such namespaces.
    pub(crate) fn make() -> Result<Self> {
        let unshare = on_path("unshare").ok_or_else(|| anyhow!("no `unshare` on PATH"))?;
        let folder = Folder::make("namespaces")?;
        // The address needs a device. Both ends are here: nothing leaves.
        let script = format!(
            "set -e; ip link set lo up; ip link add eth0 type veth peer name eth1; ip address add {NODE}/24 dev eth0; \
             ip link set eth0 up; ip link set eth1 up; ip route add default dev eth0; \
             echo 1 > /proc/sys/net/ipv4/ip_forward; \
             for folder in {HIDDEN}; do mkdir -p $folder; mount -t tmpfs tmpfs $folder; done; \
             echo ready; exec sleep 2147483647"
        );
        // unshare hears of nothing else while it waits for its child.
        let mut command = tied_to_us(&unshare, Signal::Kill);
        command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", &script]);
        let mut holder = Running::start("namespaces", &mut command, folder.path())?;
        let log = folder.path().join("namespaces.log");
        let is_ready = || fs::read_to_string(&log).is_ok_and(|log| log.contains("ready"));
        holder.wait_until(START_MAX, is_ready).context("only root can make namespaces")?;
        let id = holder.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
        let init = children.split_whitespace().next().and_then(|child| child.parse().ok());
        Ok(Self { init: init.context("unshare has no child")?, holder, _folder: folder })
    }

    pub(crate) fn place(&self) -> Place {
        Place { init: Some(self.init) }
    }

    /// # Errors
    /// When all there has ended.
    pub(crate) fn ensure_run(&mut self) -> Result<()> {
        ensure!(self.holder.is_running(), "the cluster's namespaces have ended");
        Ok(())
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        // With its first process everything in there ends.
        let _ = Command::new("kill").args(["-s", "KILL", &self.init.to_string()]).status();
        // Made for the mount; whatever is in it is somebody else's.
        let _ = fs::remove_dir(KUBELET);
    }
}
