//! The Secrets that an operator makes before the first deployment: what `pangaea secrets` prints.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::objects::{kind, list, text};
use super::program::{Program, said};
use super::render;

/// Names of Secrets, with the names of their keys.
pub(crate) type Known = BTreeMap<String, BTreeSet<String>>;

/// Asks the program for a fresh set.
///
/// # Errors
/// When the program has no such command, or prints something else than Secrets.
pub(crate) fn fresh(program: &Program) -> Result<Vec<Value>> {
    let output = program.ask(&["secrets", "--format", "kubernetes"].map(str::to_owned), &BTreeMap::new())?;
    if !output.status.success() {
        bail!("`pangaea secrets --format kubernetes`: {}", said(&output));
    }
    let mut documents = render::documents(&String::from_utf8_lossy(&output.stdout))?;
    if let [only] = documents.as_slice()
        && kind(only) == "List"
    {
        documents = list(only, "/items").to_vec();
    }
    if let Some(other) = documents.iter().find(|document| kind(document) != "Secret") {
        bail!("`pangaea secrets` printed a {}, which is no Secret", kind(other));
    }
    Ok(documents)
}

/// The values of a ConfigMap or a Secret as texts.
///
/// # Errors
/// When `data` of a Secret is no base64 of a text.
pub(crate) fn values(document: &Value) -> Result<BTreeMap<String, String>> {
    let of = |field: &str| document.get(field).and_then(Value::as_object).into_iter().flatten();
    let mut values = BTreeMap::new();
    for (key, value) in of("data") {
        let plain = value.as_str().unwrap_or_default();
        let plain = match kind(document) {
            "Secret" => decoded(plain).with_context(|| format!("{}: {key}", super::objects::title(document)))?,
            _ => plain.to_owned(),
        };
        values.insert(key.clone(), plain);
    }
    values.extend(of("stringData").map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())));
    Ok(values)
}

fn decoded(text: &str) -> Result<String> {
    String::from_utf8(STANDARD.decode(text).context("is no base64")?).context("is no text")
}

/// The Secrets of these documents, and those that ExternalSecrets will make.
pub(crate) fn known(documents: &[Value]) -> Known {
    let mut known = Known::new();
    for document in documents {
        let (name, keys) = match kind(document) {
            "Secret" => {
                let keys = ["data", "stringData"].into_iter().filter_map(|field| document.get(field)?.as_object());
                (super::objects::name(document), keys.flat_map(|map| map.keys().cloned()).collect())
            }
            "ExternalSecret" => {
                let target = text(document, "/spec/target/name");
                let name = if target.is_empty() { super::objects::name(document) } else { target };
                (name, made_by(document))
            }
            _ => continue,
        };
        known.entry(name.to_owned()).or_default().extend(keys);
    }
    known
}

fn made_by(external: &Value) -> BTreeSet<String> {
    let listed = list(external, "/spec/data").iter().map(|one| text(one, "/secretKey").to_owned());
    let templated = external.pointer("/spec/target/template/data").and_then(Value::as_object);
    match templated {
        Some(template) => template.keys().cloned().collect(),
        None => listed.collect(),
    }
}

/// Values of the right form for Secrets whose values are not known here, such as those that a cloud's store keeps.
pub(crate) fn stand_in(known: &Known) -> Vec<Value> {
    let value = |name: &str, key: &str| match (name, key) {
        (_, "url") => "postgres://someone:secret@database.example:5432/pangaea".to_owned(),
        ("user-sealing", "key") => STANDARD.encode([7_u8; 32]),
        (_, "email") => "first-admin@example.com".to_owned(),
        _ => "stand-in-0123456789".to_owned(),
    };
    let secret = |(name, keys): (&String, &BTreeSet<String>)| {
        let data: BTreeMap<_, _> = keys.iter().map(|key| (key, value(name, key))).collect();
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "stringData": data })
    };
    known.iter().map(secret).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_forms_of_values() {
        let secret = json!({ "kind": "Secret", "data": { "a": "eA==" }, "stringData": { "b": "y" } });
        let expected = BTreeMap::from([("a".to_owned(), "x".to_owned()), ("b".to_owned(), "y".to_owned())]);
        assert_eq!(values(&secret).unwrap(), expected);
        assert!(values(&json!({ "kind": "Secret", "data": { "a": "no base64" } })).is_err());
    }

    #[test]
    fn knows_what_an_external_secret_makes() {
        let external = json!({
            "kind": "ExternalSecret", "metadata": { "name": "e" },
            "spec": { "target": { "name": "user-sealing" }, "data": [{ "secretKey": "key" }] },
        });
        let expected = Known::from([("user-sealing".to_owned(), BTreeSet::from(["key".to_owned()]))]);
        assert_eq!(known(&[external]), expected);
        assert_eq!(known(&stand_in(&expected)), expected);
    }
}
