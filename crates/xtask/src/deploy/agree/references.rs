//! References between objects: what a pod mounts and reads, what routes, budgets and autoscalers point at.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::deploy::environment::is_optional;
use crate::deploy::objects::{Workload, find, kind, list, name, number, takes, text, title, workloads};
use crate::deploy::secrets::{Known, values};

pub(super) fn faults(documents: &[Value], secrets: &Known) -> Vec<String> {
    let pods = workloads(documents);
    let mut faults = Vec::new();
    for workload in &pods {
        for Reference { object, key, by } in of_pod(workload) {
            let fault = match object.0 {
                "Secret" => missing_key(secrets.get(&object.1), &object, key.as_deref()),
                "ConfigMap" => {
                    let found = find(documents, "ConfigMap", &object.1);
                    let keys = found.and_then(|found| values(found).ok()).map(|values| values.into_keys().collect());
                    missing_key(keys.as_ref(), &object, key.as_deref())
                }
                kind => find(documents, kind, &object.1).is_none().then(|| format!("there is no {kind} {}", object.1)),
            };
            faults.extend(fault.map(|fault| format!("{}: {by}: {fault}", workload.title())));
        }
        faults.extend(mount_faults(workload));
    }
    faults.extend(documents.iter().flat_map(|document| target_faults(documents, document, &pods)));
    faults
}

/// Names and keys of the Secrets that pods refer to: all that is known of them where nobody prints them.
pub(crate) fn secrets_of(documents: &[Value]) -> Known {
    let mut known = Known::new();
    for workload in workloads(documents) {
        for Reference { object, key, .. } in of_pod(&workload).into_iter().filter(|one| one.object.0 == "Secret") {
            known.entry(object.1).or_default().extend(key);
        }
    }
    known
}

/// A reference that a pod makes and that must lead somewhere.
struct Reference {
    /// Kind and name.
    object: (&'static str, String),
    key: Option<String>,
    by: String,
}

fn missing_key(keys: Option<&BTreeSet<String>>, object: &(&str, String), key: Option<&str>) -> Option<String> {
    let (kind, name) = object;
    match (keys, key) {
        (None, _) if *kind == "Secret" => Some(format!(
            "there is no Secret {name}: `pangaea secrets` prints none, and deploy/README.md does not say how to make it"
        )),
        (None, _) => Some(format!("there is no {kind} {name}")),
        (Some(keys), Some(key)) if !keys.contains(key) => {
            Some(format!("{kind} {name} has no key {key}; it has {keys:?}"))
        }
        _ => None,
    }
}

fn of_pod(workload: &Workload<'_>) -> Vec<Reference> {
    let mut found = Vec::new();
    let account = text(workload.pod(), "/serviceAccountName");
    if !account.is_empty() && account != "default" {
        let object = ("ServiceAccount", account.to_owned());
        found.push(Reference { object, key: None, by: "serviceAccountName".to_owned() });
    }
    for container in workload.all_containers() {
        for from in list(container, "/envFrom") {
            push(&mut found, from, "/configMapRef", "ConfigMap", "name", "envFrom");
            push(&mut found, from, "/secretRef", "Secret", "name", "envFrom");
        }
        for variable in list(container, "/env") {
            let by = text(variable, "/name");
            push(&mut found, variable, "/valueFrom/configMapKeyRef", "ConfigMap", "name", by);
            push(&mut found, variable, "/valueFrom/secretKeyRef", "Secret", "name", by);
        }
    }
    for volume in list(workload.pod(), "/volumes") {
        let by = format!("volume {}", text(volume, "/name"));
        push(&mut found, volume, "/configMap", "ConfigMap", "name", &by);
        push(&mut found, volume, "/secret", "Secret", "secretName", &by);
        push(&mut found, volume, "/persistentVolumeClaim", "PersistentVolumeClaim", "claimName", &by);
        for source in list(volume, "/projected/sources") {
            push(&mut found, source, "/configMap", "ConfigMap", "name", &by);
            push(&mut found, source, "/secret", "Secret", "name", &by);
        }
    }
    found
}

fn push(found: &mut Vec<Reference>, holder: &Value, pointer: &str, kind: &'static str, named: &str, by: &str) {
    let Some(reference) = holder.pointer(pointer).filter(|reference| !is_optional(reference)) else { return };
    let object = (kind, text(reference, &format!("/{named}")).to_owned());
    let key = reference.get("key").and_then(Value::as_str).map(str::to_owned);
    let items = list(reference, "/items").iter().map(|item| Some(text(item, "/key").to_owned()));
    let mut keys: Vec<_> = items.collect();
    if keys.is_empty() {
        keys.push(key);
    }
    found.extend(keys.into_iter().map(|key| Reference { object: object.clone(), key, by: by.to_owned() }));
}

fn mount_faults(workload: &Workload<'_>) -> Vec<String> {
    let volumes = workload.volumes();
    let names: BTreeSet<_> = volumes.iter().map(|volume| text(volume, "/name")).collect();
    let mounts = workload.all_containers().flat_map(|container| list(container, "/volumeMounts"));
    let lost = mounts.map(|mount| text(mount, "/name")).filter(|name| !names.contains(name));
    lost.map(|name| format!("{}: a mount names the volume {name}, which is not there", workload.title())).collect()
}

/// What routes, Ingresses, budgets, autoscalers and monitors point at.
fn target_faults(documents: &[Value], document: &Value, pods: &[Workload<'_>]) -> Vec<String> {
    match kind(document) {
        "HTTPRoute" | "GRPCRoute" | "TCPRoute" | "TLSRoute" => {
            let rules = list(document, "/spec/rules").iter();
            let backends = rules.flat_map(|rule| list(rule, "/backendRefs"));
            let services = backends.filter(|backend| ["", "Service"].contains(&text(backend, "/kind")));
            services
                .filter_map(|one| service_fault(documents, document, one, text(one, "/name"), one.get("port")))
                .collect()
        }
        "Ingress" => {
            let rules = list(document, "/spec/rules").iter().flat_map(|rule| list(rule, "/http/paths"));
            let backends = rules.filter_map(|path| path.pointer("/backend/service"));
            let port = |backend: &'_ Value| backend.pointer("/port/number").or(backend.pointer("/port/name")).cloned();
            backends
                .filter_map(|one| service_fault(documents, document, one, text(one, "/name"), port(one).as_ref()))
                .collect()
        }
        "HorizontalPodAutoscaler" => scaler_faults(documents, document, pods),
        "PodDisruptionBudget" => chosen_fault(document, pods).into_iter().collect(),
        "PodMonitor" => chosen_fault(document, pods).into_iter().chain(monitored_port_faults(document, pods)).collect(),
        "RoleBinding" | "ClusterRoleBinding" => {
            let subjects = list(document, "/subjects").iter().filter(|subject| kind(subject) == "ServiceAccount");
            let lost = subjects.filter(|subject| find(documents, "ServiceAccount", text(subject, "/name")).is_none());
            lost.map(|subject| format!("{}: there is no ServiceAccount {}", title(document), text(subject, "/name")))
                .collect()
        }
        _ => Vec::new(),
    }
}

/// A backend of another namespace is somebody else's.
fn service_fault(
    documents: &[Value],
    from: &Value,
    backend: &Value,
    wanted: &str,
    port: Option<&Value>,
) -> Option<String> {
    let away = text(backend, "/namespace");
    if !away.is_empty() && away != text(from, "/metadata/namespace") {
        return None;
    }
    let Some(service) = find(documents, "Service", wanted) else {
        return Some(format!("{}: there is no Service {wanted}", title(from)));
    };
    let is_it = |one: &&Value| match port {
        Some(Value::String(named)) => text(one, "/name") == named,
        Some(port) => number(one, "/port") == port.as_u64(),
        None => false,
    };
    let has_port = list(service, "/spec/ports").iter().any(|one| is_it(&one));
    (!has_port).then(|| format!("{}: Service {wanted} has no port {}", title(from), port.unwrap_or(&Value::Null)))
}

fn chosen_fault(document: &Value, pods: &[Workload<'_>]) -> Option<String> {
    let selector = document.pointer("/spec/selector")?;
    let chooses = pods.iter().any(|pod| takes(selector, pod.labels()));
    (!chooses).then(|| format!("{}: its selector chooses no pod of this overlay", title(document)))
}

/// An autoscaler counts all pods that its target's selector takes, whoever made them.
fn scaler_faults(documents: &[Value], scaler: &Value, pods: &[Workload<'_>]) -> Vec<String> {
    let (kind, wanted) = (text(scaler, "/spec/scaleTargetRef/kind"), text(scaler, "/spec/scaleTargetRef/name"));
    let Some(target) = find(documents, kind, wanted) else {
        return vec![format!("{}: there is no {kind} {wanted} to scale", title(scaler))];
    };
    let selector = target.pointer("/spec/selector").unwrap_or(&Value::Null);
    let others = pods.iter().filter(|pod| pod.name() != wanted && takes(selector, pod.labels()));
    let counted =
        others.map(|pod| format!("{}: {wanted}'s selector takes the pods of {} as well", title(scaler), pod.title()));
    let of_containers = list(scaler, "/spec/metrics").iter().map(|metric| text(metric, "/containerResource/container"));
    let containers = list(target, "/spec/template/spec/containers");
    let lost =
        of_containers.filter(|wanted| !wanted.is_empty() && containers.iter().all(|one| text(one, "/name") != *wanted));
    let measured = lost.map(|lost| format!("{}: {wanted} has no container {lost} to measure", title(scaler)));
    counted.chain(measured).collect()
}

fn monitored_port_faults(monitor: &Value, pods: &[Workload<'_>]) -> Vec<String> {
    let selector = monitor.pointer("/spec/selector").unwrap_or(&Value::Null);
    let chosen: Vec<_> = pods.iter().filter(|pod| takes(selector, pod.labels())).collect();
    let ports = list(monitor, "/spec/podMetricsEndpoints").iter().filter_map(|endpoint| endpoint.get("port"));
    let lost =
        ports.flat_map(|port| chosen.iter().filter(move |pod| pod.port(port).is_none()).map(move |pod| (port, pod)));
    lost.map(|(port, pod)| format!("PodMonitor {}: {} has no port {port}", name(monitor), pod.title())).collect()
}
