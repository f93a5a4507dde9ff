//! The store's traces, metrics and logs through a real collector, Jaeger and Prometheus, with the configuration of deploy/.
//!
//! Each of the three has a loopback address of its own, so that all keep the ports of a cluster, and the words that
//! compose.yaml starts it with. Built once, from Go modules; that takes long, so this check is run by name and not with the tests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

pub(crate) use self::build::{Programs, programs};
use self::servers::{Hosts, Server};
pub(crate) use self::trace::Trace;
use self::trials::Sent;
pub(crate) use self::trials::{encoded, is_an_order};
use super::metrics::Series;
use super::objects::{list, number};
use super::promtool::yaml;
use super::running::Folder;
use super::store::{Store, get};
use super::{Context, Outcome};

mod build;
mod here;
mod images;
mod servers;
mod trace;
mod trials;

/// A process for each module.
const GROUPS: [&[&str]; 4] = [&["product"], &["order"], &["payment"], &["user"]];
const ORDERS: usize = 5;
/// What the component otel leaves as it is by default, and what is tried here: all traces, and metrics over OTLP, soon. A store logs
/// nothing of an order that goes well, unless it is asked to.
const SETTINGS: [&str; 4] = [
    "telemetry.trace_sample_ratio=1.0",
    "telemetry.otlp_metrics=true",
    "telemetry.otlp_metrics_interval_s=1",
    "telemetry.log_filter=info,pangaea_runtime=debug",
];
/// How the component names the collector.
const COLLECTOR_HOST: &str = "otel-collector.observability";

/// Builds the programs, asks each what it makes of its configuration, and lets the store send to them.
///
/// # Errors
/// When not even a folder can be made for them.
pub(crate) fn check(ctx: &Context) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    images::check(ctx, &mut outcome)?;
    let Some(programs) = programs(ctx, &mut outcome) else { return Ok(outcome) };
    let folder = Folder::make("otel")?;
    if let Err(error) = try_all(ctx, &programs, folder.path(), &mut outcome) {
        outcome.failed.push(format!("{error:#}"));
    }
    Ok(outcome)
}

fn try_all(ctx: &Context, programs: &Programs, folder: &Path, outcome: &mut Outcome) -> Result<()> {
    let hosts = Hosts::of_process(std::process::id());
    let servers = Server::all(ctx, programs, hosts, folder)?;
    let mut note = |result: Result<String>| match result {
        Ok(said) => outcome.passed.push(said),
        Err(error) => outcome.failed.push(format!("{error:#}")),
    };
    servers.iter().for_each(|server| note(server.judges()));
    let [prometheus, jaeger, collector] = &servers;
    // Dropped in the reverse order: who is sent to ends last.
    let _prometheus = prometheus.start()?;
    let _jaeger = jaeger.start()?;
    let collector = collector.start()?;
    note(Ok("all three are ready, by the manifests' probes".to_owned()));
    let sent = send(ctx, hosts)?;
    note(trials::counts(hosts));
    note(trials::metrics(hosts, &sent));
    let (traces, said) = trials::traces(hosts, &sent)?;
    note(Ok(said));
    note(trials::logs(&collector, &traces, &sent));
    note(trials::nothing_else(hosts, &sent));
    Ok(())
}

/// A store apart places orders until they are settled, and is stopped, by which it sends what it still holds.
fn send(ctx: &Context, hosts: Hosts) -> Result<Sent> {
    let settings = settings_of_the_component(ctx, hosts)?;
    let settings: Vec<_> = settings.iter().map(String::as_str).chain(SETTINGS).collect();
    let store = Store::apart(ctx, &GROUPS, &settings)?;
    let load = ["--orders", &ORDERS.to_string(), "--rate", "5", "--seed", "9", "--json"];
    let report: Value = serde_json::from_str(&store.load(&load)?).context("`pangaea load --json` printed no JSON")?;
    let confirmed = number(&report, "/confirmed").unwrap_or_default();
    ensure!(confirmed > 0, "no order was confirmed: {report}");
    let mut metrics = BTreeMap::new();
    for (group, address) in GROUPS.iter().zip(&store.operations) {
        let mut series = Series::default();
        series.read(&get(*address, "/metrics")?);
        let names: BTreeSet<_> = series.names().into_iter().map(str::to_owned).collect();
        metrics.insert(group.join("-"), names);
    }
    Ok(Sent { orders: ORDERS, confirmed, metrics })
}

/// What the component otel gives a store, as `--set` takes it, with the collector where it is here.
fn settings_of_the_component(ctx: &Context, hosts: Hosts) -> Result<Vec<String>> {
    let component = yaml(&ctx.root.join("deploy/k8s/components/otel/kustomization.yaml"))?;
    let generators = list(&component, "/configMapGenerator").iter();
    let literals = generators.flat_map(|one| list(one, "/literals")).filter_map(Value::as_str);
    let settings: Vec<_> =
        literals.filter_map(setting).map(|set| set.replace(COLLECTOR_HOST, &hosts.collector.to_string())).collect();
    let collector = format!("telemetry.otlp_endpoint=http://{}:", hosts.collector);
    ensure!(
        settings.iter().any(|set| set.starts_with(&collector)),
        "components/otel sends nothing to {COLLECTOR_HOST}: {settings:?}"
    );
    Ok(settings)
}

/// `section.key=value` of `PANGAEA__SECTION__KEY=value`.
fn setting(variable: &str) -> Option<String> {
    let (name, value) = variable.split_once('=')?;
    Some(format!("{}={value}", name.strip_prefix("PANGAEA__")?.replace("__", ".").to_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_a_setting() {
        let set = setting("PANGAEA__TELEMETRY__OTLP_ENDPOINT=http://A:1");
        assert_eq!(set.as_deref(), Some("telemetry.otlp_endpoint=http://A:1"));
        assert_eq!(setting("OTHER=1"), None);
    }
}
