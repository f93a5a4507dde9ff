//! What Prometheus and Jaeger know of the store that runs beside them.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::project::{APART, Project};
use crate::deploy::objects::{list, text};
use crate::deploy::otel::{Trace, encoded, is_an_order};
use crate::deploy::promtool::yaml;
use crate::deploy::running::eventually;

const PROMETHEUS: &str = "http://127.0.0.1:9091";
const JAEGER: &str = "http://127.0.0.1:16686";
/// Names are looked up every 30 s, and what they lead to is asked every 15 s.
const SCRAPED_WITHIN: Duration = Duration::from_secs(120);
/// An order crosses these.
const MODULES: [&str; 3] = ["order", "payment", "product"];
const TRACED_WITHIN: Duration = Duration::from_secs(60);

/// Every job of its configuration reaches what it looks up and what runs in this profile, and nothing else.
///
/// # Errors
/// When a target is not there or not up, or the orders are counted otherwise.
pub(super) fn is_scraped(project: &Project<'_>, confirmed: u64) -> Result<String> {
    let config = yaml(&project.ctx.root.join("deploy/observability/prometheus/prometheus.yaml"))?;
    let mut said = Vec::new();
    for job in list(&config, "/scrape_configs") {
        let lookups = list(job, "/dns_sd_configs").iter().flat_map(|lookup| list(lookup, "/names"));
        let names: Vec<_> = lookups.filter_map(Value::as_str).collect();
        let expected: Vec<_> = names.iter().filter(|name| project.services.contains_key(*name)).copied().collect();
        let job = text(job, "/job_name");
        eventually(SCRAPED_WITHIN, || are_up(project, job, &expected))?;
        said.push(match (expected.is_empty(), names.iter().any(|name| project.absent.contains(name))) {
            (false, _) => format!("{job}: {} up", expected.join(", ")),
            (true, true) => format!("{job}: none, since {} cannot be had", names.join(", ")),
            (true, false) => format!("{job}: none, since {} is of the other profile", names.join(", ")),
        });
    }
    let query = encoded(r#"sum(pangaea_order_settle_seconds_count{outcome="confirmed"})"#);
    let url = format!("{PROMETHEUS}/api/v1/query?query={query}");
    let counted = eventually(SCRAPED_WITHIN, || {
        let answer = ask(project, &url)?;
        let counted = text(&answer, "/data/result/0/value/1").to_owned();
        ensure!(counted == confirmed.to_string(), "{confirmed} orders were confirmed, and Prometheus says {answer}");
        Ok(counted)
    })?;
    Ok(format!("Prometheus: {}; it counts {counted} confirmed orders", said.join("; ")))
}

fn are_up(project: &Project<'_>, job: &str, expected: &[&str]) -> Result<()> {
    let answer = ask(project, &format!("{PROMETHEUS}/api/v1/targets?state=active"))?;
    let of_job = list(&answer, "/data/activeTargets").iter().filter(|target| text(target, "/labels/job") == job);
    let health: Vec<_> = of_job
        .map(|target| [text(target, "/scrapeUrl"), text(target, "/health"), text(target, "/lastError")].join(" "))
        .collect();
    let up = health.iter().filter(|line| line.trim_end().ends_with(" up")).count();
    ensure!(
        up == expected.len() && health.len() == up,
        "Prometheus' job {job} has the targets {health:?}, and should have those of {expected:?}"
    );
    Ok(())
}

/// An order is one trace, from the request through the modules.
///
/// # Errors
/// When Jaeger shows no such trace.
pub(super) fn is_traced(project: &Project<'_>) -> Result<String> {
    let service = if project.profile == APART { "pangaea-order" } else { "pangaea" };
    let operation = encoded("POST /v1/orders");
    let url = format!("{JAEGER}/api/traces?service={service}&operation={operation}&limit=20");
    eventually(TRACED_WITHIN, || {
        let found = Trace::all(&ask(project, &url)?)?;
        let first = found.first().context("Jaeger shows no order")?;
        for trace in &found {
            match project.profile {
                APART => is_an_order(trace)?,
                _ => trace.check_parents()?,
            }
            let missing = |module: &&str| !trace.spans.iter().any(|span| span.operation == format!("commit {module}"));
            let missing: Vec<_> = MODULES.iter().filter(|module| missing(module)).collect();
            ensure!(missing.is_empty(), "{}: an order that {missing:?} has no part in", trace.id);
        }
        let services = first.services().into_iter().collect::<Vec<_>>().join(", ");
        Ok(format!(
            "Jaeger: {} orders, each one whole trace through {}, the first of {} spans of {services}",
            found.len(),
            MODULES.join(", "),
            first.spans.len()
        ))
    })
}

fn ask(project: &Project<'_>, url: &str) -> Result<Value> {
    serde_json::from_str(&project.host.get(url)?).with_context(|| format!("{url} answers with no JSON"))
}
