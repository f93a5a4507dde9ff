//! Rules for each pod.

use serde_json::Value;

use super::objects::{Fault, Objects, Workload, in_containers, is_ours, list, number, text};
use crate::deploy::defaults;

/// Istio's proxy has this user, and what it sends passes by the proxy.
pub(super) fn uid_1337(objects: &Objects<'_>) -> Vec<Fault> {
    let is_it = |value: &Value| ["runAsUser", "runAsGroup"].iter().any(|key| value["securityContext"][key] == 1337);
    let wrong = objects.workloads().filter(|w| is_it(w.pod()) || w.all_containers().any(is_it));
    wrong.map(|w| Fault::new(w.document, "take another user and group than 1337: they are Istio's proxy's")).collect()
}

pub(super) fn writable_root(objects: &Objects<'_>) -> Vec<Fault> {
    let is_writable = |c: &Value| c["securityContext"]["readOnlyRootFilesystem"] != true;
    in_containers(objects, |_, container| {
        is_writable(container).then(|| "set securityContext.readOnlyRootFilesystem to true".to_owned())
    })
}

pub(super) fn resources(objects: &Objects<'_>) -> Vec<Fault> {
    in_containers(objects, |_, container| {
        let wanted = ["/requests/cpu", "/requests/memory", "/limits/cpu", "/limits/memory"];
        let absent = wanted.iter().filter(|pointer| container["resources"].pointer(pointer).is_none());
        let absent: Vec<_> = absent.map(|pointer| pointer[1..].replace('/', ".")).collect();
        (!absent.is_empty()).then(|| format!("resources lack {}", absent.join(", ")))
    })
}

pub(super) fn image_tag(objects: &Objects<'_>) -> Vec<Fault> {
    in_containers(objects, |_, container| {
        let image = text(container, "/image");
        if image.contains("@sha256:") {
            return None;
        }
        // After the last slash, since a registry's address may have a port.
        let tag = image.rsplit('/').next().and_then(|name| name.split_once(':')).map(|(_, tag)| tag);
        match tag {
            None | Some("") => Some(format!("the image {image} has no tag: nobody knows what runs")),
            Some("latest") => Some(format!("the image {image} is another one tomorrow: name a version")),
            Some(_) => None,
        }
    })
}

pub(super) fn probes(objects: &Objects<'_>) -> Vec<Fault> {
    let services = objects.workloads().filter(|workload| workload.is_service());
    let containers =
        services.flat_map(|workload| workload.containers().iter().map(move |container| (workload, container)));
    let lacks = containers.flat_map(|(workload, container)| {
        let absent = ["startupProbe", "readinessProbe", "livenessProbe"].into_iter();
        let absent = absent.filter(|probe| container.get(probe).is_none());
        absent.map(move |probe| Fault::within(workload, container, format!("it has no {probe}"))).collect::<Vec<_>>()
    });
    lacks.collect()
}

/// Ready means that a database and a leader answer, which no restart brings back.
pub(super) fn liveness_on_readyz(objects: &Objects<'_>) -> Vec<Fault> {
    in_containers(objects, |_, container| {
        let path = text(container, "/livenessProbe/httpGet/path");
        let is_wrong = path == "/readyz" || path.starts_with("/readyz?");
        is_wrong.then(|| {
            "livenessProbe asks for /readyz, so that a database's outage kills the pods: take /healthz".to_owned()
        })
    })
}

/// SIGKILL must come after the drain, and the drain after the proxies have heard.
pub(super) fn grace_period(objects: &Objects<'_>) -> Vec<Fault> {
    let services = objects.workloads().filter(|workload| workload.is_service());
    let faults = services.flat_map(|workload| {
        let grace_s = workload.grace_s();
        let fault =
            move |container| Some(Fault::within(workload, container, grace_fault(objects, grace_s, container)?));
        workload.containers().iter().filter(|container| !list(container, "/ports").is_empty()).filter_map(fault)
    });
    faults.collect()
}

fn grace_fault(objects: &Objects<'_>, grace_s: u64, container: &Value) -> Option<String> {
    let Some(sleep_s) = number(container, "/lifecycle/preStop/sleep/seconds") else {
        return Some("it has no lifecycle.preStop.sleep: requests still come when it has stopped".to_owned());
    };
    let drain_ms = if is_ours(container) { drain_ms(objects, container) } else { 0 };
    (grace_s * 1_000 <= sleep_s * 1_000 + drain_ms).then(|| {
        format!("terminationGracePeriodSeconds is {grace_s}; preStop ({sleep_s} s) and drain ({drain_ms} ms) need more")
    })
}

fn drain_ms(objects: &Objects<'_>, container: &Value) -> u64 {
    let documents = *objects;
    let given =
        documents.environment(container).get("PANGAEA__RUNTIME__DRAIN_TIMEOUT_MS").and_then(|ms| ms.parse().ok());
    given.unwrap_or_else(defaults::drain_timeout_ms)
}

/// Nothing here speaks to the Kubernetes API.
pub(super) fn mounted_token(objects: &Objects<'_>) -> Vec<Fault> {
    let is_projected = |volume: &Value| {
        list(volume, "/projected/sources").iter().any(|source| source.get("serviceAccountToken").is_some())
    };
    let fault = |workload: Workload<'_>| {
        if workload.pod()["automountServiceAccountToken"] != false {
            return Some(Fault::new(workload.document, "set automountServiceAccountToken to false in the pod's spec"));
        }
        let mut volumes = list(workload.pod(), "/volumes").iter();
        volumes.any(is_projected).then(|| Fault::new(workload.document, "remove the projected serviceAccountToken"))
    };
    objects.workloads().filter_map(fault).collect()
}

/// A mesh and the network's policies know a pod by its ServiceAccount: each workload has one of its own.
pub(super) fn service_account(objects: &Objects<'_>) -> Vec<Fault> {
    let fault = |workload: Workload<'_>| {
        let name = text(workload.pod(), "/serviceAccountName");
        if name.is_empty() || name == "default" {
            return Some(Fault::new(workload.document, "it has no ServiceAccount of its own"));
        }
        let is_there = objects.find("ServiceAccount", name).is_some();
        (!is_there).then(|| Fault::new(workload.document, format!("there is no ServiceAccount {name}")))
    };
    objects.workloads().filter_map(fault).collect()
}
