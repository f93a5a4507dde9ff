//! Looking into manifests.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

pub(super) use crate::deploy::objects::{Workload, is_ours, list, number, selects, takes, text};
use crate::deploy::objects::{find, of_kind, title, workloads};

/// What a rule has against an object.
#[derive(Debug)]
pub(super) struct Fault {
    object: String,
    text: String,
}

/// All objects of an overlay.
#[derive(Debug, Clone, Copy)]
pub(super) struct Objects<'a> {
    documents: &'a [Value],
}

/// Whether `true` stands at a JSON pointer.
pub(super) fn is_true(value: &Value, pointer: &str) -> bool {
    value.pointer(pointer) == Some(&Value::Bool(true))
}

/// A label or an annotation; empty when it is not there.
pub(super) fn mark<'a>(value: &'a Value, of: &str, key: &str) -> &'a str {
    let marks = value.get("metadata").and_then(|metadata| metadata.get(of));
    marks.and_then(|marks| marks.get(key)).and_then(Value::as_str).unwrap_or_default()
}

/// The faults of all containers, those that only initialise included.
pub(super) fn in_containers<'a>(
    objects: &Objects<'a>,
    fault: impl Fn(Workload<'a>, &'a Value) -> Option<String>,
) -> Vec<Fault> {
    let containers = objects.workloads().flat_map(|workload| workload.all_containers().map(move |c| (workload, c)));
    let told = |(workload, container)| Some(Fault::within(workload, container, fault(workload, container)?));
    containers.filter_map(told).collect()
}

// === impl Fault ===

impl Fault {
    pub(super) fn new(object: &Value, text: impl Into<String>) -> Self {
        Self { object: title(object), text: text.into() }
    }

    /// In one of a pod's containers.
    pub(super) fn within(workload: Workload<'_>, container: &Value, fault: impl fmt::Display) -> Self {
        Self::new(workload.document, format!("container {}: {fault}", text(container, "/name")))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.object, self.text)
    }
}

// === impl Objects ===

impl<'a> Objects<'a> {
    pub(super) fn new(documents: &'a [Value]) -> Self {
        Self { documents }
    }

    pub(super) fn all(self) -> impl Iterator<Item = &'a Value> {
        self.documents.iter()
    }

    pub(super) fn of_kind(self, kind: &str) -> impl Iterator<Item = &'a Value> {
        of_kind(self.documents, kind)
    }

    pub(super) fn find(self, kind: &str, name: &str) -> Option<&'a Value> {
        find(self.documents, kind, name)
    }

    pub(super) fn workloads(self) -> impl Iterator<Item = Workload<'a>> {
        workloads(self.documents).into_iter()
    }

    /// The namespace object that the workload lies in.
    pub(super) fn namespace_of(self, workload: Workload<'_>) -> Option<&'a Value> {
        self.find("Namespace", text(workload.document, "/metadata/namespace"))
    }

    /// The values that a container's environment has by ConfigMaps and by itself; those of Secrets are not known here.
    pub(super) fn environment(self, container: &'a Value) -> BTreeMap<&'a str, &'a str> {
        let mut environment = BTreeMap::new();
        for source in list(container, "/envFrom") {
            let map = self.find("ConfigMap", text(source, "/configMapRef/name"));
            let data = map.and_then(|map| map.get("data")).and_then(Value::as_object);
            environment
                .extend(data.into_iter().flatten().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))));
        }
        let own = list(container, "/env").iter();
        environment.extend(own.filter_map(|entry| Some((entry.get("name")?.as_str()?, entry.get("value")?.as_str()?))));
        environment
    }

    /// The autoscalers whose target is this workload.
    pub(super) fn autoscalers(self, kind: &str, workload: Workload<'_>) -> impl Iterator<Item = &'a Value> {
        let name = text(workload.document, "/metadata/name").to_owned();
        let of = text(workload.document, "/kind").to_owned();
        self.of_kind(kind).filter(move |scaler| {
            let target = &scaler["spec"]["scaleTargetRef"];
            // KEDA takes a Deployment when no kind is given.
            let kind = Some(text(target, "/kind")).filter(|kind| !kind.is_empty()).unwrap_or("Deployment");
            text(target, "/name") == name && kind == of
        })
    }

    /// The most replicas that the workload may come to.
    pub(super) fn replicas_max(self, workload: Workload<'_>) -> u64 {
        let own = workload.replicas();
        let scaled =
            self.autoscalers("HorizontalPodAutoscaler", workload).filter_map(|s| number(s, "/spec/maxReplicas"));
        scaled.chain([own]).max().unwrap_or(own)
    }
}
