//! The only file that knows figment: layers in, one tree and the origin of every leaf out.

use std::collections::BTreeMap;

use figment::providers::{Env, Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::ConfigError;

/// Keys from one source: a file, one environment variable, one argument.
pub(super) struct Layer {
    origin: String,
    keys: Dict,
}

pub(super) struct Merged {
    pub(super) tree: serde_json::Value,
    /// Where each leaf (a list is one) was set, by its dotted key.
    pub(super) origins: BTreeMap<String, String>,
}

/// The layers as one tree: a later one wins, key by key; lists are replaced, not joined.
pub(super) fn merge(layers: Vec<Layer>) -> Result<Merged, ConfigError> {
    let figment = layers.into_iter().fold(Figment::new(), Figment::merge);
    let unmerged = |error: &dyn std::fmt::Display| ConfigError::Syntax {
        origin: "the configuration".to_owned(),
        detail: error.to_string(),
    };
    let keys = figment.data().map_err(|error| unmerged(&error))?.remove(&Profile::Default).unwrap_or_default();
    let tree = serde_json::to_value(&keys).map_err(|error| unmerged(&error))?;
    let mut origins = BTreeMap::new();
    for (key, value) in &keys {
        collect_origins(&figment, key.clone(), value, &mut origins);
    }
    Ok(Merged { tree, origins })
}

/// The variables of this process that are named `PANGAEA__…`, sorted by name.
pub(super) fn process_environment() -> Vec<(String, String)> {
    let mut variables: Vec<(String, String)> =
        Env::raw().lowercase(false).iter().map(|(name, value)| (name.into_string(), value)).collect();
    variables.retain(|(name, _)| name.starts_with(super::load::ENVIRONMENT_PREFIX));
    variables.sort();
    variables
}

/// `text` read as the right-hand side of a TOML key; `None` when it is not one.
pub(super) fn parse_toml_value(text: &str) -> Option<serde_json::Value> {
    let mut keys: Dict = Toml::from_str(&format!("value = {text}")).ok()?;
    let value = keys.remove("value").filter(|_| keys.is_empty())?;
    serde_json::to_value(&value).ok()
}

fn collect_origins(figment: &Figment, key: String, value: &Value, origins: &mut BTreeMap<String, String>) {
    if let Value::Dict(_, keys) = value {
        for (name, inner) in keys {
            collect_origins(figment, format!("{key}.{name}"), inner, origins);
        }
    } else if let Some(metadata) = figment.get_metadata(value.tag()) {
        origins.insert(key, metadata.name.to_string());
    }
}

// === impl Layer ===

impl Layer {
    /// A whole TOML text.
    pub(super) fn toml(origin: &str, text: &str) -> Result<Self, ConfigError> {
        let keys = Toml::from_str(text).map_err(|error| ConfigError::Syntax {
            origin: origin.to_owned(),
            detail: error.to_string().trim_end().to_owned(),
        })?;
        Ok(Self { origin: origin.to_owned(), keys })
    }

    /// One key, given by its path of at least one name.
    pub(super) fn key(origin: String, path: &[String], value: &serde_json::Value) -> Result<Self, ConfigError> {
        let failed = |error: figment::Error| ConfigError::Syntax { origin: origin.clone(), detail: error.to_string() };
        let mut value = Value::serialize(value).map_err(failed)?;
        let mut keys = Dict::new();
        for (depth, name) in path.iter().enumerate().rev() {
            keys = Dict::from([(name.clone(), value)]);
            value = if depth == 0 { break } else { Value::from(std::mem::take(&mut keys)) };
        }
        Ok(Self { origin, keys })
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> figment::error::Result<Map<Profile, Dict>> {
        Ok(Map::from([(Profile::Default, self.keys.clone())]))
    }
}
