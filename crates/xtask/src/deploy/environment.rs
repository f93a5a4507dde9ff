//! The environment and the arguments that a container gets, with every reference resolved.

use std::collections::BTreeMap;

use serde_json::Value;

use super::objects::{Workload, find, list, name, text};
use super::secrets::values;

/// What a container is started with. A reference that leads nowhere is a fault, and the rest is there all the same.
#[derive(Debug, Default)]
pub(crate) struct Given {
    pub(crate) environment: BTreeMap<String, String>,
    /// `command` and `args`. The image's own entry point stands before them when there is no command.
    pub(crate) command: Vec<String>,
    pub(crate) args: Vec<String>,
    pub(crate) faults: Vec<String>,
}

/// What the references are looked up in: an overlay's documents, and Secrets that are made outside of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sources<'a> {
    pub(crate) documents: &'a [Value],
    pub(crate) secrets: &'a [Value],
}

/// Resolves `env` and `envFrom` of a container as the kubelet does, for the pod with this ordinal.
pub(crate) fn given(workload: &Workload<'_>, container: &Value, sources: Sources<'_>, ordinal: u64) -> Given {
    let mut given = Given::default();
    for from in list(container, "/envFrom") {
        given.take_all(from, sources);
    }
    for variable in list(container, "/env") {
        let key = text(variable, "/name");
        let value = match variable.get("valueFrom") {
            None => Some(expanded(text(variable, "/value"), &given.environment)),
            Some(from) => given.look_up(from, workload, sources, ordinal),
        };
        if let Some(value) = value {
            given.environment.insert(key.to_owned(), value);
        }
    }
    let words = |pointer: &str| {
        let words = list(container, pointer).iter().filter_map(Value::as_str);
        words.map(|word| expanded(word, &given.environment)).collect::<Vec<_>>()
    };
    (given.command, given.args) = (words("/command"), words("/args"));
    given
}

/// `$(NAME)` becomes the variable's value, `$$(NAME)` stays as `$(NAME)`, and so does an unknown name.
fn expanded(text: &str, environment: &BTreeMap<String, String>) -> String {
    let (mut done, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('$') {
        done.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("$$") {
            done.push('$');
            rest = after;
            continue;
        }
        let variable = rest.strip_prefix("$(").and_then(|inner| inner.split_once(')'));
        match variable.and_then(|(name, after)| Some((environment.get(name)?, after))) {
            Some((value, after)) => {
                done.push_str(value);
                rest = after;
            }
            None => {
                done.push('$');
                rest = &rest[1..];
            }
        }
    }
    done + rest
}

// === impl Given ===

impl Given {
    fn take_all(&mut self, from: &Value, sources: Sources<'_>) {
        for (field, kind) in [("configMapRef", "ConfigMap"), ("secretRef", "Secret")] {
            let Some(reference) = from.get(field) else { continue };
            match sources.values(kind, text(reference, "/name")) {
                Ok(Some(values)) => {
                    let prefix = text(from, "/prefix");
                    self.environment.extend(values.into_iter().map(|(key, value)| (format!("{prefix}{key}"), value)));
                }
                Ok(None) if is_optional(reference) => {}
                Ok(None) => self.faults.push(format!("envFrom: there is no {kind} {}", text(reference, "/name"))),
                Err(fault) => self.faults.push(fault),
            }
        }
    }

    fn look_up(&mut self, from: &Value, workload: &Workload<'_>, sources: Sources<'_>, ordinal: u64) -> Option<String> {
        for (field, kind) in [("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")] {
            let Some(reference) = from.get(field) else { continue };
            let (object, key) = (text(reference, "/name"), text(reference, "/key"));
            let found = match sources.values(kind, object) {
                Ok(values) => values.and_then(|values| values.get(key).cloned()),
                Err(fault) => {
                    self.faults.push(fault);
                    return None;
                }
            };
            if found.is_none() && !is_optional(reference) {
                self.faults.push(format!("env: there is no key {key} in a {kind} {object}"));
            }
            return found;
        }
        let path = text(from, "/fieldRef/fieldPath");
        Some(match path {
            "metadata.name" => format!("{}-{ordinal}", workload.name()),
            "metadata.namespace" => text(workload.document, "/metadata/namespace").to_owned(),
            "status.podIP" | "status.hostIP" => "127.0.0.1".to_owned(),
            "spec.nodeName" => "node".to_owned(),
            "spec.serviceAccountName" => text(workload.pod(), "/serviceAccountName").to_owned(),
            "metadata.uid" => format!("00000000-0000-0000-0000-{ordinal:012}"),
            other => match other.strip_prefix("metadata.labels['").and_then(|rest| rest.strip_suffix("']")) {
                Some(label) => workload.label(label).to_owned(),
                None => {
                    self.faults.push(format!("env: this check does not know the field `{other}` ({from})"));
                    return None;
                }
            },
        })
    }
}

// === impl Sources ===

impl Sources<'_> {
    /// The values of a ConfigMap or Secret, if there is one of this name.
    ///
    /// # Errors
    /// When its values cannot be read.
    pub(crate) fn values(&self, kind: &str, wanted: &str) -> Result<Option<BTreeMap<String, String>>, String> {
        let outside = || self.secrets.iter().find(|secret| kind == "Secret" && name(secret) == wanted);
        match find(self.documents, kind, wanted).or_else(outside) {
            Some(document) => values(document).map(Some).map_err(|error| format!("{error:#}")),
            None => Ok(None),
        }
    }
}

pub(crate) fn is_optional(reference: &Value) -> bool {
    reference.get("optional").and_then(Value::as_bool).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::deploy::objects::workloads;

    #[test]
    fn resolves_what_a_container_gets() {
        let container = json!({
            "envFrom": [{ "configMapRef": { "name": "common" } }, { "prefix": "P_", "configMapRef": { "name": "common" } },
                { "secretRef": { "name": "absent", "optional": true } }, { "secretRef": { "name": "gone" } }],
            "env": [
                { "name": "A", "value": "over-$(B)-$$(B)-$(C)" },
                { "name": "URL", "valueFrom": { "secretKeyRef": { "name": "db", "key": "url" } } },
                { "name": "NO", "valueFrom": { "secretKeyRef": { "name": "db", "key": "no", "optional": true } } },
                { "name": "BAD", "valueFrom": { "configMapKeyRef": { "name": "common", "key": "bad" } } },
                { "name": "POD", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
            ],
            "args": ["run", "--as=$(POD)"],
        });
        let documents = [
            json!({ "kind": "ConfigMap", "metadata": { "name": "common" }, "data": { "A": "a", "B": "b" } }),
            json!({ "kind": "Deployment", "metadata": { "name": "product" }, "spec": { "template": {} } }),
        ];
        let secrets = [json!({ "kind": "Secret", "metadata": { "name": "db" }, "data": { "url": "eA==" } })];
        let workload = workloads(&documents)[0];
        let given = given(&workload, &container, Sources { documents: &documents, secrets: &secrets }, 2);
        let expected =
            [("A", "over-b-$(B)-$(C)"), ("B", "b"), ("P_A", "a"), ("P_B", "b"), ("POD", "product-2"), ("URL", "x")];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(given.environment, BTreeMap::from(expected));
        assert_eq!(given.args, ["run", "--as=product-2"]);
        assert_eq!(
            given.faults,
            ["envFrom: there is no Secret gone", "env: there is no key bad in a ConfigMap common"]
        );
    }
}
