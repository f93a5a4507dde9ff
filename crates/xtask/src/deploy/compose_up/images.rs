//! The images that compose.yaml names, under its own names and tags.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Result, bail, ensure};
use serde_json::json;

use super::host::Host;
use super::programs::Programs;
use crate::deploy::compose::Services;
use crate::deploy::objects::text;
use crate::deploy::stand_in::StandIn;
use crate::deploy::versions::JAEGER_RELEASE;
use crate::deploy::{Context, Outcome, image};

/// The user `nobody` of the images of Prometheus.
const NOBODY: u32 = 65_534;

/// Makes all of them. Gives the services whose image cannot be had, which the outcome then names.
///
/// # Errors
/// When one cannot be made, or the engine refuses it.
pub(super) fn make(
    ctx: &Context,
    host: &Host,
    (programs, dockerfile): (&Programs, &str),
    services: &Services,
    folder: &Path,
    outcome: &mut Outcome,
) -> Result<BTreeSet<String>> {
    let mut by_image: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, service) in services {
        by_image.entry(text(service, "/image")).or_default().push(name);
    }
    let mut absent = BTreeSet::new();
    for (image, names) in by_image {
        println!("image: {image}");
        if image.starts_with("pangaea:") {
            image::build(host.engine(), ctx, (image, dockerfile), &programs.store, folder, outcome)?;
        } else if let Some(made) = stand_in(image, programs, folder)? {
            made.load(|archive| load(host, archive))?;
        } else {
            absent.extend(names.into_iter().map(str::to_owned));
        }
    }
    outcome.passed.push(format!(
        "of other releases than the images whose names they bear: {}, Jaeger {JAEGER_RELEASE}, Debian's postgres_exporter",
        programs.postgres.version()
    ));
    if absent.contains("grafana") {
        let why = "no registry of images is reached, and neither Debian nor the Go proxy has it";
        outcome.missing.push(("grafana".to_owned(), why.to_owned()));
    }
    Ok(absent)
}

/// The same program in an image that is run as the one of that name: by its user, and with its folders.
fn stand_in(image: &str, programs: &Programs, folder: &Path) -> Result<Option<StandIn>> {
    let of = |at: &str, program: &Path, user: &str| {
        let config = json!({ "Entrypoint": [format!("/{at}")], "User": user });
        StandIn::of(folder, image, &[(at, program)], config)
    };
    let observers = &programs.observers;
    let made = match image.rsplit_once(':').map_or(image, |(name, _)| name) {
        "nats" => StandIn::nats(folder, image, &programs.nats, &programs.busybox)?,
        "postgres" => StandIn::postgres(folder, image, &programs.postgres, &programs.busybox)?,
        "otel/opentelemetry-collector" => of("otelcol", &observers.collector, "10001:10001")?,
        "jaegertracing/jaeger" => of("cmd/jaeger/jaeger-linux", &observers.jaeger, "10001:10001")?,
        "prom/prometheus" => {
            let made = of("bin/prometheus", &observers.prometheus, "65534:65534")?;
            made.give("prometheus", NOBODY)?;
            made
        }
        "quay.io/prometheuscommunity/postgres-exporter" => {
            of("bin/postgres_exporter", &programs.postgres_exporter, "65534:65534")?
        }
        "natsio/prometheus-nats-exporter" => match &programs.nats_exporter {
            Some(exporter) => of("prometheus-nats-exporter", exporter, "")?,
            None => return Ok(None),
        },
        "grafana/grafana" => return Ok(None),
        _ => bail!("nothing stands in for the image {image}: say in compose_up/images.rs what its program is"),
    };
    Ok(Some(made))
}

fn load(host: &Host, archive: &Path) -> Result<()> {
    let output = host.engine().docker().args(["load", "--quiet", "--input"]).arg(archive).output()?;
    ensure!(output.status.success(), "docker load: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
