//! What manifests say about HTTP, whichever kind of object they say it in.
//!
//! Both readers ([`super::gateway_api`], [`super::istio`]) refuse a field that they do not know, so that nothing of a manifest
//! is silently left out of what is tried.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use serde_json::Value;

/// One overlay's HTTP, in the order in which rules are tried.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Traffic {
    pub(crate) rules: Vec<Rule>,
    pub(crate) clusters: BTreeMap<String, Cluster>,
    pub(crate) tokens: Option<Tokens>,
    /// By module: requests that are refused without a token.
    pub(crate) refused: BTreeMap<String, Vec<Operation>>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rule {
    /// The first label of the service's name.
    pub(crate) module: String,
    /// Any of them; never empty.
    pub(crate) matches: Vec<Match>,
    pub(crate) backends: Vec<Backend>,
    /// None: as long as it takes.
    pub(crate) timeout_ms: Option<u64>,
    pub(crate) retries: Retries,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Match {
    pub(crate) path: Option<Path>,
    pub(crate) method: Option<Text>,
    pub(crate) headers: Vec<(String, Text)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Path {
    Exact(String),
    /// Istio's: any path that begins so.
    Prefix(String),
    /// The Gateway API's: whole path elements.
    Elements(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Text {
    Exact(String),
    Regex(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Backend {
    /// A key of [`Traffic::clusters`].
    pub(crate) cluster: String,
    pub(crate) weight: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Retries {
    /// Beyond the first try.
    pub(crate) attempts: u64,
    pub(crate) per_try_timeout_ms: Option<u64>,
    /// Envoy's words, separated by commas.
    pub(crate) on: String,
    pub(crate) statuses: Vec<u64>,
}

/// The pods behind a service, or behind a subset of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Cluster {
    pub(crate) module: String,
    /// The label `version` that the pods must have; None: any.
    pub(crate) version: Option<String>,
    pub(crate) connect_timeout_ms: Option<u64>,
    /// Envoy's threshold by name: `max_connections` …
    pub(crate) limits: BTreeMap<String, u64>,
    pub(crate) outliers: Option<Outliers>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outliers {
    pub(crate) consecutive_5xx: Option<u64>,
    pub(crate) consecutive_gateway_errors: Option<u64>,
    pub(crate) interval_ms: u64,
    pub(crate) base_ejection_ms: u64,
    pub(crate) max_ejection_percent: u64,
}

/// How tokens are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tokens {
    pub(crate) issuer: String,
    pub(crate) audiences: Vec<String>,
    /// The module that serves the key set, and the path.
    pub(crate) keys_at: (String, String),
    pub(crate) is_forwarded: bool,
}

/// What an authorization policy says of a request; empty lists say nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Operation {
    /// `*` at the end stands for any rest.
    pub(crate) paths: Vec<String>,
    pub(crate) methods: Vec<String>,
    pub(crate) not_methods: Vec<String>,
}

// === impl Traffic ===

impl Traffic {
    /// The path prefixes of each module, sorted.
    pub(crate) fn prefixes(&self) -> BTreeMap<String, Vec<String>> {
        let mut prefixes: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for rule in &self.rules {
            let of_module = prefixes.entry(rule.module.clone()).or_default();
            of_module
                .extend(rule.matches.iter().filter_map(|one| one.path.as_ref().map(Path::text)).map(str::to_owned));
        }
        for of_module in prefixes.values_mut() {
            of_module.sort_unstable();
            of_module.dedup();
        }
        prefixes
    }

    /// Without the check of tokens: for trials of what lies behind it.
    pub(crate) fn without_tokens(mut self) -> Self {
        self.tokens = None;
        self.refused.clear();
        self
    }
}

// === impl Path ===

impl Path {
    pub(crate) fn text(&self) -> &str {
        let (Self::Exact(text) | Self::Prefix(text) | Self::Elements(text)) = self;
        text
    }
}

/// Refuses fields that the translation does not know. What is not there at all has none.
pub(super) fn only(value: &Value, known: &[&str], place: &str) -> Result<()> {
    if value.is_null() {
        return Ok(());
    }
    let Some(object) = value.as_object() else { bail!("{place}: not an object") };
    for (key, value) in object {
        let is_empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
        ensure!(
            is_empty || known.contains(&key.as_str()),
            "{place}: {key} is not translated for Envoy; teach it, or leave it out"
        );
    }
    Ok(())
}

/// `10s`, `500ms`, `1m`, `1h`, `1m30s`, as Go and the Gateway API write them; `0s` is no time at all.
pub(super) fn milliseconds(text: &str) -> Result<u64> {
    let mut rest = text;
    let mut sum = 0;
    ensure!(!rest.is_empty(), "an empty duration");
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
        let Ok(number) = rest[..digits].parse::<u64>() else { bail!("{text:?} is no duration") };
        let after = &rest[digits..];
        let unit = after.find(|letter: char| letter.is_ascii_digit()).unwrap_or(after.len());
        sum += number
            * match &after[..unit] {
                "ms" => 1,
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                _ => bail!("{text:?} is no duration"),
            };
        rest = &after[unit..];
    }
    Ok(sum)
}

/// The duration at `key`; None where there is none, or where it says that there is no limit.
pub(super) fn duration(value: &Value, key: &str) -> Result<Option<u64>> {
    let Some(text) = value[key].as_str() else { return Ok(None) };
    Ok(Some(milliseconds(text)?).filter(|ms| *ms > 0))
}

pub(super) fn texts(value: &Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    items.filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

pub(super) fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn durations() {
        for (text, ms) in [("10s", 10_000), ("500ms", 500), ("1m30s", 90_000), ("1h", 3_600_000), ("0s", 0)] {
            assert_eq!(milliseconds(text).unwrap(), ms, "{text}");
        }
        for text in ["", "10", "s", "1d", "-1s"] {
            assert!(milliseconds(text).is_err(), "{text}");
        }
        assert_eq!(duration(&json!({"timeout": "0s"}), "timeout").unwrap(), None);
    }

    #[test]
    fn an_unknown_field_is_refused_and_an_empty_one_is_none() {
        let value = json!({"match": [], "mirror": {"host": "x"}, "headers": null});
        let error = only(&value, &["match"], "VirtualService order").unwrap_err().to_string();
        assert!(error.contains("VirtualService order: mirror"), "{error}");
        only(&value, &["mirror"], "").unwrap();
    }
}
