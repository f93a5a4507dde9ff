//! What the engine, its images and the trials are made of.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::deploy::{Context, Outcome, gotool, image, otel};
use crate::process::on_path;
use crate::tools::{self, Postgres};

/// Of the same release as what the check `compose` reads the file with.
const COMPOSE: &str = "v2.40.3";
const NATS_EXPORTER: &str = "v0.17.3";

#[derive(Debug)]
pub(super) struct Programs {
    pub(super) compose: PathBuf,
    pub(super) store: PathBuf,
    pub(super) nats: PathBuf,
    pub(super) postgres: Postgres,
    pub(super) busybox: PathBuf,
    pub(super) observers: otel::Programs,
    pub(super) postgres_exporter: PathBuf,
    /// Its module is not published everywhere.
    pub(super) nats_exporter: Option<PathBuf>,
}

// === impl Programs ===

impl Programs {
    /// Finds all, or builds them.
    ///
    /// # Errors
    /// With the name of the first that cannot be had.
    pub(super) fn find(ctx: &Context, outcome: &mut Outcome) -> Result<Self> {
        ensure!(tools::is_root(), "only root can make the namespaces that the engine runs in");
        for needed in ["curl", "nsenter", "unshare", "ip", "ldd", "tar", "sha256sum"] {
            on_path(needed).ok_or_else(|| anyhow!("no `{needed}` on PATH"))?;
        }
        let compose =
            gotool::of_module(ctx, "compose", "github.com/docker/compose/v2", COMPOSE, &["cmd"]).context("compose")?;
        let observers = otel::programs(ctx, outcome).context("collector, Jaeger or Prometheus cannot be had")?;
        let exporter = "github.com/nats-io/prometheus-nats-exporter";
        let nats_exporter = gotool::program(ctx, "prometheus-nats-exporter", exporter, NATS_EXPORTER)
            .inspect_err(|error| outcome.missing.push(("prometheus-nats-exporter".to_owned(), format!("{error:#}"))));
        let dockerfile = fs::read_to_string(ctx.root.join("deploy/Dockerfile")).context("deploy/Dockerfile")?;
        Ok(Self {
            compose,
            store: image::program(&dockerfile)?,
            nats: tools::nats_server()?,
            postgres: tools::postgres(false)?,
            busybox: tools::debian_program("busybox-static", "bin/busybox")?,
            observers,
            postgres_exporter: tools::debian_program(
                "prometheus-postgres-exporter",
                "usr/bin/prometheus-postgres-exporter",
            )?,
            nats_exporter: nats_exporter.ok(),
        })
    }
}
