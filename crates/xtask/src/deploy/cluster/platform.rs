//! What a store expects of a cluster: names, volumes, and that network policies hold.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Result, anyhow, ensure};
use serde_json::{Value, json};

use super::images::{METRICS_SERVER, TAG};
use super::node::{NAME, Node};
use super::programs::Programs;
use crate::deploy::kubernetes::SERVICES;
use crate::deploy::render;
use crate::workspace;

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

/// What autoscalers measure by, which Minikube has as an addon.
///
/// # Errors
/// When its chart is refused, or it is not ready in time.
pub(super) fn install_metrics(node: &Node, programs: &Programs) -> Result<()> {
    let chart = programs.metrics_server_module.join("charts/metrics-server");
    let (name, tag) = (format!("image.repository={METRICS_SERVER}"), format!("image.tag={TAG}"));
    // This kubelet's certificate is its own, as Minikube's is.
    let words =
        ["--set", &name, "--set", &tag, "--set", "args={--kubelet-insecure-tls}", "--set", "resources.requests.cpu=1m"];
    helm(node, programs, "metrics-server", &chart, "kube-system", &words)
}

/// Installs a chart, and waits until what it installs is ready.
///
/// # Errors
/// With what helm says.
pub(super) fn helm(
    node: &Node,
    programs: &Programs,
    name: &str,
    chart: &Path,
    namespace: &str,
    words: &[&str],
) -> Result<()> {
    let mut command = node.command(&programs.helm)?;
    for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(name, node.folder().join("helm-home"));
    }
    command.arg("--kubeconfig").arg(node.kubeconfig()).args(["upgrade", "--install", name]).arg(chart);
    command.args(["--namespace", namespace, "--wait", "--timeout", "3m"]).args(words);
    println!("$ {}", workspace::shown(&command));
    let output = command.output()?;
    ensure!(output.status.success(), "helm: {}", String::from_utf8_lossy(&output.stderr).trim());
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
