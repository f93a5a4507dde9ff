//! Manifests with one fault each.
//!
//! `good.yaml` has none. Every other file says what is changed in it, and which rule must refuse that.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde_json::{Map, Value};

use super::super::{Outcome, render};
use super::objects::{Objects, list, text};
use super::{RULES, judge};

/// All of them.
#[derive(Debug)]
pub(super) struct Fixtures {
    good: Vec<Value>,
    faulty: Vec<Fixture>,
}

/// One fault.
#[derive(Debug)]
struct Fixture {
    file: String,
    /// The rule's name.
    refused: String,
    /// `object` (`Kind/name`), `path` (a JSON pointer), and `value` or `remove: true`.
    changes: Vec<Value>,
    /// Objects that come on top.
    objects: Vec<Value>,
}

// === impl Fixtures ===

impl Fixtures {
    /// Reads a folder.
    ///
    /// # Errors
    /// When a file is not of their form.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let entries = fs::read_dir(folder).with_context(|| format!("could not read {}", folder.display()))?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<_> = names.filter(|name| name.ends_with(".yaml") && name != "good.yaml").collect();
        names.sort();
        let good = render::documents(&fs::read_to_string(folder.join("good.yaml"))?).context("good.yaml")?;
        let read = |name: String| {
            let text = fs::read_to_string(folder.join(&name))?;
            Fixture::parse(&name, &text).with_context(|| format!("deploy/checks/fixtures/{name}"))
        };
        Ok(Self { good, faulty: names.into_iter().map(read).collect::<Result<_>>()? })
    }

    /// Judges each: one finding, by the rule that it names.
    ///
    /// # Errors
    /// When a change names what is not there.
    pub(super) fn check(&self, outcome: &mut Outcome) -> Result<()> {
        let told = |documents: &[Value]| {
            let findings = judge(&Objects::new(documents)).into_iter();
            findings.map(|(rule, fault)| (rule, format!("{fault} [{rule}]"))).collect::<Vec<_>>()
        };
        let findings = told(&self.good);
        outcome
            .failed
            .extend(findings.into_iter().map(|(_, shown)| format!("deploy/checks/fixtures/good.yaml: {shown}")));
        for fixture in &self.faulty {
            let findings = told(&fixture.documents(&self.good)?);
            let shown: Vec<_> = findings.iter().map(|(_, shown)| shown.as_str()).collect();
            match findings.as_slice() {
                [(rule, shown)] if *rule == fixture.refused => {
                    outcome.passed.push(format!("{}: {shown}", fixture.file))
                }
                _ => outcome.failed.push(format!(
                    "deploy/checks/fixtures/{}: the rule {} must refuse it once, and no other; found: {}",
                    fixture.file,
                    fixture.refused,
                    if shown.is_empty() { "nothing".to_owned() } else { shown.join("; ") }
                )),
            }
        }
        let shown: BTreeSet<_> = self.faulty.iter().map(|fixture| fixture.refused.as_str()).collect();
        let bare = RULES.iter().filter(|(rule, _)| !shown.contains(rule));
        outcome
            .failed
            .extend(bare.map(|(rule, _)| format!("deploy/checks/fixtures: none is refused by the rule {rule}")));
        Ok(())
    }
}

// === impl Fixture ===

impl Fixture {
    fn parse(file: &str, text_: &str) -> Result<Self> {
        let documents = render::documents(text_)?;
        let [about] = documents.as_slice() else { bail!("it must be one document") };
        let refused = text(about, "/refused").to_owned();
        ensure!(RULES.iter().any(|(rule, _)| *rule == refused), "`refused` names no rule: {refused:?}");
        let changes = list(about, "/changes").to_vec();
        let objects = list(about, "/objects").to_vec();
        ensure!(!changes.is_empty() || !objects.is_empty(), "it changes nothing");
        Ok(Self { file: file.to_owned(), refused, changes, objects })
    }

    fn documents(&self, good: &[Value]) -> Result<Vec<Value>> {
        let mut documents = good.to_vec();
        for change in &self.changes {
            let wanted = text(change, "/object");
            let is_it =
                |object: &&mut Value| format!("{}/{}", text(object, "/kind"), text(object, "/metadata/name")) == wanted;
            let object = documents.iter_mut().find(is_it);
            let object = object.ok_or_else(|| anyhow!("{}: good.yaml has no {wanted}", self.file))?;
            apply(change, object).with_context(|| format!("{}: {wanted}", self.file))?;
        }
        documents.extend(self.objects.iter().cloned());
        Ok(documents)
    }
}

/// Sets or removes what the change's path names. Maps on the way are made; lists are not.
fn apply(change: &Value, object: &mut Value) -> Result<()> {
    let path = text(change, "/path");
    let mut at = object;
    let mut steps: Vec<_> = path.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")).collect();
    let last = steps.pop().ok_or_else(|| anyhow!("no path"))?;
    for step in &steps {
        at = match at {
            Value::Array(items) => step.parse::<usize>().ok().and_then(|index| items.get_mut(index)),
            Value::Object(map) => Some(map.entry(step.as_str()).or_insert_with(|| Value::Object(Map::new()))),
            _ => None,
        }
        .ok_or_else(|| anyhow!("nothing at {step} of {path}"))?;
    }
    let value = change.get("value").cloned();
    match (at, value) {
        (Value::Object(map), Some(value)) => drop(map.insert(last, value)),
        (Value::Object(map), None) => drop(map.remove(&last).ok_or_else(|| anyhow!("nothing at {path}"))?),
        (Value::Array(items), Some(value)) => items.push(value),
        (Value::Array(items), None) => {
            let index = last.parse().ok().filter(|index| *index < items.len());
            drop(items.remove(index.ok_or_else(|| anyhow!("nothing at {path}"))?));
        }
        _ => bail!("nothing can stand at {path}"),
    }
    Ok(())
}
