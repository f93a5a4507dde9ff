//! Looking into manifests.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

pub(super) use crate::deploy::objects::{is_ours, list, number, text};

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

/// An object that makes pods, or a bare pod.
#[derive(Debug, Clone, Copy)]
pub(super) struct Workload<'a> {
    pub(super) object: &'a Value,
    /// With metadata and spec, as a Pod has them.
    pub(super) template: &'a Value,
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

/// Whether a LabelSelector takes an object with such labels. An empty one takes all.
pub(super) fn selects(selector: &Value, labels: &Value) -> bool {
    let label = |key: &str| labels.get(key).and_then(Value::as_str);
    let wanted = selector.get("matchLabels").and_then(Value::as_object);
    let by_labels = wanted.into_iter().flatten().all(|(key, value)| label(key) == value.as_str());
    by_labels
        && list(selector, "/matchExpressions").iter().all(|expression| {
            let found = label(text(expression, "/key"));
            let is_listed = list(expression, "/values").iter().any(|value| value.as_str() == found);
            match text(expression, "/operator") {
                "In" => found.is_some() && is_listed,
                "NotIn" => found.is_none() || !is_listed,
                "Exists" => found.is_some(),
                "DoesNotExist" => found.is_none(),
                _ => false,
            }
        })
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
        Self::new(workload.object, format!("container {}: {fault}", text(container, "/name")))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.object, self.text)
    }
}

fn title(object: &Value) -> String {
    format!("{} {}", text(object, "/kind"), text(object, "/metadata/name"))
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
        self.documents.iter().filter(move |object| text(object, "/kind") == kind)
    }

    pub(super) fn find(self, kind: &str, name: &str) -> Option<&'a Value> {
        self.of_kind(kind).find(|object| text(object, "/metadata/name") == name)
    }

    pub(super) fn workloads(self) -> impl Iterator<Item = Workload<'a>> {
        self.documents.iter().filter_map(Workload::of)
    }

    /// The namespace object that the workload lies in.
    pub(super) fn namespace_of(self, workload: Workload<'_>) -> Option<&'a Value> {
        self.find("Namespace", text(workload.object, "/metadata/namespace"))
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
        let name = text(workload.object, "/metadata/name").to_owned();
        let of = text(workload.object, "/kind").to_owned();
        self.of_kind(kind).filter(move |scaler| {
            let target = &scaler["spec"]["scaleTargetRef"];
            // KEDA takes a Deployment when no kind is given.
            let kind = Some(text(target, "/kind")).filter(|kind| !kind.is_empty()).unwrap_or("Deployment");
            text(target, "/name") == name && kind == of
        })
    }

    /// The most replicas that the workload may come to.
    pub(super) fn replicas_max(self, workload: Workload<'_>) -> u64 {
        let own = number(workload.object, "/spec/replicas").unwrap_or(1);
        let scaled =
            self.autoscalers("HorizontalPodAutoscaler", workload).filter_map(|s| number(s, "/spec/maxReplicas"));
        scaled.chain([own]).max().unwrap_or(own)
    }
}

// === impl Workload ===

impl<'a> Workload<'a> {
    fn of(object: &'a Value) -> Option<Self> {
        let template = match text(object, "/kind") {
            "Pod" => Some(object),
            "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job" => object.pointer("/spec/template"),
            "CronJob" => object.pointer("/spec/jobTemplate/spec/template"),
            _ => None,
        };
        template.map(|template| Self { object, template })
    }

    pub(super) fn pod(self) -> &'a Value {
        self.template.get("spec").unwrap_or(&Value::Null)
    }

    pub(super) fn labels(self) -> &'a Value {
        self.template.pointer("/metadata/labels").unwrap_or(&Value::Null)
    }

    /// Those that stay: sidecars and initialising ones are left out.
    pub(super) fn containers(self) -> impl Iterator<Item = &'a Value> {
        list(self.template, "/spec/containers").iter()
    }

    pub(super) fn all_containers(self) -> impl Iterator<Item = &'a Value> {
        self.containers().chain(list(self.template, "/spec/initContainers"))
    }

    /// Whether its pods are to run for as long as they are wanted.
    pub(super) fn is_service(self) -> bool {
        matches!(text(self.object, "/kind"), "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
    }

    /// The container's port of this number or name.
    pub(super) fn port(self, wanted: &Value) -> Option<u64> {
        let mut ports = self.all_containers().flat_map(|container| list(container, "/ports"));
        let is_wanted = |port: &&Value| port.get("containerPort") == Some(wanted) || port.get("name") == Some(wanted);
        ports.find(is_wanted).and_then(|port| number(port, "/containerPort"))
    }

    pub(super) fn ports(self) -> impl Iterator<Item = u64> {
        let ports = self.all_containers().flat_map(|container| list(container, "/ports"));
        ports.filter_map(|port| number(port, "/containerPort"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_selector_takes_what_it_names() {
        let labels = json!({"name": "nats", "component": "broker"});
        let cases = [
            (json!({}), true),
            (json!({"matchLabels": {"name": "nats"}}), true),
            (json!({"matchLabels": {"name": "nats", "zone": "a"}}), false),
            (json!({"matchExpressions": [{"key": "component", "operator": "In", "values": ["broker", "job"]}]}), true),
            (json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}), false),
            (json!({"matchExpressions": [{"key": "zone", "operator": "NotIn", "values": ["a"]}]}), true),
            (json!({"matchExpressions": [{"key": "zone", "operator": "Exists"}]}), false),
            (json!({"matchExpressions": [{"key": "zone", "operator": "DoesNotExist"}]}), true),
        ];
        for (selector, is_taken) in cases {
            assert_eq!(selects(&selector, &labels), is_taken, "{selector}");
        }
    }

    #[test]
    fn knows_our_image_wherever_it_lies() {
        let cases = [
            ("pangaea:0.2.0", true),
            ("registry.example/pangaea@sha256:00", true),
            ("registry.example:5000/team/pangaea:0.2.0@sha256:00", true),
            ("pangaea", true),
            ("pangaea/other:1", false),
            ("nats:2.14-alpine", false),
        ];
        for (image, is_it) in cases {
            assert_eq!(is_ours(&json!({ "image": image })), is_it, "{image}");
        }
    }
}
