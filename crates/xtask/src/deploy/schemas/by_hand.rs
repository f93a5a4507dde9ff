//! Schemas out of deploy/checks/schemas.yaml, for CRDs that no package carries.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::{Map, Value, json};

use super::super::render;
use super::kubernetes::DEFINITIONS;
use super::strict::metadata;

const FILE: &str = "deploy/checks/schemas.yaml";

/// A kind of the file.
#[derive(Debug)]
pub(in crate::deploy) struct ByHand {
    pub(in crate::deploy) group: String,
    pub(in crate::deploy) kind: String,
    version: String,
    /// Of the whole object. No field but these.
    schema: Value,
}

/// Writes a schema for each entry of the file into a folder below that of the CRDs, named as those are. It is made anew each
/// time: the file may have changed.
///
/// # Errors
/// When the file is not of its form, or a maker's own CRD is there.
pub(super) fn write(root: &Path, crds: &Path) -> Result<PathBuf> {
    let folder = crds.join("by-hand");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    // The schemas refer to it for metadata.
    fs::copy(crds.join(DEFINITIONS), folder.join(DEFINITIONS))?;
    for entry in read(root)? {
        let name = entry.file_name();
        ensure!(!crds.join(&name).exists(), "its maker's own schema {name} is there: take the entry out");
        fs::write(folder.join(name), serde_json::to_vec(&entry.schema)?)?;
    }
    Ok(folder)
}

/// Every kind of deploy/checks/schemas.yaml.
///
/// # Errors
/// When the file is not of its form.
pub(in crate::deploy) fn read(root: &Path) -> Result<Vec<ByHand>> {
    let file = root.join(FILE);
    let text = fs::read_to_string(&file).with_context(|| format!("could not read {}", file.display()))?;
    entries(&text).with_context(|| file.display().to_string())
}

fn entries(text: &str) -> Result<Vec<ByHand>> {
    let documents = render::documents(text)?;
    let entries = documents.first().and_then(Value::as_array).context("it must be a list")?;
    entries.iter().map(entry_of).collect()
}

fn entry_of(entry: &Value) -> Result<ByHand> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).with_context(|| format!("an entry without {key}"));
    let (api, kind) = (text("apiVersion")?, text("kind")?);
    let (group, version) = api.split_once('/').with_context(|| format!("no version in {api}"))?;
    let spec = entry.get("spec!").with_context(|| format!("{kind} without spec!"))?;
    let spec = node(spec).with_context(|| format!("{api} {kind}"))?;
    let schema = json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "properties": {
            "apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": metadata(), "spec": spec,
        },
    });
    Ok(ByHand { group: group.to_owned(), version: version.to_owned(), kind: kind.to_owned(), schema })
}

// === impl ByHand ===

impl ByHand {
    fn file_name(&self) -> String {
        format!("{}_{}_{}.json", self.group, self.kind.to_lowercase(), self.version)
    }

    /// A CRD that stands in for the maker's, whose objects it serves.
    pub(in crate::deploy) fn definition(&self) -> Value {
        let singular = self.kind.to_lowercase();
        // Any plural does, as nobody asks for these by it.
        let plural = format!("{singular}-by-hand");
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.{}", self.group)},
            "spec": {
                "group": self.group,
                "scope": "Namespaced",
                "names": {"kind": self.kind, "plural": plural, "singular": singular},
                "versions": [{
                    "name": self.version, "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": structural(&self.schema)},
                }],
            },
        })
    }
}

/// As CRDs have it: what is not named is refused by whoever asks for that, metadata is Kubernetes' own, each value has one type.
fn structural(schema: &Value) -> Value {
    let Some(fields) = schema.as_object() else { return schema.clone() };
    if fields.is_empty() {
        return json!({"x-kubernetes-preserve-unknown-fields": true});
    }
    if fields.contains_key("$ref") {
        return json!({"type": "object"});
    }
    if fields.get("type").is_some_and(Value::is_array) {
        return json!({"x-kubernetes-int-or-string": true});
    }
    let mut out = fields.clone();
    if out.contains_key("enum") {
        out.insert("type".to_owned(), json!("string"));
    }
    out.retain(|key, value| key != "additionalProperties" || value.is_object());
    for key in ["items", "additionalProperties"] {
        out.get_mut(key).into_iter().for_each(|inner| *inner = structural(inner));
    }
    if let Some(properties) = out.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(|inner| *inner = structural(inner));
    }
    Value::Object(out)
}

/// A map is an object, a list of one is an array, a word is a type.
fn node(shape: &Value) -> Result<Value> {
    match shape {
        Value::Object(fields) => object(fields),
        Value::Array(items) => {
            ensure!(items.len() == 1, "a list must show one item");
            Ok(json!({"type": "array", "items": node(&items[0])?}))
        }
        Value::String(word) => Ok(match word.as_str() {
            "any" => json!({}),
            "string" | "integer" | "number" | "boolean" => json!({ "type": word }),
            "int-or-string" => json!({"type": ["integer", "string"]}),
            words => json!({"enum": words.split('|').collect::<Vec<_>>()}),
        }),
        other => Err(anyhow!("{other} is no type")),
    }
}

fn object(fields: &Map<String, Value>) -> Result<Value> {
    if let Some(each) = fields.get("*") {
        return Ok(json!({"type": "object", "additionalProperties": node(each)?}));
    }
    let required: Vec<_> = fields.keys().filter_map(|key| key.strip_suffix('!')).collect();
    let properties = fields.iter().map(|(key, shape)| Ok((key.trim_end_matches('!').to_owned(), node(shape)?)));
    let properties: Map<String, Value> = properties.collect::<Result<_>>()?;
    let mut schema = json!({"type": "object", "additionalProperties": false, "properties": properties});
    // An empty list of them is no valid schema.
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    Ok(schema)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_short_form() {
        let text = "- apiVersion: a.example/v1\n  kind: Thing\n  spec!:\n    name!: string\n    mode: fast|slow\n    \
            tags: {\"*\": string}\n    list:\n      - {port: int-or-string}\n    free: any\n";
        let found = entries(text).unwrap();
        let [thing] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(thing.file_name(), "a.example_thing_v1.json");
        let item = json!({"type": ["integer", "string"]});
        assert_eq!(
            thing.schema["properties"]["spec"],
            json!({"type": "object", "additionalProperties": false, "required": ["name"], "properties": {
                "name": {"type": "string"},
                "mode": {"enum": ["fast", "slow"]},
                "tags": {"type": "object", "additionalProperties": {"type": "string"}},
                "list": {"type": "array", "items":
                    {"type": "object", "additionalProperties": false, "properties": {"port": item}}},
                "free": {},
            }})
        );
    }

    #[test]
    fn a_definition_has_one_type_for_each_value() {
        let text = "- apiVersion: a.example/v1\n  kind: Thing\n  spec!:\n    mode: fast|slow\n    tags: {\"*\": string}\n    \
            list:\n      - {port!: int-or-string}\n    free: any\n";
        let definition = entries(text).unwrap()[0].definition();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        assert_eq!(schema["properties"]["metadata"], json!({"type": "object"}));
        assert_eq!(
            schema["properties"]["spec"],
            json!({"type": "object", "properties": {
                "mode": {"type": "string", "enum": ["fast", "slow"]},
                "tags": {"type": "object", "additionalProperties": {"type": "string"}},
                "list": {"type": "array", "items": {"type": "object", "required": ["port"], "properties":
                    {"port": {"x-kubernetes-int-or-string": true}}}},
                "free": {"x-kubernetes-preserve-unknown-fields": true},
            }})
        );
    }

    #[test]
    fn reads_the_file_that_is_used() {
        assert!(read(&crate::workspace::root()).unwrap().len() > 10);
    }
}
