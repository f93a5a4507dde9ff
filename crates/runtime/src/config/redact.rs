//! Secrets out of everything that is shown. Too much rather than too little: a hidden path costs a look into the file.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

const HIDDEN: &str = "***";
const SECRET_WORDS: [&str; 6] = ["password", "secret", "token", "sealing_key", "credentials", "otlp_headers"];
/// A number whose key ends like this is a measure, e.g. a token's lifetime.
const MEASURES: [&str; 4] = ["_ms", "_s", "_max", "_bytes"];

/// Whether what stands under this dotted key is hidden.
pub(super) fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| key.contains(word))
}

/// `value`, the whole configuration or what stands under `key`, without its secrets.
pub(super) fn redacted(key: &str, value: &Value) -> Value {
    match value {
        Value::Object(keys) => {
            keys.iter().map(|(name, inner)| (name.clone(), redacted(&join(key, name), inner))).collect()
        }
        Value::Array(items) => items.iter().map(|item| redacted(key, item)).collect(),
        Value::String(text) if is_secret(key) && !text.is_empty() => Value::from(HIDDEN),
        Value::Number(_) if is_secret(key) && !MEASURES.iter().any(|unit| key.ends_with(unit)) => Value::from(HIDDEN),
        Value::String(text) => Value::from(redacted_url(text)),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// The `Debug` form of a part of the configuration.
pub(super) fn debug_redacted(name: &str, part: &impl Serialize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let value = serde_json::to_value(part).map_err(|_| fmt::Error)?;
    write!(f, "{name} {}", redacted("", &value))
}

pub(super) fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
}

/// A URL without its password. Several URLs separated by commas lose all between the first password and the last `@`,
/// because a password may itself hold commas and slashes.
pub(super) fn redacted_url(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let (user, rest) = match rest.rsplit_once('@') {
        Some((credentials, rest)) => (Some(credentials), rest),
        None => (None, rest),
    };
    let shown = match user.map(|credentials| credentials.split_once(':')) {
        Some(Some((user, _))) => format!("{user}:{HIDDEN}@"),
        // A name alone is a user to PostgreSQL and a token to NATS.
        Some(None) if scheme.starts_with("postgres") => format!("{}@", user.unwrap_or_default()),
        Some(None) => format!("{HIDDEN}@"),
        None => String::new(),
    };
    format!("{scheme}://{shown}{}", without_secret_parameters(rest))
}

fn without_secret_parameters(rest: &str) -> String {
    let Some((address, query)) = rest.split_once('?') else {
        return rest.to_owned();
    };
    let parameters: Vec<String> = query
        .split('&')
        .map(|parameter| match parameter.split_once('=') {
            Some((name, _)) if is_secret(name) => format!("{name}={HIDDEN}"),
            _ => parameter.to_owned(),
        })
        .collect();
    format!("{address}?{}", parameters.join("&"))
}
