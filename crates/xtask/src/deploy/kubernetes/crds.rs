//! The definitions of everything that the overlays use beyond Kubernetes itself, out of their projects' Go modules.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::Value;

use super::kubectl::Kubectl;
use crate::deploy::objects::{kind, list, name, text};
use crate::deploy::schemas::by_hand::{self, ByHand};
use crate::deploy::versions::{CRDS, Crds};
use crate::deploy::{Context, Outcome, gotool, render};

const SERVED_MAX: Duration = Duration::from_secs(60);

/// Installs what can be had, and for other kinds the schemas of deploy/checks, which are ours. Those are named as missing.
///
/// # Errors
/// When the server refuses a definition, or does not serve it within a minute.
pub(crate) fn install(ctx: &Context, kubectl: &Kubectl, outcome: &mut Outcome) -> Result<()> {
    let mut definitions = Vec::new();
    for crds in &CRDS {
        match gotool::module(ctx, crds.module, crds.version) {
            Ok(folder) => definitions.extend(read_all(&folder, crds)?),
            Err(error) => outcome.missing.push((format!("CRDs of {}", crds.module), format!("{error:#}"))),
        }
    }
    // For what no registry serves: who has the CRDs of a chart puts them here.
    let own = ctx.tools.join("crds");
    if own.is_dir() {
        definitions.extend(read(&own)?);
    }
    let ours = stand_ins(ctx, &definitions, outcome)?;
    println!("{} definitions are installed, and {} of ours", definitions.len(), ours.len());
    definitions.extend(ours);
    send(kubectl, &definitions)
}

/// Installs the definitions of these Go modules alone.
///
/// # Errors
/// When one cannot be downloaded, or as [`install`].
pub(crate) fn install_of(ctx: &Context, kubectl: &Kubectl, modules: &[&str]) -> Result<()> {
    let mut definitions = Vec::new();
    for crds in CRDS.iter().filter(|crds| modules.contains(&crds.module)) {
        definitions.extend(read_all(&gotool::module(ctx, crds.module, crds.version)?, crds)?);
    }
    send(kubectl, &definitions)
}

fn send(kubectl: &Kubectl, definitions: &[Value]) -> Result<()> {
    for chunk in definitions.chunks(10) {
        let all: Vec<&Value> = chunk.iter().collect();
        kubectl.make(&all)?;
    }
    wait_served(kubectl, definitions)
}

/// The definitions of a module that has been unpacked there.
fn read_all(folder: &Path, crds: &Crds) -> Result<Vec<Value>> {
    let parts = crds.paths.iter().map(|path| read(&folder.join(path)));
    Ok(parts.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

/// Definitions of our own for kinds of which there is none.
fn stand_ins(ctx: &Context, there: &[Value], outcome: &mut Outcome) -> Result<Vec<Value>> {
    let is_there = |entry: &ByHand| {
        let mut there = there.iter().map(|one| (text(one, "/spec/group"), text(one, "/spec/names/kind")));
        there.any(|one| one == (entry.group.as_str(), entry.kind.as_str()))
    };
    let mut entries = by_hand::read(&ctx.root)?;
    entries.retain(|entry| !is_there(entry));
    let groups: BTreeSet<_> = entries.iter().map(|entry| entry.group.as_str()).collect();
    for group in groups {
        let why = "its objects were tried by the schemas in deploy/checks, which are ours; who has its chart puts its CRDs into \
                   target/tools/crds";
        outcome.missing.push((format!("CRDs of {group}"), why.to_owned()));
    }
    Ok(entries.iter().map(ByHand::definition).collect())
}

/// Definitions of a file, or of every file of a folder.
fn read(place: &Path) -> Result<Vec<Value>> {
    let mut files = vec![place.to_owned()];
    if place.is_dir() {
        files = fs::read_dir(place)?.flatten().map(|entry| entry.path()).collect();
        files.sort_unstable();
    }
    let yaml = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "yaml");
    let mut definitions = Vec::new();
    for file in files.iter().filter(|path| yaml(path)) {
        let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let documents = render::documents(&text).with_context(|| file.display().to_string())?;
        definitions.extend(documents.into_iter().filter(|one| kind(one) == "CustomResourceDefinition").map(alone));
    }
    if definitions.is_empty() {
        bail!("{} holds no CustomResourceDefinition", place.display());
    }
    Ok(definitions)
}

/// Without the web hook that converts between versions: its server is not here, and one version is enough.
fn alone(mut definition: Value) -> Value {
    if let Some(spec) = definition.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove("conversion");
    }
    if let Some(definition) = definition.as_object_mut() {
        definition.remove("status");
    }
    definition
}

/// The server serves a definition a little later than it takes it.
fn wait_served(kubectl: &Kubectl, definitions: &[Value]) -> Result<()> {
    let until = Instant::now() + SERVED_MAX;
    let wanted: BTreeSet<_> = definitions.iter().map(|definition| text(definition, "/spec/group").to_owned()).collect();
    loop {
        let answer = kubectl.raw("/apis/apiextensions.k8s.io/v1/customresourcedefinitions");
        let answer: Value = serde_json::from_str(&answer.map_err(|error| anyhow!("definitions: {error}"))?)?;
        let waiting = list(&answer, "/items").iter().find(|definition| !is_established(definition)).map(name);
        let groups = groups(kubectl)?;
        match waiting {
            None if wanted.is_subset(&groups) => return Ok(()),
            _ if Instant::now() >= until => bail!("not served after a minute: {waiting:?}; groups: {groups:?}"),
            _ => sleep(Duration::from_millis(500)),
        }
    }
}

fn is_established(definition: &Value) -> bool {
    let mut conditions = list(definition, "/status/conditions").iter();
    conditions.any(|one| text(one, "/type") == "Established" && text(one, "/status") == "True")
}

/// The names of all API groups but the core one, which has none.
fn groups(kubectl: &Kubectl) -> Result<BTreeSet<String>> {
    let answer = kubectl.raw("/apis").map_err(|error| anyhow!("GET /apis: {error}"))?;
    let answer: Value = serde_json::from_str(&answer)?;
    Ok(list(&answer, "/groups").iter().map(|group| text(group, "/name").to_owned()).collect())
}
