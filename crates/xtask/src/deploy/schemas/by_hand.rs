//! Schemas out of deploy/checks/schemas.yaml, for CRDs that no package carries.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::{Map, Value, json};

use super::super::render;
use super::kubernetes::DEFINITIONS;
use super::strict::metadata;

/// Writes a schema for each entry of the file into a folder below that of the CRDs, named as those are. It is made anew each
/// time: the file may have changed.
///
/// # Errors
/// When the file is not of its form, or a maker's own CRD is there.
pub(super) fn write(file: &Path, crds: &Path) -> Result<PathBuf> {
    let folder = crds.join("by-hand");
    let text = fs::read_to_string(file).with_context(|| format!("could not read {}", file.display()))?;
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    // The schemas refer to it for metadata.
    fs::copy(crds.join(DEFINITIONS), folder.join(DEFINITIONS))?;
    for (name, schema) in schemas(&text).with_context(|| file.display().to_string())? {
        ensure!(!crds.join(&name).exists(), "its maker's own schema {name} is there: take the entry out");
        fs::write(folder.join(name), serde_json::to_vec(&schema)?)?;
    }
    Ok(folder)
}

fn schemas(text: &str) -> Result<Vec<(String, Value)>> {
    let documents = render::documents(text)?;
    let entries = documents.first().and_then(Value::as_array).context("it must be a list")?;
    entries.iter().map(schema_of).collect()
}

fn schema_of(entry: &Value) -> Result<(String, Value)> {
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
    Ok((format!("{group}_{}_{version}.json", kind.to_lowercase()), schema))
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
        let found = schemas(text).unwrap();
        let [(name, schema)] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(name, "a.example_thing_v1.json");
        let item = json!({"type": ["integer", "string"]});
        assert_eq!(
            schema["properties"]["spec"],
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
    fn reads_the_file_that_is_used() {
        let file = crate::workspace::root().join("deploy/checks/schemas.yaml");
        assert!(schemas(&fs::read_to_string(file).unwrap()).unwrap().len() > 10);
    }
}
