//! Ports and probes: Services lead to containers, containers listen where the program does, probes ask what it answers.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Host;
use crate::deploy::objects::{Workload, container_port, find, list, name, number, of_kind, selects, text, workloads};

/// What the operations listener answers, and what each probe is to ask there: readiness is about what a process needs,
/// and a liveness that looked at the database would restart all pods when that is away.
const PROBES: [(&str, &str); 3] =
    [("startupProbe", "/readyz"), ("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")];

pub(super) fn faults(documents: &[Value], hosts: &[Host<'_>]) -> Vec<String> {
    let pods = workloads(documents);
    let mut faults: Vec<String> =
        of_kind(documents, "Service").flat_map(|service| service_faults(service, &pods)).collect();
    for workload in &pods {
        faults.extend(workload.containers().iter().flat_map(|container| probe_port_faults(workload, container)));
    }
    for host in hosts {
        faults.extend(listen_faults(host));
        if host.is_understood() {
            faults.extend(PROBES.iter().filter_map(|(probe, path)| probe_fault(host, probe, path)));
        }
    }
    faults
}

fn service_faults(service: &Value, pods: &[Workload<'_>]) -> Vec<String> {
    let selector = service.pointer("/spec/selector");
    // Without a selector somebody else fills in the addresses.
    if selector.is_none() {
        return Vec::new();
    }
    let chosen: Vec<_> = pods.iter().filter(|pod| selects(selector, pod.labels())).collect();
    if chosen.is_empty() {
        return vec![format!("Service {}: its selector chooses no pod of this overlay", name(service))];
    }
    let mut faults = Vec::new();
    for port in list(service, "/spec/ports") {
        let target = port.get("targetPort").or_else(|| port.get("port")).unwrap_or(&Value::Null);
        for pod in &chosen {
            if pod.containers().iter().all(|container| container_port(container, target).is_none()) {
                let pod = pod.title();
                faults.push(format!("Service {}: no container of {pod} has the targetPort {target}", name(service)));
            }
        }
    }
    faults
}

fn probe_port_faults(workload: &Workload<'_>, container: &Value) -> Vec<String> {
    let named =
        PROBES.iter().flat_map(|(probe, _)| ["httpGet", "tcpSocket", "grpc"].map(|way| format!("/{probe}/{way}/port")));
    let ports = named.filter_map(|pointer| container.pointer(&pointer).map(|port| (pointer, port)));
    let lost = ports.filter(|(_, port)| container_port(container, port).is_none());
    lost.map(|(pointer, port)| format!("{}: {pointer} is {port}, and the container has no such port", workload.title()))
        .collect()
}

fn probe_fault(host: &Host<'_>, probe: &str, path: &str) -> Option<String> {
    let Some(asked) = host.container.pointer(&format!("/{probe}/httpGet")) else {
        return Some(format!("{}: no {probe} asks GET {path} of the operations port", host.title()));
    };
    let operations = port_of(host.key("operations.listen"));
    let port = asked.get("port").and_then(|port| container_port(host.container, port));
    (text(asked, "/path") != path || port.is_none() || port != operations).then(|| {
        format!(
            "{}: {probe} asks GET {} of {port:?}; the program answers GET {path} on {operations:?} (operations.listen)",
            host.title(),
            text(asked, "/path"),
        )
    })
}

/// What the program listens on must be a port of the container, reachable from outside of the pod.
fn listen_faults(host: &Host<'_>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut judge = |address: &str, what: &str, named: Option<&str>| {
        let Some(port) = port_of(address) else { return };
        if !["0.0.0.0:", "[::]:"].iter().any(|open| address.starts_with(open)) {
            faults.push(format!("{}: {what} is {address}, where nobody outside of the pod reaches it", host.title()));
        }
        let declared =
            list(host.container, "/ports").iter().find(|declared| number(declared, "/containerPort") == Some(port));
        match (declared, named) {
            (None, _) => {
                faults.push(format!("{}: {what} is {address}, and the container has no such port", host.title()))
            }
            (Some(declared), Some(named)) if text(declared, "/name") != named => {
                let is = text(declared, "/name");
                faults.push(format!("{}: the port of {what} is named {is:?}, and not {named:?}", host.title()));
            }
            _ => {}
        }
    };
    if host.is_understood() {
        judge(host.key("http.listen"), "http.listen", Some("http"));
        judge(host.key("operations.listen"), "operations.listen", Some("operations"));
    } else {
        let args = &host.given.args;
        let after = args.iter().position(|word| word == "--listen").and_then(|at| args.get(at + 1));
        let listen = after.map(String::as_str).or_else(|| args.iter().find_map(|word| word.strip_prefix("--listen=")));
        judge(listen.unwrap_or_default(), "--listen", None);
    }
    faults
}

/// Names of this overlay in URLs that the manifests hold, as `nats://nats:4222`. Those in Secrets are an operator's.
pub(super) fn url_faults(documents: &[Value], hosts: &[Host<'_>], charts: &BTreeSet<String>) -> Vec<String> {
    let mut faults = Vec::new();
    for host in hosts {
        let variables = host.given.environment.iter();
        for (variable, value) in variables.filter(|(name, _)| name.starts_with("PANGAEA__") && !is_secret(host, name)) {
            for (service, port) in authorities(value).filter(|(service, _)| !charts.contains(*service)) {
                let found = find(documents, "Service", service);
                let ports = found.map(|service| list(service, "/spec/ports")).unwrap_or_default();
                if !ports.iter().any(|one| number(one, "/port") == Some(port)) {
                    let title = host.title();
                    faults.push(format!(
                        "{title}: {variable} is {value}, and there is no Service {service} with port {port}"
                    ));
                }
            }
        }
    }
    faults
}

fn is_secret(host: &Host<'_>, variable: &str) -> bool {
    let mut variables = list(host.container, "/env").iter();
    variables.any(|one| text(one, "/name") == variable && one.pointer("/valueFrom/secretKeyRef").is_some())
}

/// Hosts without a dot, which can only be Services beside the pod, with their ports.
fn authorities(value: &str) -> impl Iterator<Item = (&str, u64)> {
    value.split(',').filter_map(|url| {
        let (scheme, rest) = url.split_once("://")?;
        let authority = rest.split(['/', '?']).next()?;
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let (host, port) = authority.rsplit_once(':').unwrap_or((authority, ""));
        let usual = match scheme {
            "http" => 80,
            "https" => 443,
            "nats" => 4222,
            "postgres" | "postgresql" => 5432,
            _ => return None,
        };
        let is_service =
            !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') && host != "localhost";
        is_service.then(|| (host, port.parse().unwrap_or(usual)))
    })
}

fn port_of(address: &str) -> Option<u64> {
    address.rsplit_once(':')?.1.parse().ok()
}
