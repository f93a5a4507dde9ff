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

/// Whether `labels` satisfies a plain map of wanted labels, which must not be empty.
pub(crate) fn selects(selector: Option<&Value>, labels: &Value) -> bool {
    let Some(wanted) = selector.and_then(Value::as_object).filter(|wanted| !wanted.is_empty()) else {
        return false;
    };
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
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

    pub(crate) fn all_containers(&self) -> impl Iterator<Item = &'a Value> {
        list(self.template, "/spec/initContainers").iter().chain(self.containers())
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
