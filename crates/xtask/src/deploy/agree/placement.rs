//! Every module is hosted, by one workload; replicas and grace periods fit the configuration.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Host;
use crate::deploy::objects::{Workload, kind, number, of_kind, text, workloads};

pub(super) fn faults(documents: &[Value], hosts: &[Host<'_>], modules: &[String]) -> Vec<String> {
    // Where an environment is not understood, that is the fault, and who hosts what is not known.
    let is_known = hosts.iter().all(|host| host.is_understood() || host.command != "run");
    let mut faults = if is_known { hosting_faults(hosts, modules) } else { Vec::new() };
    for host in hosts.iter().filter(|host| host.is_understood()) {
        faults.extend(replica_fault(documents, host));
        faults.extend(drain_fault(host));
    }
    faults
}

/// Releases of one module side by side (`version: v1`, `v2`) bear one name, and count once.
fn hosting_faults(hosts: &[Host<'_>], modules: &[String]) -> Vec<String> {
    let mut hosted: BTreeMap<String, BTreeSet<&str>> =
        modules.iter().map(|name| (name.clone(), BTreeSet::new())).collect();
    let mut faults = Vec::new();
    for host in hosts.iter().filter(|host| host.is_understood()) {
        let named = list_of(host.key("runtime.modules"));
        let takes_all = named.is_empty() || named == ["*"];
        let by = match host.workload.label("app.kubernetes.io/name") {
            "" => host.workload.name(),
            label => label,
        };
        for module in if takes_all { modules.to_vec() } else { named } {
            match hosted.get_mut(&module) {
                Some(hosts) => {
                    hosts.insert(by);
                }
                None => faults.push(format!("{}: the program has no module {module}", host.title())),
            }
        }
    }
    for (module, by) in &hosted {
        match by.len() {
            0 => faults.push(format!("no workload hosts the module {module}: add it, or name it in runtime.modules")),
            1 => {}
            _ => {
                faults.push(format!("the module {module} is hosted by {by:?}: two leaders would take turns; keep one"))
            }
        }
    }
    faults
}

/// Reads `["product", "order"]` as the program prints it.
fn list_of(text: &str) -> Vec<String> {
    let inner = text.trim().trim_start_matches('[').trim_end_matches(']');
    let words = inner.split(',').map(|word| word.trim().trim_matches('"').to_owned());
    words.filter(|word| !word.is_empty()).collect()
}

/// A process must know that it has equals: it then refuses a bus or a database that cannot be shared. Two releases side by
/// side are equals too.
fn replica_fault(documents: &[Value], host: &Host<'_>) -> Option<String> {
    let name = host.workload.label("app.kubernetes.io/name");
    let equals = workloads(documents).into_iter().filter(|one| one.label("app.kubernetes.io/name") == name);
    let most: u64 = equals.map(|one| pods_max(documents, &one)).sum();
    let known: u64 = host.key("runtime.replicas").parse().unwrap_or(1);
    let title = host.title();
    if most > 1 && known < 2 {
        return Some(format!(
            "{title}: up to {most} pods run, and the program is told of {known}: set PANGAEA__RUNTIME__REPLICAS"
        ));
    }
    (known > most).then(|| {
        format!("{title}: PANGAEA__RUNTIME__REPLICAS is {known}, and at most {most} pods run: make them equal")
    })
}

fn pods_max(documents: &[Value], workload: &Workload<'_>) -> u64 {
    let is_its = |scaler: &&Value| {
        text(scaler, "/spec/scaleTargetRef/kind") == kind(workload.document)
            && text(scaler, "/spec/scaleTargetRef/name") == workload.name()
    };
    let scaler = of_kind(documents, "HorizontalPodAutoscaler").find(is_its);
    scaler.and_then(|scaler| number(scaler, "/spec/maxReplicas")).unwrap_or_default().max(workload.replicas())
}

/// The kubelet counts the wait before SIGTERM into the grace period.
fn drain_fault(host: &Host<'_>) -> Option<String> {
    let grace_ms = host.workload.grace_s() * 1_000;
    let pre_stop_ms = number(host.container, "/lifecycle/preStop/sleep/seconds").unwrap_or_default() * 1_000;
    let drain_ms: u64 = host.key("runtime.drain_timeout_ms").parse().ok()?;
    (pre_stop_ms + drain_ms >= grace_ms).then(|| {
        format!(
            "{}: {pre_stop_ms} ms before the signal and {drain_ms} ms of drain (runtime.drain_timeout_ms) leave nothing of \
             the grace period of {grace_ms} ms: raise terminationGracePeriodSeconds",
            host.title()
        )
    })
}
