//! What a change of a message's JSON Schema means for those who hold messages of the released form.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Map, Value, json};

/// Every message's schema by its subject, in the form of [`normalized`].
pub(crate) type Schemas = BTreeMap<String, Value>;

/// One difference between the released schemas and those of the code.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Change {
    /// The subject, then the way to the field: `order.evt.placed.v1 /lines/[]/quantity`.
    pub(crate) place: String,
    pub(crate) what: String,
}

/// What has changed, by what it does to others.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    /// A reader of the released form, or a reader of released messages, would fail.
    pub(crate) breaking: Vec<Change>,
    /// Both go on, and the lockfile has to learn it.
    pub(crate) additive: Vec<Change>,
}

/// A schema with nothing but what is on the wire: texts for people are dropped, references are replaced by what they
/// name, and enums of texts have one form. A renamed Rust type or a better comment is then no change.
pub(crate) fn normalized(schema: &Value) -> Value {
    let definitions = schema.get("$defs").and_then(Value::as_object).cloned().unwrap_or_default();
    inline(schema, &definitions, &mut Vec::new())
}

fn inline(schema: &Value, definitions: &Map<String, Value>, within: &mut Vec<String>) -> Value {
    let Some(object) = schema.as_object() else { return schema.clone() };
    if let Some(name) = object.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix("#/$defs/")) {
        // A type that contains itself keeps the name where it closes the circle.
        let (Some(target), false) = (definitions.get(name), within.iter().any(|outer| outer == name)) else {
            return json!({ "$ref": name });
        };
        within.push(name.to_owned());
        let mut inlined = inline(target, definitions, within);
        within.pop();
        let beside = object.iter().filter(|(keyword, _)| *keyword == "default" || keyword.starts_with("x-"));
        for (keyword, value) in beside {
            inlined[keyword] = value.clone();
        }
        return inlined;
    }
    let mut result = Map::new();
    for (keyword, value) in object {
        let value = match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" => continue,
            // Names of fields, not keywords: a field may be called `title`.
            "properties" => each_field(value, |field| inline(field, definitions, within)),
            "required" | "enum" => sorted(value),
            // Values, not schemas.
            "default" | "const" => value.clone(),
            _ => match value {
                Value::Array(parts) => parts.iter().map(|part| inline(part, definitions, within)).collect(),
                other => inline(other, definitions, within),
            },
        };
        result.insert(keyword.clone(), value);
    }
    enum_of_texts(&result).unwrap_or(Value::Object(result))
}

fn each_field(fields: &Value, mut change: impl FnMut(&Value) -> Value) -> Value {
    let fields = fields.as_object().into_iter().flatten();
    Value::Object(fields.map(|(name, field)| (name.clone(), change(field))).collect())
}

fn sorted(value: &Value) -> Value {
    let mut values = value.as_array().cloned().unwrap_or_default();
    values.sort_by_key(Value::to_string);
    Value::Array(values)
}

/// An enum whose variants have comments is a `oneOf` of constants, and an `enum` without them.
fn enum_of_texts(schema: &Map<String, Value>) -> Option<Value> {
    let mut texts = Vec::new();
    for alternative in schema.get("oneOf")?.as_array()? {
        if alternative.get("type")? != "string" {
            return None;
        }
        match (alternative.get("const"), alternative.get("enum")) {
            (Some(text), None) => texts.push(text.clone()),
            (None, Some(Value::Array(several))) => texts.extend(several.iter().cloned()),
            _ => return None,
        }
    }
    Some(json!({ "type": "string", "enum": sorted(&Value::Array(texts)) }))
}

/// What `new` changes of `old`.
pub(crate) fn compare(old: &Schemas, new: &Schemas) -> Difference {
    let mut difference = Difference::default();
    for (subject, schema) in old {
        match new.get(subject) {
            Some(now) => difference.schema(&format!("{subject} "), schema, now),
            None => difference.breaking(subject, "the subject was removed"),
        }
    }
    for subject in new.keys().filter(|subject| !old.contains_key(*subject)) {
        difference.additive(subject, "a new message");
    }
    difference.breaking.sort();
    difference.additive.sort();
    difference
}

// === impl Difference ===

impl Difference {
    pub(crate) fn is_empty(&self) -> bool {
        self.breaking.is_empty() && self.additive.is_empty()
    }

    fn breaking(&mut self, place: &str, what: impl Into<String>) {
        self.breaking.push(Change { place: place.trim_end().to_owned(), what: what.into() });
    }

    fn additive(&mut self, place: &str, what: impl Into<String>) {
        self.additive.push(Change { place: place.trim_end().to_owned(), what: what.into() });
    }

    fn schema(&mut self, place: &str, old: &Value, new: &Value) {
        if old == new {
            return;
        }
        let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else {
            return self.breaking(place, format!("the type changed from {old} to {new}"));
        };
        let keywords: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for keyword in keywords {
            let (before, now) = (old.get(keyword), new.get(keyword));
            if before == now {
                continue;
            }
            match keyword.as_str() {
                "properties" => self.fields(place, before, now, new.get("required")),
                "required" => {
                    let (before_fields, now_fields) = (entries(old.get("properties")), entries(new.get("properties")));
                    let kept = before_fields.into_keys().filter(|name| now_fields.contains_key(name)).collect();
                    self.required(place, before, now, &kept);
                }
                "items" | "additionalProperties" => match (before, now) {
                    (Some(before), Some(now)) => self.schema(&format!("{place}/[]"), before, now),
                    _ => self.breaking(place, changed(keyword, before, now)),
                },
                "enum" => self.values(place, before, now),
                "oneOf" | "anyOf" => self.alternatives(place, before, now),
                "default" => self.additive(place, changed(keyword, before, now)),
                // Marks for tools, such as what is personal; nobody decodes by them.
                mark if mark.starts_with("x-") => self.additive(place, changed(mark, before, now)),
                other => self.breaking(place, changed(other, before, now)),
            }
        }
    }

    fn fields(&mut self, place: &str, before: Option<&Value>, now: Option<&Value>, required: Option<&Value>) {
        let (before, now) = (entries(before), entries(now));
        for (name, old) in &before {
            let place = format!("{place}/{name}");
            match now.get(name) {
                Some(new) => self.schema(&place, old, new),
                None => self.breaking(&place, "the field was removed"),
            }
        }
        let required = texts(required);
        for name in now.keys().filter(|name| !before.contains_key(*name)) {
            let place = format!("{place}/{name}");
            if required.contains(name) {
                self.breaking(&place, "a new field is required: give it a default");
            } else {
                self.additive(&place, "a new optional field");
            }
        }
    }

    /// Of the fields that both have; new and removed ones are seen with the fields.
    fn required(&mut self, place: &str, before: Option<&Value>, now: Option<&Value>, kept: &BTreeSet<&str>) {
        let (before, now) = (texts(before), texts(now));
        for name in now.difference(&before).filter(|name| kept.contains(*name)) {
            self.breaking(&format!("{place}/{name}"), "the field became required");
        }
        for name in before.difference(&now).filter(|name| kept.contains(*name)) {
            // It is read with more tolerance now. A writer still writes it, unless it says `skip_serializing_if`.
            self.additive(&format!("{place}/{name}"), "the field is no longer required");
        }
    }

    fn values(&mut self, place: &str, before: Option<&Value>, now: Option<&Value>) {
        let (before, now) = (list(before), list(now));
        for value in before.iter().filter(|value| !now.contains(value)) {
            self.breaking(place, format!("the enum value {value} was removed"));
        }
        for value in now.iter().filter(|value| !before.contains(value)) {
            self.additive(place, format!("the enum value {value} is new"));
        }
    }

    /// Each old alternative must still be had: unchanged, or changed in an additive way.
    fn alternatives(&mut self, place: &str, before: Option<&Value>, now: Option<&Value>) {
        let (before, mut left) = (list(before), list(now));
        let mut unmatched = Vec::new();
        for old in before {
            match left.iter().position(|new| *new == old) {
                Some(index) => drop(left.remove(index)),
                None => unmatched.push(old),
            }
        }
        for old in unmatched {
            let compared = left.iter().map(|new| {
                let mut difference = Difference::default();
                difference.schema(place, old, new);
                difference
            });
            match compared.enumerate().find(|(_, difference)| difference.breaking.is_empty()) {
                Some((index, difference)) => {
                    left.remove(index);
                    self.additive.extend(difference.additive);
                }
                None => self.breaking(place, format!("an alternative was removed or changed: {old}")),
            }
        }
        for new in left {
            self.additive(place, format!("a new alternative: {new}"));
        }
    }
}

fn changed(keyword: &str, before: Option<&Value>, now: Option<&Value>) -> String {
    let shown = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), Value::to_string);
    format!("`{keyword}` changed from {} to {}", shown(before), shown(now))
}

fn entries(object: Option<&Value>) -> BTreeMap<&str, &Value> {
    let entries = object.and_then(Value::as_object).into_iter().flatten();
    entries.map(|(name, value)| (name.as_str(), value)).collect()
}

fn list(array: Option<&Value>) -> Vec<&Value> {
    array.and_then(Value::as_array).into_iter().flatten().collect()
}

fn texts(array: Option<&Value>) -> BTreeSet<&str> {
    list(array).into_iter().filter_map(Value::as_str).collect()
}

// === impl Change ===

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}
