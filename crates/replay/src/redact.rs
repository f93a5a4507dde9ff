//! Payloads without what contracts mark as secret or personal: the same text for the same value, so that what was equal stays
//! equal and the recording still replays.

use std::collections::BTreeMap;

use pangaea_contracts::{Kind, Subject, digest_text};
use pangaea_kernel::{Asked, Definition, Said};
use serde_json::Value;

use crate::recording::Entry;

/// Contracts nest a few levels; a schema that leads back to itself must not lead on for ever.
const DEPTH_MAX: usize = 32;
/// Texts this short are codes, of a country for instance, whose length may matter to who reads them.
const CODE_CHARS_MAX: usize = 3;
const DIGEST_CHARS: usize = 20;

/// Replaces marked values, under a key of its own: without it a value cannot be guessed and tried.
pub(crate) struct Redactor {
    key: String,
    /// Of the subjects that mark something.
    schemas: BTreeMap<String, Value>,
}

// === impl Redactor ===

impl Redactor {
    pub(crate) fn new(definition: &Definition, key: String) -> Self {
        let schemas = definition.schemas().map(|(subject, schema)| (subject.to_owned(), schema.to_value()));
        Self { key, schemas: schemas.filter(|(_, schema)| is_marked(schema)).collect() }
    }

    /// Whether any message of the module holds something to replace.
    pub(crate) fn has_work(&self) -> bool {
        !self.schemas.is_empty()
    }

    /// The payload of a message or a timer; of the result of an effect, where `is_result`.
    ///
    /// # Errors
    /// When the payload is no JSON: it cannot be told what in it is secret.
    pub(crate) fn payload(&self, subject: &str, payload: String) -> Result<String, String> {
        let Some(schema) = self.schemas.get(subject) else { return Ok(payload) };
        let mut value: Value = serde_json::from_str(&payload).map_err(|error| format!("{subject}: {error}"))?;
        let within = Within { redactor: self, root: schema };
        let is_effect = Subject::parse(subject).is_ok_and(|subject| subject.kind == Kind::Effect);
        match value.get_mut("effect").filter(|_| is_effect) {
            Some(effect) => within.replace(effect, schema, 0),
            None => within.replace(&mut value, schema, 0),
        }
        serde_json::to_string(&value).map_err(|error| format!("{subject}: {error}"))
    }

    /// An input and what was said of it; its answer is left as it is.
    ///
    /// # Errors
    /// See [`Redactor::payload`].
    pub(crate) fn entry(&self, mut entry: Entry) -> Result<Entry, String> {
        entry.payload = self.payload(&entry.subject, entry.payload)?;
        for message in &mut entry.messages {
            message.payload = self.payload(&message.subject, std::mem::take(&mut message.payload))?;
        }
        entry.asked = entry.asked.map(|asked| self.asked(asked)).transpose()?;
        Ok(entry)
    }

    /// The same of what is said now.
    ///
    /// # Errors
    /// See [`Redactor::payload`].
    pub(crate) fn said(&self, mut said: Said) -> Result<Said, String> {
        for message in &mut said.messages {
            message.payload = self.payload(&message.subject, std::mem::take(&mut message.payload))?;
        }
        said.asked = self.asked(said.asked)?;
        Ok(said)
    }

    fn asked(&self, asked: Vec<Asked>) -> Result<Vec<Asked>, String> {
        let redact = |mut one: Asked| {
            if let Asked::Timer { subject, payload, .. } | Asked::Effect { subject, payload, .. } = &mut one {
                *payload = self.payload(subject, std::mem::take(payload))?;
            }
            Ok(one)
        };
        asked.into_iter().map(redact).collect()
    }

    fn hide(&self, value: &mut Value) {
        match value {
            Value::Null | Value::Bool(_) => {}
            Value::Number(_) => *value = 0.into(),
            Value::String(text) => *text = self.pseudonym(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.hide(item)),
            Value::Object(fields) => fields.values_mut().for_each(|field| self.hide(field)),
        }
    }

    fn pseudonym(&self, text: &str) -> String {
        let length = text.chars().count();
        if length <= CODE_CHARS_MAX {
            return "X".repeat(length);
        }
        format!("redacted_{}", digest_text(&[self.key.as_bytes(), text.as_bytes()], DIGEST_CHARS))
    }
}

/// A message's schema, in which `$ref`s lead.
struct Within<'a> {
    redactor: &'a Redactor,
    root: &'a Value,
}

// === impl Within ===

impl Within<'_> {
    fn replace(&self, value: &mut Value, schema: &Value, depth: usize) {
        if depth > DEPTH_MAX || schema["x-secret"] == true || schema["x-personal"] == true {
            return self.redactor.hide(value);
        }
        if let Some(target) = schema["$ref"].as_str().and_then(|target| target.strip_prefix('#')) {
            if let Some(target) = self.root.pointer(target) {
                self.replace(value, target, depth + 1);
            }
            return;
        }
        for branches in ["anyOf", "oneOf", "allOf"].iter().filter_map(|name| schema[*name].as_array()) {
            // What one of the branches marks is marked: which of them the value is of, nobody says here.
            branches.iter().for_each(|branch| self.replace(value, branch, depth + 1));
        }
        match value {
            Value::Object(fields) => {
                for (name, field) in fields {
                    let described = schema["properties"].get(name).unwrap_or(&schema["additionalProperties"]);
                    self.replace(field, described, depth + 1);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.replace(item, &schema["items"], depth + 1)),
            _ => {}
        }
    }
}

fn is_marked(schema: &Value) -> bool {
    match schema {
        Value::Object(fields) => {
            fields.iter().any(|(name, value)| matches!(name.as_str(), "x-secret" | "x-personal") || is_marked(value))
        }
        Value::Array(items) => items.iter().any(is_marked),
        _ => false,
    }
}
