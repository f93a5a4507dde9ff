use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::Context;

/// What the program says of its modules. Nothing else is known here of any of them.
pub(crate) struct Facts {
    pub(crate) modules: Vec<Module>,
    /// A NATS server's accounts, and the same as JSON.
    pub(crate) nats_accounts: String,
    pub(crate) nats_json: Value,
}

/// Which module each prefix leads to.
pub(crate) type Paths = BTreeMap<String, String>;

#[derive(Debug)]
pub(crate) struct Module {
    pub(crate) name: String,
    /// What its paths begin with: `/v1/orders`.
    pub(crate) prefixes: BTreeSet<String>,
    /// Methods by path, both as in OpenAPI.
    pub(crate) routes: BTreeMap<String, BTreeSet<String>>,
    /// Whether it calls the outside.
    pub(crate) performs_effects: bool,
}

// === impl Facts ===

impl Facts {
    /// # Errors
    /// When the program does not run, or says what is not understood here.
    pub(crate) fn read(context: &Context) -> Result<Self> {
        let json = |args: &[&str]| -> Result<Value> { Ok(serde_json::from_str(&said(context, args)?)?) };
        let topology = json(&["topology", "--format", "json"])?;
        let api = json(&["openapi"])?;
        let mut modules = Vec::new();
        for module in topology["modules"].as_array().context("topology without modules")? {
            let name = module["name"].as_str().context("a module without a name")?;
            let performs_effects = module["performs"].as_array().is_some_and(|effects| !effects.is_empty());
            modules.push(Module::new(name, performs_effects, &api)?);
        }
        Ok(Self {
            modules,
            nats_accounts: said(context, &["topology", "--format", "nats"])?,
            nats_json: json(&["topology", "--format", "nats-json"])?,
        })
    }
}

/// What the program prints. It gets a clean environment, so that nothing of this shell's is written into files.
fn said(context: &Context, args: &[&str]) -> Result<String> {
    let mut command = Command::new(&context.program);
    let output = command.args(args).env_clear().current_dir(&context.root).output();
    let output = output.with_context(|| format!("could not start {}", context.program.display()))?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "pangaea {} failed: {}", args.join(" "), told.trim());
    Ok(String::from_utf8(output.stdout)?)
}

// === impl Module ===

impl Module {
    fn new(name: &str, performs_effects: bool, api: &Value) -> Result<Self> {
        let (mut prefixes, mut routes) = (BTreeSet::new(), BTreeMap::new());
        for (path, operations) in api["paths"].as_object().context("OpenAPI without paths")? {
            let own = operations.as_object().into_iter().flatten().filter(|(_, one)| one["tags"][0] == name);
            let methods: BTreeSet<String> = own.map(|(method, _)| method.to_uppercase()).collect();
            if !methods.is_empty() {
                prefixes.insert(prefix(path));
                routes.insert(path.clone(), methods);
            }
        }
        ensure!(!prefixes.is_empty(), "the module {name} has no routes");
        Ok(Self { name: name.to_owned(), prefixes, routes, performs_effects })
    }

    pub(crate) fn paths(&self) -> Paths {
        self.prefixes.iter().map(|prefix| (prefix.clone(), self.name.clone())).collect()
    }

    #[cfg(test)]
    pub(crate) fn sample(name: &str, prefixes: &[&str]) -> Self {
        let prefixes = prefixes.iter().map(|prefix| (*prefix).to_owned()).collect();
        Self { name: name.to_owned(), prefixes, routes: BTreeMap::new(), performs_effects: false }
    }
}

/// Where a place that is written by hand leads paths otherwise than the modules declare.
pub(crate) fn path_faults(place: &str, given: &Paths, declared: &Paths) -> Vec<String> {
    let lost = declared.iter().filter(|(path, module)| given.get(*path) != Some(module));
    let lost = lost.map(|(path, module)| match given.get(path) {
        Some(other) => format!("{place}: {path} leads to {other}; the program has it in {module}"),
        None => format!("{place}: {path} of {module} leads nowhere"),
    });
    let more = given.keys().filter(|path| !declared.contains_key(*path));
    lost.chain(more.map(|path| format!("{place}: no module has paths below {path}"))).collect()
}

/// `/v1/orders` of `/v1/orders/{id}`, and `/.well-known` of what lies below it.
fn prefix(path: &str) -> String {
    let parts = if path.starts_with("/v1/") { 2 } else { 1 };
    path.split('/').skip(1).take(parts).fold(String::new(), |prefix, part| prefix + "/" + part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_the_prefix_of_their_resource() {
        assert_eq!(prefix("/v1/orders/{id}/cancel"), "/v1/orders");
        assert_eq!(prefix("/.well-known/jwks.json"), "/.well-known");
    }
}
