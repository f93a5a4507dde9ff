//! From a CRD's schema, which lets unknown fields pass and drops them, to one that refuses them.

use serde_json::{Map, Value, json};

/// The schema of a whole object.
pub(super) fn strict(openapi: &Value) -> Value {
    let mut schema = openapi.clone();
    close(&mut schema);
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        // CRDs leave these three to Kubernetes.
        properties.insert("apiVersion".to_owned(), json!({"type": "string"}));
        properties.insert("kind".to_owned(), json!({"type": "string"}));
        properties.insert("metadata".to_owned(), metadata());
    }
    schema
}

/// Kubernetes' own, whose definitions lie beside the schemas.
pub(super) fn metadata() -> Value {
    json!({"$ref": "_definitions.json#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"})
}

fn close(schema: &mut Value) {
    let Some(map) = schema.as_object_mut() else { return };
    let is_open = map.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
    if map.contains_key("properties") && !map.contains_key("additionalProperties") && !is_open {
        map.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    if map.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        map.remove("type");
        map.insert("type".to_owned(), json!(["integer", "string"]));
    }
    if map.get("nullable") == Some(&Value::Bool(true)) {
        allow_null(map);
    }
    // Not into allOf, anyOf, oneOf and not: what stands there says more of fields that are declared outside.
    if let Some(properties) = map.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(close);
    }
    for key in ["items", "additionalProperties"] {
        map.get_mut(key).into_iter().for_each(close);
    }
}

/// OpenAPI says `nullable`, JSON Schema names the type.
fn allow_null(map: &mut Map<String, Value>) {
    if let Some(Value::String(kind)) = map.get("type").cloned() {
        map.insert("type".to_owned(), json!([kind, "null"]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closes_what_is_not_open_on_purpose() {
        let schema = strict(&json!({"type": "object", "properties": {
            "metadata": {"type": "object"},
            "spec": {"type": "object", "properties": {
                "free": {"type": "object", "additionalProperties": {"type": "string"}},
                "any": {"type": "object", "properties": {"a": {}}, "x-kubernetes-preserve-unknown-fields": true},
                "list": {"type": "array", "items": {"type": "object", "properties": {"a": {}}}},
                "port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
                "none": {"type": "string", "nullable": true},
            }, "oneOf": [{"properties": {"free": {}}}]},
        }}));
        let spec = &schema["properties"]["spec"];
        assert_eq!(schema["additionalProperties"], false);
        assert_eq!(spec["additionalProperties"], false);
        assert_eq!(spec["properties"]["list"]["items"]["additionalProperties"], false);
        assert_eq!(spec["properties"]["free"]["additionalProperties"], json!({"type": "string"}));
        assert_eq!(spec["properties"]["any"].get("additionalProperties"), None);
        assert_eq!(spec["oneOf"][0].get("additionalProperties"), None);
        assert_eq!(spec["properties"]["port"]["type"], json!(["integer", "string"]));
        assert_eq!(spec["properties"]["none"]["type"], json!(["string", "null"]));
        assert!(schema["properties"]["metadata"]["$ref"].as_str().unwrap().ends_with("ObjectMeta"));
    }
}
