//! What the manifests say and what the program knows: keys, ports, probes, modules, references.
//!
//! Nothing is started. The program itself judges each container's environment (`pangaea check`), so a key that it does not
//! know cannot be in a manifest for long.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::Result;
use serde_json::Value;

use super::environment::{Given, Sources, given};
use super::facts::{Facts, Module};
use super::objects::{self, Workload, is_ours, text};
use super::program::{Program, said};
use super::render::{self, render};
use super::secrets::{self, Known};
use super::{Context, Outcome, versions};

mod paths;
mod placement;
mod ports;
mod references;
#[cfg(test)]
mod tests;

pub(crate) use self::references::secrets_of;

/// A container of the store, what it is given, and what the program makes of that.
#[derive(Debug)]
struct Host<'a> {
    workload: Workload<'a>,
    container: &'a Value,
    /// The program's command: `run`, `provision` …
    command: String,
    given: Given,
    /// Every key with its value; empty for what is not `run`.
    configuration: BTreeMap<String, String>,
}

/// Keys of the configuration that manifests are held against.
const COMPARED: [&str; 5] =
    ["http.listen", "operations.listen", "runtime.modules", "runtime.replicas", "runtime.drain_timeout_ms"];

/// What is known before an overlay is looked at.
#[derive(Debug)]
struct Knowledge {
    program: Program,
    modules: Vec<String>,
    /// With their paths.
    declared: Vec<Module>,
    /// What `pangaea secrets` prints; none when it failed.
    printed: Option<Vec<Value>>,
    /// Names of the charts with values in deploy/platform: each brings a Service of its name.
    charts: BTreeSet<String>,
    /// What an operator is told to do by hand.
    readme: String,
}

/// Compares every overlay with the program.
///
/// # Errors
/// When there is no program to ask, or there are no overlays.
pub(crate) fn check(ctx: &Context) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let program = Program::of(ctx);
    let printed = printed(&program, &mut outcome);
    let readme = fs::read_to_string(ctx.root.join("deploy/README.md")).unwrap_or_default();
    let charts = charts(&ctx.root.join("deploy/platform"));
    outcome.failed.extend(version_faults(&ctx.root)?);
    let declared = Facts::read(ctx)?.modules;
    let knowledge = Knowledge { modules: program.modules()?, declared, program, printed, charts, readme };
    for overlay in render::overlays(ctx)? {
        let faults = match render(ctx, &overlay) {
            Ok(documents) => knowledge.faults(&documents)?,
            Err(error) => vec![format!("{error:#}")],
        };
        if faults.is_empty() {
            outcome.passed.push(format!("{overlay}: agrees with the program"));
        }
        outcome.failed.extend(faults.into_iter().map(|fault| format!("deploy/k8s/overlays/{overlay}: {fault}")));
    }
    Ok(outcome)
}

/// What `pangaea secrets` prints. That it prints none is a fault of the program's, and no tool that is missing.
fn printed(program: &Program, outcome: &mut Outcome) -> Option<Vec<Value>> {
    let fresh = secrets::fresh(program);
    let told = |error: &_| outcome.failed.push(format!("the names of Secrets were not compared: {error:#}"));
    fresh.inspect_err(told).ok()
}

/// Texts that tell people what to install, where they say another version than the checks use.
fn version_faults(root: &Path) -> Result<Vec<String>> {
    let values = fs::read_dir(root.join("deploy/platform"))?.flatten().map(|entry| entry.path());
    let mut texts: Vec<_> = values.filter(|path| path.is_file()).chain([root.join("deploy/README.md")]).collect();
    texts.sort();
    let mut faults = Vec::new();
    for path in texts {
        let shown = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        let found = versions::faults(&fs::read_to_string(&path)?);
        faults.extend(found.into_iter().map(|fault| format!("{shown}: {fault}")));
    }
    Ok(faults)
}

/// Whether the guide has a command that makes this Secret, and not only one whose name it is a part of.
fn is_made_by_hand(readme: &str, name: &str) -> bool {
    readme.contains(&format!("secret generic {name} "))
}

/// `nats` of `deploy/platform/nats.yaml`.
fn charts(folder: &Path) -> BTreeSet<String> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    files.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect()
}

// === impl Knowledge ===

impl Knowledge {
    fn faults(&self, documents: &[Value]) -> Result<Vec<String>> {
        let mut faults = self.unknown_secrets(documents);
        let printed = self.printed.as_deref().unwrap_or_default();
        let known = self.known_secrets(documents);
        let stand_ins = secrets::stand_in(&known);
        let secrets: Vec<Value> = printed.iter().chain(&stand_ins).cloned().collect();
        let sources = Sources { documents, secrets: &secrets };
        let mut hosts = Vec::new();
        for workload in objects::workloads(documents) {
            for container in workload.all_containers().filter(|container| is_ours(container)) {
                hosts.push(self.host(workload, container, sources, &mut faults)?);
            }
        }
        if hosts.is_empty() {
            faults.push("no container runs the store's image, so nothing was compared".to_owned());
        }
        faults.extend(references::faults(documents, &known));
        faults.extend(ports::faults(documents, &hosts));
        faults.extend(paths::faults(documents, &self.declared));
        // An overlay without a module adds something to what runs already, and its Services are elsewhere.
        if hosts.iter().any(|host| host.command == "run") {
            faults.extend(ports::url_faults(documents, &hosts, &self.charts));
            faults.extend(placement::faults(documents, &hosts, &self.modules));
        }
        faults.sort();
        faults.dedup();
        Ok(faults)
    }

    /// What pods may refer to: the overlay's own, what the program prints, and what the guide says how to make. Of the last
    /// only the names are known, and of all only these where it failed.
    fn known_secrets(&self, documents: &[Value]) -> Known {
        let mut known = references::secrets_of(documents);
        if let Some(printed) = &self.printed {
            known.retain(|name, _| is_made_by_hand(&self.readme, name));
            known.extend(secrets::known(documents));
            known.extend(secrets::known(printed));
        }
        known
    }

    /// ExternalSecrets and Secrets of an overlay must be those that the program knows to print, or that no pod insists on.
    fn unknown_secrets(&self, documents: &[Value]) -> Vec<String> {
        let Some(printed) = self.printed.as_deref().map(secrets::known) else { return Vec::new() };
        let needed = references::secrets_of(documents);
        let is_unknown = |name: &str, keys: &BTreeSet<String>| match printed.get(name) {
            Some(known) => !keys.is_subset(known),
            None => needed.contains_key(name),
        };
        let own = secrets::known(documents).into_iter();
        let unknown = own.filter(|(name, keys)| is_unknown(name, keys));
        unknown
            .map(|(name, keys)| format!("Secret {name}: `pangaea secrets` prints none of this name with {keys:?}"))
            .collect()
    }

    /// Has the program judge the container's environment and arguments.
    fn host<'a>(
        &self,
        workload: Workload<'a>,
        container: &'a Value,
        sources: Sources<'_>,
        faults: &mut Vec<String>,
    ) -> Result<Host<'a>> {
        let title = format!("{}, container {}", workload.title(), text(container, "/name"));
        let given = given(&workload, container, sources, 0);
        let (command, options) = command_of(&given);
        let mut host = Host { workload, container, command, given, configuration: BTreeMap::new() };
        let is_run = host.command == "run";
        let words: Vec<String> = match is_run {
            true => std::iter::once("check".to_owned()).chain(options.iter().cloned()).collect(),
            false => vec!["check".to_owned()],
        };
        let answer = self.program.ask(&words, &host.given.environment)?;
        if !answer.status.success() {
            faults.push(format!("{title}: with its environment `pangaea check` says: {}", said(&answer)));
        } else if is_run {
            host.configuration = self.program.configuration(&options, &host.given.environment)?;
            let lost = COMPARED.iter().filter(|key| !host.configuration.contains_key(**key));
            faults.extend(
                lost.map(|key| format!("{title}: `pangaea config show` prints no {key}, so nothing was compared")),
            );
        }
        if !is_run {
            faults.extend(self.unknown_options(&host.command, &options)?.map(|fault| format!("{title}: {fault}")));
        }
        // What is not there, `references` tells of.
        let others = host.given.faults.iter().filter(|fault| !fault.contains("there is no"));
        faults.extend(others.map(|fault| format!("{title}: {fault}")));
        Ok(host)
    }

    fn unknown_options(&self, command: &str, options: &[String]) -> Result<Option<String>> {
        let help = self.program.ask(&[command.to_owned(), "--help".to_owned()], &BTreeMap::new())?;
        if !help.status.success() {
            return Ok(Some(format!("the program has no command `{command}`")));
        }
        let help = String::from_utf8_lossy(&help.stdout).into_owned();
        let names = options.iter().filter(|word| word.starts_with("--"));
        let unknown = names.map(|word| word.split('=').next().unwrap_or(word)).find(|name| !help.contains(*name));
        Ok(unknown.map(|name| format!("`pangaea {command}` has no option {name}")))
    }
}

/// The program's command and what follows it. Without arguments the program runs the store.
fn command_of(given: &Given) -> (String, Vec<String>) {
    // A manifest's `command` takes the place of the image's entry point, the program's path.
    let mut words: Vec<String> = given.command.iter().skip(1).chain(&given.args).cloned().collect();
    let has_command = words.first().is_some_and(|word| !word.starts_with('-'));
    let command = if has_command { words.remove(0) } else { "run".to_owned() };
    (command, words)
}

// === impl Host ===

impl Host<'_> {
    fn title(&self) -> String {
        self.workload.title()
    }

    fn key(&self, key: &str) -> &str {
        self.configuration.get(key).map(String::as_str).unwrap_or_default()
    }

    /// Whether the program has understood the environment, so that there is something to compare.
    fn is_understood(&self) -> bool {
        !self.configuration.is_empty()
    }
}
