//! Envoy Gateway, by helm, as deploy/README.md installs it.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::images::{ENVOY, gateway_image};
use super::node::Node;
use super::platform::helm;
use super::programs::Programs;
use crate::deploy::{Context, kubernetes};
use crate::workspace;

const NAMESPACE: &str = "envoy-gateway-system";
/// What a release of the chart has in place of these; the module holds the chart before it is one.
const IMAGE: &str = "${GatewayImage}";
const POLICY: &str = "${GatewayImagePullPolicy}";

/// The definitions of the Gateway API and of Envoy Gateway, then its chart.
///
/// # Errors
/// When the chart is refused, or its controller is not ready in time.
pub(super) fn install(ctx: &Context, node: &Node, programs: &Programs, folder: &Path) -> Result<()> {
    let modules = ["sigs.k8s.io/gateway-api", "github.com/envoyproxy/gateway"];
    kubernetes::install_definitions_of(ctx, node.kubectl(), &modules)?;
    let chart = folder.join("gateway-helm");
    workspace::run(
        Command::new("cp")
            .arg("--recursive")
            .arg(programs.envoy_gateway_module.join("charts/gateway-helm"))
            .arg(&chart),
    )?;
    let template = chart.join("values.tmpl.yaml");
    let values = fs::read_to_string(&template).with_context(|| template.display().to_string())?;
    fs::write(chart.join("values.yaml"), values.replace(IMAGE, &gateway_image()).replace(POLICY, "IfNotPresent"))?;
    let image = format!("global.images.envoyProxy.image={ENVOY}");
    let words = ["--create-namespace", "--skip-crds", "--set", "crds.enabled=false", "--set", &image];
    helm(node, programs, "eg", &chart, NAMESPACE, &words)
}
