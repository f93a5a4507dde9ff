//! Whether what is built is what the images hold, and every place names the same image.

use std::fs;

use anyhow::{Context as _, Result};

use crate::deploy::objects::{list, of_kind, text};
use crate::deploy::promtool::yaml;
use crate::deploy::versions::{COLLECTOR, JAEGER_RELEASE, PROMETHEUS};
use crate::deploy::{Context, Outcome, compose, render};

/// Compares images' tags with each other and with what is built. A program that is of another release than its image is told
/// and is no failure: what can be had decides.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn check(ctx: &Context, outcome: &mut Outcome) -> Result<()> {
    let services = compose::services(ctx)?;
    let composed = |name: &str| services.get(name).map(|service| tag(text(service, "/image"))).unwrap_or_default();
    let values = yaml(&ctx.root.join("deploy/platform/otel-collector.yaml"))?;
    let manifest = ctx.root.join("deploy/observability/jaeger/jaeger.yaml");
    let manifest = render::documents(&fs::read_to_string(&manifest).with_context(|| manifest.display().to_string())?)?;
    let containers = of_kind(&manifest, "Deployment").flat_map(|one| list(one, "/spec/template/spec/containers"));
    let in_cluster: String = containers.map(|container| tag(text(container, "/image"))).collect();
    let (collector, jaeger) = (composed("otel-collector"), composed("jaeger"));
    for (what, one, other) in [
        ("platform/otel-collector.yaml", text(&values, "/image/tag"), &collector),
        ("observability/jaeger/jaeger.yaml", in_cluster.as_str(), &jaeger),
    ] {
        if one != other {
            outcome
                .failed
                .push(format!("deploy/{what}: the image is {one:?}, and {other:?} in compose.yaml: make them equal"));
        }
    }
    let prometheus = composed("prometheus");
    for (name, built, image) in [
        ("collector", COLLECTOR.trim_start_matches('v').to_owned(), collector),
        ("Jaeger", JAEGER_RELEASE.to_owned(), jaeger),
        ("Prometheus", release_of(PROMETHEUS), prometheus.trim_start_matches('v').to_owned()),
    ] {
        outcome.passed.push(match built == image {
            true => format!("{name}: {built}, as its image"),
            false => format!("{name}: {built} is tried, and its image is {image}"),
        });
    }
    Ok(())
}

fn tag(image: &str) -> String {
    image.rsplit_once(':').map_or("", |(_, tag)| tag).to_owned()
}

/// Prometheus 3.5.0 is the Go module v0.305.0.
fn release_of(version: &str) -> String {
    let mut parts = version.trim_start_matches("v0.").split('.').map(|part| part.parse::<u32>().unwrap_or_default());
    let (both, patch) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    format!("{}.{}.{patch}", both / 100, both % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_of_prometheus_is_a_release() {
        assert_eq!(release_of("v0.305.0"), "3.5.0");
        assert_eq!(release_of("v0.313.2"), "3.13.2");
    }
}
