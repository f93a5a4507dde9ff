//! The files below `deploy/generated`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::facts::{Facts, Module};
use super::{Context, Outcome};

const FOLDER: &str = "deploy/generated";
const NOTE: &str =
    "# Written by `cargo xtask deploy` from what the modules declare. A change here is lost: change the declaration.\n";
/// Whose pods lead requests from outside to modules, by mesh.
const ISTIO_GATEWAY: &str = "cluster.local/ns/istio-ingress/sa/istio-ingressgateway";
const CONSUL_GATEWAY: &str = "pangaea";
/// Retried where nothing has reached the module, or it says that it was not done. Reads only: a write has an answer of its own.
const RETRY_ON: &str = "connect-failure,refused-stream,reset,gateway-error";

/// Contents by path below the folder.
type Files = BTreeMap<PathBuf, String>;

/// Writes all files, and removes those that are no longer made.
///
/// # Errors
/// When a file cannot be written.
pub(crate) fn write(context: &Context, facts: &Facts) -> Result<usize> {
    let (folder, files) = (context.root.join(FOLDER), files(facts)?);
    for path in there(&folder)?.keys().filter(|path| !files.contains_key(*path)) {
        fs::remove_file(folder.join(path))?;
    }
    for (path, text) in &files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().context("a file without a folder")?)?;
        fs::write(&path, text).with_context(|| format!("could not write {}", path.display()))?;
    }
    Ok(files.len())
}

/// The check `drift`: what is there is what would be written.
///
/// # Errors
/// When the program does not say what its modules are.
pub(crate) fn check(context: &Context) -> Result<Outcome> {
    let (wanted, there) = (files(&Facts::read(context)?)?, there(&context.root.join(FOLDER))?);
    let mut outcome = Outcome::default();
    let advice = "run `cargo xtask deploy` and look at what changes";
    for (path, text) in &wanted {
        match there.get(path) {
            None => outcome.failed.push(format!("{FOLDER}/{} is missing: {advice}", path.display())),
            Some(found) if found != text => {
                outcome.failed.push(format!("{FOLDER}/{} differs from the code: {advice}", path.display()));
            }
            Some(_) => {}
        }
    }
    for path in there.keys().filter(|path| !wanted.contains_key(*path)) {
        outcome.failed.push(format!("{FOLDER}/{} is no longer made: {advice}", path.display()));
    }
    if outcome.failed.is_empty() {
        outcome.passed.push(format!("{} files are what the code says", wanted.len()));
    }
    Ok(outcome)
}

fn there(folder: &Path) -> Result<Files> {
    let mut files = Files::new();
    let mut folders = if folder.is_dir() { vec![folder.to_owned()] } else { Vec::new() };
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.insert(path.strip_prefix(folder)?.to_owned(), fs::read_to_string(&path)?);
            }
        }
    }
    Ok(files)
}

fn files(facts: &Facts) -> Result<Files> {
    let mut files = Files::new();
    files.insert("nats/authorization.conf".into(), format!("{NOTE}{}", facts.nats_accounts));
    files.insert("nats/streams.json".into(), format!("{:#}\n", facts.nats_json));
    let config_map = include_str!("templates/nats-kustomization.yaml");
    files.insert("nats/kustomization.yaml".into(), format!("{NOTE}{config_map}"));
    for (folder, of_module) in FOLDERS {
        let mut names = Vec::new();
        for module in &facts.modules {
            let name = format!("{}.yaml", module.name);
            files.insert(Path::new(folder).join(&name), format!("{NOTE}{}", of_module(module)));
            names.push(name);
        }
        let list: String = names.iter().map(|name| format!("  - {name}\n")).collect();
        let text =
            format!("{NOTE}apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n{list}");
        files.insert(Path::new(folder).join("kustomization.yaml"), text);
    }
    Ok(files)
}

type OfModule = fn(&Module) -> String;

/// A folder of kustomize resources with a file for each module.
const FOLDERS: [(&str, OfModule); 5] =
    [("netpol", netpol), ("routes", route), ("istio", istio), ("linkerd", linkerd), ("consul", consul)];

fn netpol(module: &Module) -> String {
    let template = match module.performs_effects {
        true => include_str!("templates/netpol-effects.yaml"),
        false => include_str!("templates/netpol.yaml"),
    };
    named(template, module)
}

fn route(module: &Module) -> String {
    let matches = lines(module, "        - path:\n            type: PathPrefix\n            value: {prefix}\n");
    named(include_str!("templates/route.yaml"), module).replace("{matches}\n", &matches)
}

fn istio(module: &Module) -> String {
    let mut operations = String::new();
    for (path, methods) in &module.routes {
        let methods: Vec<_> = with_head(methods.iter().map(String::as_str));
        let path = templated(path, "{*}");
        operations += &format!(
            "        - operation:\n            ports: [\"8080\"]\n            methods: [{}]\n            paths: [\"{path}\"]\n",
            methods.join(", ")
        );
    }
    named(include_str!("templates/istio.yaml"), module)
        .replace("{operations}\n", &operations)
        .replace("{gateway}", ISTIO_GATEWAY)
        .replace("{retry_on}", RETRY_ON)
}

fn linkerd(module: &Module) -> String {
    let reads = lines(
        module,
        "        - path:\n            type: PathPrefix\n            value: {prefix}\n          method: GET\n",
    );
    let all = lines(module, "        - path:\n            type: PathPrefix\n            value: {prefix}\n");
    named(include_str!("templates/linkerd.yaml"), module).replace("{reads}\n", &reads).replace("{all}\n", &all)
}

fn consul(module: &Module) -> String {
    let mut permissions = String::new();
    for (path, methods) in &module.routes {
        let methods = with_head(methods.iter().map(String::as_str));
        let path = match path.contains('{') {
            true => format!("pathRegex: \"{}\"", templated(path, "[^/]+")),
            false => format!("pathExact: {path}"),
        };
        permissions += &format!(
            "        - action: allow\n          http:\n            {path}\n            methods: [{}]\n",
            methods.join(", ")
        );
    }
    named(include_str!("templates/consul.yaml"), module)
        .replace("{permissions}\n", &permissions)
        .replace("{gateway}", CONSUL_GATEWAY)
}

fn named(template: &str, module: &Module) -> String {
    template.replace("{module}", &module.name)
}

/// A text for each prefix.
fn lines(module: &Module, template: &str) -> String {
    module.prefixes.iter().map(|prefix| template.replace("{prefix}", prefix)).collect()
}

/// Who may GET may ask for the headers alone.
fn with_head<'a>(methods: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    methods.flat_map(|method| if method == "GET" { vec!["GET", "HEAD"] } else { vec![method] }).collect()
}

/// A path whose parameters are `stand_in`.
fn templated(path: &str, stand_in: &str) -> String {
    let parts = path.split('/').map(|part| if part.starts_with('{') { stand_in } else { part });
    parts.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn order() -> Module {
        let methods = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<BTreeSet<_>>();
        Module {
            name: "order".into(),
            prefixes: BTreeSet::from(["/v1/orders".into()]),
            routes: BTreeMap::from([
                ("/v1/orders".into(), methods(&["GET", "POST"])),
                ("/v1/orders/{id}/cancel".into(), methods(&["POST"])),
            ]),
            performs_effects: false,
        }
    }

    #[test]
    fn every_template_is_filled() {
        for (folder, of_module) in FOLDERS {
            let text = of_module(&order());
            assert!(!text.contains("{module}") && !text.contains("{gateway}"), "{folder}: {text}");
            assert!(text.contains("order"), "{folder}: {text}");
        }
    }

    #[test]
    fn a_path_is_allowed_with_its_methods_only() {
        let istio = istio(&order());
        assert!(istio.contains("methods: [POST]\n            paths: [\"/v1/orders/{*}/cancel\"]"), "{istio}");
        assert!(istio.contains("methods: [GET, HEAD, POST]\n            paths: [\"/v1/orders\"]"), "{istio}");
        let consul = consul(&order());
        assert!(consul.contains("pathRegex: \"/v1/orders/[^/]+/cancel\"\n            methods: [POST]"), "{consul}");
    }

    #[test]
    fn writes_are_never_retried() {
        let istio = istio(&order());
        let writes = istio.split("- name: writes").nth(1).unwrap();
        assert!(writes.contains("attempts: 0"), "{writes}");
        assert!(!linkerd(&order()).split("kind: HTTPRoute").nth(1).unwrap().contains("retry"));
    }
}
