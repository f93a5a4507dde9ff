//! The collector, Jaeger and Prometheus, built from Go modules.

use std::path::PathBuf;

use anyhow::Result;

use crate::deploy::gotool::{GO, Recipe};
use crate::deploy::versions::{COLLECTOR, COLLECTOR_STABLE, JAEGER, JAEGER_RELEASE, PROMETHEUS};
use crate::deploy::{Context, Outcome};

/// What is started.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) collector: PathBuf,
    pub(crate) jaeger: PathBuf,
    pub(crate) prometheus: PathBuf,
}

/// Finds or builds all three; None when one cannot be had, which the outcome then tells.
pub(crate) fn programs(ctx: &Context, outcome: &mut Outcome) -> Option<Programs> {
    let mut keep = |name: &str, built: Result<PathBuf>| {
        built.inspect_err(|error| outcome.missing.push((name.to_owned(), format!("{error:#}")))).ok()
    };
    let collector = keep("otelcol", collector(ctx));
    let jaeger = keep("jaeger", jaeger(ctx));
    let prometheus = keep("prometheus", prometheus(ctx));
    Some(Programs { collector: collector?, jaeger: jaeger?, prometheus: prometheus? })
}

fn collector(ctx: &Context) -> Result<PathBuf> {
    let recipe = Recipe {
        folder: format!("otelcol-{COLLECTOR}"),
        go_mod: collector_mod(),
        main_go: Some(include_str!("collector.go")),
    };
    let flags = format!("-s -w -X main.version={COLLECTOR}");
    recipe.build(ctx, "otelcol", ".", &["-ldflags", &flags])
}

fn jaeger(ctx: &Context) -> Result<PathBuf> {
    let module = "github.com/jaegertracing/jaeger";
    let recipe = Recipe { folder: format!("jaeger-{JAEGER}"), go_mod: module_of(&[(module, JAEGER)]), main_go: None };
    let flags = format!("-s -w -X {module}/internal/version.latestVersion=v{JAEGER_RELEASE}");
    recipe.build(ctx, "jaeger", &format!("{module}/cmd/jaeger"), &["-ldflags", &flags])
}

fn prometheus(ctx: &Context) -> Result<PathBuf> {
    let module = "github.com/prometheus/prometheus";
    let folder = format!("prometheus-{PROMETHEUS}");
    let recipe = Recipe { folder, go_mod: module_of(&[(module, PROMETHEUS)]), main_go: None };
    recipe.build(ctx, "prometheus", &format!("{module}/cmd/prometheus"), &["-ldflags", "-s -w"])
}

/// The collector's parts are modules of their own, of one release.
fn collector_mod() -> String {
    let own = |path: &str| format!("go.opentelemetry.io/collector/{path}");
    let parts = [
        "exporter/debugexporter",
        "exporter/otlpexporter",
        "exporter/otlphttpexporter",
        "otelcol",
        "processor/batchprocessor",
        "processor/memorylimiterprocessor",
        "receiver/otlpreceiver",
        "service",
    ];
    let stable = [
        "component",
        "confmap",
        "confmap/provider/envprovider",
        "confmap/provider/fileprovider",
        "confmap/provider/yamlprovider",
        "exporter",
        "extension",
        "processor",
        "receiver",
    ];
    let health = "github.com/open-telemetry/opentelemetry-collector-contrib/extension/healthcheckextension";
    let mut needed: Vec<_> = parts.map(own).into_iter().map(|path| (path, COLLECTOR)).collect();
    needed.extend(stable.map(|path| (own(path), COLLECTOR_STABLE)));
    // Published with others' components, of the same release.
    needed.push((health.to_owned(), COLLECTOR));
    module_of(&needed.iter().map(|(path, version)| (path.as_str(), *version)).collect::<Vec<_>>())
}

/// A module of ours that needs these, and by them whatever they need.
fn module_of(needed: &[(&str, &str)]) -> String {
    let lines: String = needed.iter().map(|(path, version)| format!("\t{path} {version}\n")).collect();
    format!("module pangaea.example/otel\n\ngo {GO}\n\nrequire (\n{lines})\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_collectors_parts_are_of_one_release() {
        let text = collector_mod();
        let own = text.lines().filter(|line| line.contains("go.opentelemetry.io/collector/"));
        let is_of_release = |line: &str| line.ends_with(COLLECTOR) || line.ends_with(COLLECTOR_STABLE);
        assert!(own.clone().count() > 0 && own.clone().all(is_of_release), "{text}");
        // Every package of its program is in a module that is named.
        for line in include_str!("collector.go").lines().filter(|line| line.contains("go.opentelemetry.io/collector/"))
        {
            let package = line.trim().trim_matches('"');
            let is_named = |named: &str| package == named || package.starts_with(&format!("{named}/"));
            let modules = text.lines().filter_map(|line| line.trim().split(' ').next());
            assert!(modules.clone().any(is_named), "{package}");
        }
    }
}
