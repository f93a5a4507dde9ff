//! What is asked of Jaeger, Prometheus and the collector once the store has sent all it had.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};
use percent_encoding::{NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use serde_json::Value;

use super::servers::{Hosts, OWN_METRICS};
use super::trace::Trace;
use crate::deploy::objects::{list, text};
use crate::deploy::running::{Running, eventually};
use crate::deploy::store::get;

/// Longer than the batches and the tries of a collector.
const ARRIVED_WITHIN: Duration = Duration::from_secs(30);
/// What people look at, and Grafana.
const JAEGER_UI: u16 = 16686;
const PROMETHEUS: u16 = 9090;

/// What the store has sent.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) orders: usize,
    pub(super) confirmed: u64,
    /// The names that each module's process shows at /metrics.
    pub(super) metrics: BTreeMap<String, BTreeSet<String>>,
}

/// As the store names the process of a module.
fn service_of(module: &str) -> String {
    format!("pangaea-{module}")
}

/// What came in went out: spans, points and log records, and none of them failed.
///
/// # Errors
/// When the collector refused, dropped or still holds something.
pub(super) fn counts(hosts: Hosts) -> Result<String> {
    eventually(ARRIVED_WITHIN, || {
        let own = get(SocketAddr::from((hosts.collector, OWN_METRICS)), "/metrics")?;
        let mut said = Vec::new();
        for what in ["spans", "metric_points", "log_records"] {
            let of = |name: &str| total(&own, &format!("otelcol_{name}_{what}"));
            let (accepted, sent) = (of("receiver_accepted"), of("exporter_sent"));
            let lost = of("receiver_refused")
                + of("receiver_failed")
                + of("exporter_send_failed")
                + of("exporter_enqueue_failed");
            ensure!(
                accepted > 0.0 && accepted <= sent && lost <= 0.0,
                "{what}: {accepted} came, {sent} went, {lost} were lost"
            );
            said.push(format!("{accepted} {}", what.replace('_', " ")));
        }
        Ok(format!("the collector took {}, and passed all of them on", said.join(", ")))
    })
}

/// Every order is one whole trace.
///
/// # Errors
/// When Jaeger does not find as many, or one has a hole.
pub(super) fn traces(hosts: Hosts, sent: &Sent) -> Result<(Vec<Trace>, String)> {
    let jaeger = SocketAddr::from((hosts.jaeger, JAEGER_UI));
    let ask = |path: &str| -> Result<Value> { Ok(serde_json::from_str(&get(jaeger, path)?)?) };
    let search = format!("/api/traces?service=pangaea-order&operation={}&limit=100", encoded("POST /v1/orders"));
    eventually(ARRIVED_WITHIN, || {
        let services = ask("/api/services")?;
        let services: BTreeSet<_> = list(&services, "/data").iter().filter_map(Value::as_str).collect();
        let expected: Vec<_> = sent.metrics.keys().map(|module| service_of(module)).collect();
        ensure!(services.iter().eq(&expected), "Jaeger has spans of {services:?}, and not of {expected:?}");
        let found = Trace::all(&ask(&search)?)?;
        ensure!(found.len() == sent.orders, "{} traces of {} orders", found.len(), sent.orders);
        for trace in &found {
            // As whoever has an id from a log asks for it.
            let again = Trace::all(&ask(&format!("/api/traces/{}", trace.id))?)?;
            let spans: usize = again.iter().map(|trace| trace.spans.len()).sum();
            ensure!(
                spans == trace.spans.len(),
                "{}: {spans} spans by its id, {} when searched",
                trace.id,
                trace.spans.len()
            );
            is_an_order(trace)?;
        }
        let spans: BTreeSet<_> = found.iter().map(|trace| trace.spans.len()).collect();
        let said = format!(
            "Jaeger has {} orders, each as one trace of three services, every span with its parent ({spans:?} spans), and spans of {}",
            found.len(),
            services.into_iter().collect::<Vec<_>>().join(", ")
        );
        Ok((found, said))
    })
}

/// After all these questions, Jaeger still has nothing but what the store has sent.
///
/// # Errors
/// When it has traced itself.
pub(super) fn nothing_else(hosts: Hosts, sent: &Sent) -> Result<String> {
    // Nothing tells when something does not come; what it would send is under way for a tenth of this.
    sleep(Duration::from_secs(2));
    let services: Value = serde_json::from_str(&get(SocketAddr::from((hosts.jaeger, JAEGER_UI)), "/api/services")?)?;
    let others = list(&services, "/data").iter().filter_map(Value::as_str);
    let others: Vec<_> = others.filter(|name| !sent.metrics.keys().any(|module| service_of(module) == *name)).collect();
    ensure!(others.is_empty(), "Jaeger shows {others:?} beside the store's services");
    Ok("Jaeger does not trace itself".to_owned())
}

/// The user's module has no part in an order: it signs people in, which are traces of its own.
///
/// # Errors
/// When it has a hole, or lacks a module.
pub(crate) fn is_an_order(trace: &Trace) -> Result<()> {
    trace.check_parents()?;
    let services: Vec<_> = trace.services().into_iter().collect();
    ensure!(
        services == ["order", "payment", "product"].map(service_of),
        "{}: an order with spans of {services:?} only",
        trace.id
    );
    Ok(())
}

/// Prometheus knows each process, and under the names that the process itself shows.
///
/// # Errors
/// When a name is missing, or a count is another one.
pub(super) fn metrics(hosts: Hosts, sent: &Sent) -> Result<String> {
    let prometheus = SocketAddr::from((hosts.prometheus, PROMETHEUS));
    let ask = |path: &str| -> Result<Value> { Ok(serde_json::from_str(&get(prometheus, path)?)?) };
    eventually(ARRIVED_WITHIN, || {
        let mut count = 0;
        for (module, shown) in &sent.metrics {
            let matcher = format!(r#"{{job=~"(.+/)?{}"}}"#, service_of(module));
            let matcher = encoded(&matcher);
            let answer = ask(&format!("/api/v1/label/__name__/values?match%5B%5D={matcher}"))?;
            let known: BTreeSet<_> = list(&answer, "/data").iter().filter_map(Value::as_str).collect();
            let lost: Vec<_> = shown.iter().filter(|name| !known.contains(name.as_str())).collect();
            ensure!(
                lost.is_empty(),
                "{module}: /metrics shows what Prometheus does not know by this name: {lost:?}; it knows {known:?}"
            );
            count += shown.len();
        }
        let query = encoded(r#"sum(pangaea_order_settle_seconds_count{outcome="confirmed"})"#);
        let answer = ask(&format!("/api/v1/query?query={query}"))?;
        let told = text(&answer, "/data/result/0/value/1").to_owned();
        ensure!(
            told == sent.confirmed.to_string(),
            "{} orders were confirmed, and Prometheus says {answer}",
            sent.confirmed
        );
        Ok(format!(
            "Prometheus has every one of the {count} metrics of {} processes, under the same name, and counts {told} confirmed orders",
            sent.metrics.len()
        ))
    })
}

/// The collector shows a log record of an order's trace.
///
/// # Errors
/// When it shows none, or none of a process.
pub(super) fn logs(collector: &Running, traces: &[Trace], sent: &Sent) -> Result<String> {
    eventually(ARRIVED_WITHIN, || {
        let shown = collector.log();
        let silent: Vec<_> = sent
            .metrics
            .keys()
            .filter(|module| !shown.contains(&format!("service.name: Str({})", service_of(module))))
            .collect();
        ensure!(silent.is_empty(), "the collector shows no log record of {silent:?}");
        let count = |trace: &Trace| shown.matches(&format!("Trace ID: {}", trace.id)).count();
        let records: usize = traces.iter().map(count).sum();
        ensure!(records > 0, "the collector shows no log record of any order's trace");
        Ok(format!(
            "the collector shows {records} log records with the ids of the orders' traces, and some of each process"
        ))
    })
}

/// The sum of all series of this name in a text in Prometheus' format; a counter may have its suffix or not.
fn total(text: &str, name: &str) -> f64 {
    let of_name = text.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let own = series.split('{').next()?;
        (own.strip_suffix("_total").unwrap_or(own) == name).then(|| value.parse::<f64>().ok())?
    });
    // Of nothing the sum would be -0, which is shown as such.
    of_name.fold(0.0, |sum, value| sum + value)
}

/// As it may stand in a query of a URL.
pub(crate) fn encoded(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, NON_ALPHANUMERIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_what_has_the_name_with_or_without_a_suffix() {
        let text = "# HELP x y\notelcol_sent_spans{exporter=\"a\"} 3\notelcol_sent_spans_total{exporter=\"b\"} 4\notelcol_sent_spansX 9\n";
        assert!((total(text, "otelcol_sent_spans") - 7.0).abs() < 0.1);
        assert!(total(text, "otelcol_other").abs() < 0.1);
    }
}
