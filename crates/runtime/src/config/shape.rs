//! Which keys there are: those of the compiled-in file, and nothing else.

use std::collections::BTreeMap;

use serde_json::Value;

use super::error::Fault;
use super::layers::parse_toml_value;
use super::load::{ENVIRONMENT_ORIGIN, ENVIRONMENT_PREFIX, variable};
use super::{Config, ConfigError};

/// The tree of all known keys with their default values; an optional key without one is null.
pub(super) struct Shape(Value);

/// What the shape says of a path.
enum Known<'a> {
    /// A key or a table of the default file.
    Here(&'a Value),
    /// Below a module that the default file does not name, or in its settings: the module checks these itself.
    Open,
    No,
}

// === impl Shape ===

impl Shape {
    pub(super) fn of(default: &Config) -> Result<Self, ConfigError> {
        serde_json::to_value(default).map(Self).map_err(|error| ConfigError::Syntax {
            origin: super::load::DEFAULT_ORIGIN.to_owned(),
            detail: error.to_string(),
        })
    }

    /// Text from a variable or an argument, read as what the key at `path` holds. Text that is not one is kept as text, so
    /// that the error shows it.
    pub(super) fn read_text(&self, path: &[String], text: &str) -> Value {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let as_text = || Value::String(text.to_owned());
        match self.find(&path) {
            Known::Here(Value::String(_)) => as_text(),
            Known::Here(Value::Array(_)) => read_list(text),
            Known::Here(Value::Null) if text.is_empty() => Value::Null,
            Known::Here(Value::Null) => as_text(),
            Known::Here(_) => parse_toml_value(text.trim()).unwrap_or_else(as_text),
            // TOML's dates come as tables, and its nan as null: neither is what was written.
            Known::Open | Known::No => parse_toml_value(text.trim())
                .filter(|value| !value.is_null() && value.is_object() == text.trim_start().starts_with('{'))
                .unwrap_or_else(as_text),
        }
    }

    /// The keys of `tree` that do not exist, and values where a table belongs or the other way round.
    pub(super) fn faults(&self, tree: &Value, origins: &BTreeMap<String, String>) -> Vec<Fault> {
        let mut faults = Vec::new();
        self.walk(&mut Vec::new(), tree, origins, &mut faults);
        faults
    }

    fn walk<'a>(
        &self,
        path: &mut Vec<&'a str>,
        value: &'a Value,
        origins: &BTreeMap<String, String>,
        faults: &mut Vec<Fault>,
    ) {
        let known = self.find(path);
        let fault = match (&known, value) {
            (Known::Open, _) => return,
            (Known::No, _) => Some(self.unknown(&path.join("."), origins)),
            (Known::Here(Value::Object(_)), Value::Object(keys)) => {
                for (name, inner) in keys {
                    path.push(name);
                    self.walk(path, inner, origins, faults);
                    path.pop();
                }
                return;
            }
            (Known::Here(Value::Object(_)), _) => Some("is a table: set the keys in it, one by one".to_owned()),
            (Known::Here(_), Value::Object(_)) => Some("is not a table".to_owned()),
            // The options of modules have no type here; everything else is held by the types of `Config`.
            (Known::Here(default), _) if is_option(path) => kind_fault(default, value).map(str::to_owned),
            (Known::Here(_), _) => None,
        };
        faults.extend(fault.map(|detail| Fault {
            origin: origin_below(origins, &path.join(".")),
            key: path.join("."),
            detail,
        }));
    }

    fn unknown(&self, key: &str, origins: &BTreeMap<String, String>) -> String {
        let Some(nearest) = self.nearest(key) else {
            return "unknown key; `config show` lists every key".to_owned();
        };
        let from_environment = origin_below(origins, key).is_some_and(|origin| {
            origin.strip_prefix(ENVIRONMENT_ORIGIN).is_some_and(|name| name.starts_with(ENVIRONMENT_PREFIX))
        });
        if from_environment {
            format!("unknown key; did you mean {} ({nearest})?", variable(&nearest))
        } else {
            format!("unknown key; did you mean {nearest}?")
        }
    }

    /// The known key, or table, that is fewest edits away.
    fn nearest(&self, key: &str) -> Option<String> {
        let mut candidates = Vec::new();
        collect_keys(String::new(), &self.0, &mut candidates);
        candidates.into_iter().min_by_key(|candidate| edit_distance(key, candidate))
    }

    fn find(&self, path: &[&str]) -> Known<'_> {
        if let ["modules", module, rest @ ..] = path {
            let options = &self.0["modules"][module]["options"];
            match rest {
                ["options", ..] if options.is_object() => {}
                ["settings" | "options", ..] => return Known::Open,
                [] => return Known::Here(EMPTY_TABLE.get_or_init(|| Value::Object(serde_json::Map::new()))),
                _ => return Known::No,
            }
        }
        let found = path.iter().try_fold(&self.0, |value, name| value.get(name));
        found.map_or(Known::No, Known::Here)
    }
}

/// What stands for a module's own table.
static EMPTY_TABLE: std::sync::OnceLock<Value> = std::sync::OnceLock::new();

fn is_option(path: &[&str]) -> bool {
    matches!(path, ["modules", _, "options", _, ..])
}

fn kind_fault(default: &Value, value: &Value) -> Option<&'static str> {
    match (default, value) {
        (Value::Bool(_), Value::Bool(_)) | (Value::Number(_), Value::Number(_)) => None,
        (Value::String(_), Value::String(_)) | (Value::Array(_), Value::Array(_)) => None,
        (Value::Bool(_), _) => Some("expected true or false"),
        (Value::Number(_), _) => Some("expected a number"),
        (Value::String(_), _) => Some("expected text"),
        (Value::Array(_), _) => Some("expected a list"),
        (Value::Null | Value::Object(_), _) => None,
    }
}

/// The origin of the key, or of the first key below it.
fn origin_below(origins: &BTreeMap<String, String>, key: &str) -> Option<String> {
    let below = format!("{key}.");
    let found = origins.get(key).or_else(|| {
        origins.range(below.clone()..).next().filter(|(name, _)| name.starts_with(&below)).map(|(_, origin)| origin)
    });
    found.cloned()
}

/// `[…]` as TOML has it, else texts separated by commas.
fn read_list(text: &str) -> Value {
    let text = text.trim();
    if let Some(list) = parse_toml_value(text).filter(Value::is_array) {
        return list;
    }
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(Value::from).collect()
}

fn collect_keys(prefix: String, value: &Value, keys: &mut Vec<String>) {
    if let Value::Object(inner) = value {
        for (name, value) in inner {
            let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            collect_keys(key, value, keys);
        }
    }
    if !prefix.is_empty() {
        keys.push(prefix);
    }
}

/// Insertions, deletions, replacements and swaps of neighbours that turn one text into the other.
pub(super) fn edit_distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().take(200).collect(), right.chars().take(200).collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=right.len()).collect()];
    for i in 1..=left.len() {
        let mut row = vec![i];
        for j in 1..=right.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(left[i - 1] != right[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[left.len()][right.len()]
}
