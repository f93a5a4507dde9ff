//! Payloads as they may be printed: what a contract marks as secret or personal is left out, and so is what no contract
//! describes.

use std::collections::HashMap;

use pangaea_contracts::schemas;
use serde_json::{Map, Value};

/// What stands for a value that is not shown.
const HIDDEN: &str = "***";
/// Contracts nest a few levels; a schema that leads back to itself must not lead on for ever.
const DEPTH_MAX: usize = 32;

/// The schemas of the contracts, by subject.
pub(super) struct Redaction(HashMap<&'static str, Value>);

/// A schema, and where its `$ref`s lead.
#[derive(Clone, Copy)]
struct Within<'a> {
    root: &'a Value,
    depth: usize,
}

// === impl Redaction ===

impl Redaction {
    pub(super) fn of_contracts() -> Self {
        Self(schemas().into_iter().map(|entry| (entry.subject, entry.schema.to_value())).collect())
    }

    /// A message's payload without what is secret or personal. Timers and effects are no contracts: nothing is shown.
    pub(super) fn shown(&self, subject: &str, payload: &str) -> Value {
        match (self.0.get(subject), serde_json::from_str(payload)) {
            (Some(schema), Ok(value)) => Within { root: schema, depth: 0 }.shown(value, schema),
            _ => HIDDEN.into(),
        }
    }
}

// === impl Within ===

impl Within<'_> {
    fn shown(self, value: Value, schema: &Value) -> Value {
        let marked = |name: &str| schema[name] == true;
        if self.depth > DEPTH_MAX || marked("x-secret") || marked("x-personal") {
            return HIDDEN.into();
        }
        let inner = Within { depth: self.depth + 1, ..self };
        if let Some(target) = schema["$ref"].as_str() {
            let target = target.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
            return target.map_or_else(|| HIDDEN.into(), |target| inner.shown(value, target));
        }
        if let Some(schema) = inner.only_branch(schema) {
            return if value.is_null() { value } else { inner.shown(value, schema) };
        }
        match value {
            Value::Object(fields) => inner.object(fields, schema),
            Value::Array(items) => items.into_iter().map(|item| inner.shown(item, &schema["items"])).collect(),
            // A schema that says nothing of a value does not say that it may be shown.
            scalar if schema.is_object() => scalar,
            _ => HIDDEN.into(),
        }
    }

    /// Of an optional field, what it is when it is there. Where there is a choice, nobody has chosen for us.
    fn only_branch(self, schema: &Value) -> Option<&Value> {
        let branches = ["anyOf", "oneOf", "allOf"].iter().find_map(|name| schema[*name].as_array())?;
        let mut branches = branches.iter().filter(|branch| branch["type"] != "null");
        branches.next().filter(|_| branches.next().is_none())
    }

    fn object(self, fields: Map<String, Value>, schema: &Value) -> Value {
        let shown = fields.into_iter().map(|(name, value)| {
            let known = schema["properties"].get(&name);
            let value = known.map_or_else(|| HIDDEN.into(), |schema| self.shown(value, schema));
            (name, value)
        });
        Value::Object(shown.collect())
    }
}
