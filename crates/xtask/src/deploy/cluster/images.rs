//! Images for a node that reaches no registry.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::node::Node;
use super::programs::Programs;
use crate::deploy::objects::{text, workloads};
use crate::deploy::stand_in::StandIn;
use crate::deploy::versions::ENVOY_GATEWAY;

/// What containerd starts for each pod, to hold its network.
pub(super) const PAUSE: &str = "registry.k8s.io/pause:3.10.1";
/// A shell and a few programs, from which something can be tried.
pub(super) const TOOLS: &str = "docker.io/library/tools:check";
pub(super) const COREDNS: &str = "docker.io/library/coredns:check";
/// Envoy Gateway names a digest otherwise, which no stand-in can have.
pub(super) const ENVOY: &str = "docker.io/envoyproxy/envoy:check";
pub(super) const METRICS_SERVER: &str = "docker.io/library/metrics-server";
const TRAEFIK: &str = "docker.io/library/traefik:check";
pub(super) const TAG: &str = "check";
/// Long enough for a check.
const SLEEP: [&str; 3] = ["/bin/busybox", "sleep", "2147483647"];

/// Makes images of programs of this machine, and gives them to the node.
#[derive(Debug)]
pub(super) struct Images<'a> {
    pub(super) programs: &'a Programs,
    pub(super) folder: &'a Path,
}

// === impl Images ===

impl Images<'_> {
    /// Those of the platform.
    ///
    /// # Errors
    /// When one cannot be made or loaded.
    pub(super) fn of_platform(&self, node: &mut Node) -> Result<()> {
        let Programs { busybox, coredns, envoy, envoy_gateway, metrics_server, traefik, .. } = self.programs;
        let (gateway, metrics) = (gateway_image(), format!("{METRICS_SERVER}:{TAG}"));
        let sleep = json!({ "Entrypoint": SLEEP, "Env": ["PATH=/bin"] });
        for (name, at, program, config) in [
            (PAUSE, "bin/busybox", busybox, sleep.clone()),
            (TOOLS, "bin/busybox", busybox, sleep),
            (COREDNS, "coredns", coredns, json!({ "Entrypoint": ["/coredns"] })),
            (&metrics, "metrics-server", metrics_server, json!({ "Entrypoint": ["/metrics-server"] })),
            (TRAEFIK, "traefik", traefik, json!({ "Entrypoint": ["/traefik"] })),
            (
                &gateway,
                "usr/local/bin/envoy-gateway",
                envoy_gateway,
                json!({ "Entrypoint": ["/usr/local/bin/envoy-gateway"], "User": "65532:65532" }),
            ),
            (
                ENVOY,
                "usr/local/bin/envoy",
                envoy,
                json!({ "Entrypoint": ["/usr/local/bin/envoy"], "Env": ["PATH=/usr/local/bin"] }),
            ),
        ] {
            StandIn::of(self.folder, name, &[(at, program)], config)?.load(|archive| node.load(archive))?;
        }
        Ok(())
    }

    /// All that these manifests name, and more.
    ///
    /// # Errors
    /// When they name one that nothing here stands in for.
    pub(super) fn of_store(&self, dockerfile: &str, documents: &[Value], more: &[&str], node: &mut Node) -> Result<()> {
        let workloads = workloads(documents);
        let names = workloads.iter().flat_map(|workload| workload.all_containers());
        let names: BTreeSet<_> = names.map(|container| text(container, "/image")).chain(more.iter().copied()).collect();
        let Programs { busybox, nats, postgres, store, .. } = self.programs;
        for name in names {
            let full = format!("docker.io/library/{name}");
            let image = match name.split(':').next().unwrap_or(name) {
                "pangaea" => StandIn::store(self.folder, &full, store, dockerfile)?,
                "nats" => StandIn::nats(self.folder, &full, nats, busybox)?,
                "postgres" => StandIn::postgres(self.folder, &full, postgres, busybox)?,
                _ => bail!("nothing stands in for the image {name}"),
            };
            image.load(|archive| node.load(archive))?;
        }
        Ok(())
    }
}

pub(super) fn gateway_image() -> String {
    format!("docker.io/envoyproxy/gateway:{ENVOY_GATEWAY}")
}
