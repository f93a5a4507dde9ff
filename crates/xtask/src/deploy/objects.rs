//! Looking into rendered manifests.

use serde_json::{Map, Value};

/// What runs pods: a Deployment, a StatefulSet, a Job …
#[derive(Debug, Clone, Copy)]
pub(crate) struct Workload<'a> {
    pub(crate) document: &'a Value,
    pub(crate) template: &'a Value,
}

/// A text at a JSON pointer; empty when it is not there.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A list at a JSON pointer; empty when it is not there.
pub(crate) fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

pub(crate) fn number(value: &Value, pointer: &str) -> Option<u64> {
    value.pointer(pointer).and_then(Value::as_u64)
}

pub(crate) fn kind(document: &Value) -> &str {
    text(document, "/kind")
}

pub(crate) fn name(document: &Value) -> &str {
    text(document, "/metadata/name")
}

/// `Deployment product`, as findings name an object.
pub(crate) fn title(document: &Value) -> String {
    format!("{} {}", kind(document), name(document))
}

pub(crate) fn find<'a>(documents: &'a [Value], kind_: &str, name_: &str) -> Option<&'a Value> {
    of_kind(documents, kind_).find(|document| name(document) == name_)
}

pub(crate) fn of_kind<'a>(documents: &'a [Value], wanted: &str) -> impl Iterator<Item = &'a Value> {
    documents.iter().filter(move |document| kind(document) == wanted)
}

/// Every object that has a pod template, and every bare Pod.
pub(crate) fn workloads(documents: &[Value]) -> Vec<Workload<'_>> {
    documents.iter().filter_map(Workload::of).collect()
}

/// Whether a Service's selector, a plain map of wanted labels, takes such labels. One that is empty takes none.
pub(crate) fn selects(selector: Option<&Value>, labels: &Value) -> bool {
    let Some(wanted) = selector.and_then(Value::as_object).filter(|wanted| !wanted.is_empty()) else {
        return false;
    };
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// Whether a LabelSelector takes an object with such labels. An empty one takes all.
pub(crate) fn takes(selector: &Value, labels: &Value) -> bool {
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

/// Whether the container runs this project's image.
pub(crate) fn is_ours(container: &Value) -> bool {
    let image = text(container, "/image").split('@').next().unwrap_or_default();
    let last = image.rsplit('/').next().unwrap_or_default();
    last.split(':').next() == Some("pangaea")
}

/// The container's port, by name or by number.
pub(crate) fn container_port(container: &Value, wanted: &Value) -> Option<u64> {
    let mut ports = list(container, "/ports").iter();
    let found = match (wanted.as_str(), wanted.as_u64()) {
        (Some(name), _) => ports.find(|port| text(port, "/name") == name),
        (_, Some(number_)) => ports.find(|port| number(port, "/containerPort") == Some(number_)),
        _ => None,
    };
    number(found?, "/containerPort")
}

// === impl Workload ===

impl<'a> Workload<'a> {
    fn of(document: &'a Value) -> Option<Self> {
        let pointer = match kind(document) {
            "Pod" => "",
            "CronJob" => "/spec/jobTemplate/spec/template",
            "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job" => "/spec/template",
            _ => return None,
        };
        Some(Self { document, template: document.pointer(pointer)? })
    }

    pub(crate) fn title(&self) -> String {
        title(self.document)
    }

    pub(crate) fn name(&self) -> &'a str {
        name(self.document)
    }

    pub(crate) fn labels(&self) -> &'a Value {
        self.template.pointer("/metadata/labels").unwrap_or(&Value::Null)
    }

    pub(crate) fn label(&self, key: &str) -> &'a str {
        self.labels().get(key).and_then(Value::as_str).unwrap_or_default()
    }

    pub(crate) fn pod(&self) -> &'a Value {
        self.template.get("spec").unwrap_or(&Value::Null)
    }

    pub(crate) fn containers(&self) -> &'a [Value] {
        list(self.template, "/spec/containers")
    }

    /// With those that only initialise, and sidecars.
    pub(crate) fn all_containers(&self) -> impl Iterator<Item = &'a Value> + use<'a> {
        list(self.template, "/spec/initContainers").iter().chain(self.containers())
    }

    /// Whether its pods are to run for as long as they are wanted.
    pub(crate) fn is_service(&self) -> bool {
        matches!(kind(self.document), "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
    }

    /// The port of this number or name of any of its containers.
    pub(crate) fn port(&self, wanted: &Value) -> Option<u64> {
        self.all_containers().find_map(|container| container_port(container, wanted))
    }

    pub(crate) fn ports(&self) -> impl Iterator<Item = u64> + use<'a> {
        let ports = self.all_containers().flat_map(|container| list(container, "/ports"));
        ports.filter_map(|port| number(port, "/containerPort"))
    }

    /// As Kubernetes sees it: one when it is not said.
    pub(crate) fn replicas(&self) -> u64 {
        number(self.document, "/spec/replicas").unwrap_or(1)
    }

    /// Seconds between the request to stop and the kill.
    pub(crate) fn grace_s(&self) -> u64 {
        number(self.pod(), "/terminationGracePeriodSeconds").unwrap_or(30)
    }

    /// The pod's volumes, with those that a StatefulSet claims for each pod.
    pub(crate) fn volumes(&self) -> Vec<Value> {
        let claims = list(self.document, "/spec/volumeClaimTemplates").iter().map(|claim| {
            let name = Value::from(name(claim));
            let source = Map::from_iter([("claimName".to_owned(), name.clone())]);
            Value::Object(Map::from_iter([
                ("name".to_owned(), name),
                ("persistentVolumeClaim".to_owned(), Value::Object(source)),
            ]))
        });
        list(self.pod(), "/volumes").iter().cloned().chain(claims).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_label_selector_takes_what_it_names() {
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
            assert_eq!(takes(&selector, &labels), is_taken, "{selector}");
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

    #[test]
    fn a_services_selector_names_labels_and_takes_nothing_without_any() {
        let labels = json!({"name": "nats", "component": "broker"});
        for (selector, is_taken) in [
            (json!({"name": "nats"}), true),
            (json!({"name": "nats", "component": "database"}), false),
            (json!({}), false),
            (Value::Null, false),
        ] {
            assert_eq!(selects(Some(&selector), &labels), is_taken, "{selector}");
        }
        assert!(!selects(None, &labels));
    }
}
