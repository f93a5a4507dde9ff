//! What a store expects of a cluster: names, volumes, and that network policies hold.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Result, anyhow};
use serde_json::{Value, json};

use super::node::{NAME, Node};
use super::programs::Programs;
use crate::deploy::kubernetes::SERVICES;
use crate::deploy::render;

/// As many as the overlays claim: two of one, and one of the other after it.
const VOLUMES: usize = 3;

/// # Errors
/// When something does not start or is not ready in time.
pub(super) fn install(node: &mut Node, programs: &Programs) -> Result<()> {
    let mut documents = render::documents(include_str!("platform.yaml"))?;
    documents.extend(volumes(node)?);
    node.kubectl().make(&documents.iter().collect::<Vec<_>>())?;
    // Only its part that makes rules of network policies. It is what k3s ships for that.
    let mut command = node.command(&programs.kube_router)?;
    command.args(["--run-firewall=true", "--run-router=false", "--run-service-proxy=false"]);
    command.arg("--kubeconfig").arg(node.kubeconfig());
    command.args(["--hostname-override", NAME, "--service-cluster-ip-range", SERVICES]).env("NODE_NAME", NAME);
    node.run("kube-router", &mut command)?;
    let dns = ["--namespace", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=2m"];
    node.kubectl().ask(&dns, &[]).map_err(|error| anyhow!("the cluster's DNS: {error}"))?;
    Ok(())
}

/// Folders that anybody may write, as Minikube's are.
fn volumes(node: &Node) -> Result<Vec<Value>> {
    let one = |number: usize| {
        let folder = node.folder().join(format!("volume-{number}"));
        fs::create_dir(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777))?;
        Ok(json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": format!("volume-{number}") },
            "spec": { "capacity": { "storage": "10Gi" }, "accessModes": ["ReadWriteOnce"], "hostPath": { "path": folder } },
        }))
    };
    (0..VOLUMES).map(one).collect()
}
