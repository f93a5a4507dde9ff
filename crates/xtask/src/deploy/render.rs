//! Overlays as the documents that a cluster would get.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use super::{Context, Outcome, gotool, images};
use crate::process::on_path;

/// Built when there is no kubectl.
const KUSTOMIZE: &str = "v5.7.1";
/// The first with everything that the manifests use (`labels` with `includeTemplates`, components).
const KUSTOMIZE_MIN: (u32, u32) = (5, 0);

/// Every overlay renders, and its images are those that it uses.
///
/// # Errors
/// When the overlays' folder cannot be read.
pub(crate) fn check(ctx: &Context) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    if let Err(error) = Kustomize::find(ctx) {
        outcome.missing.push(("kustomize".to_owned(), format!("{error:#}")));
        return Ok(outcome);
    }
    for overlay in overlays(ctx)? {
        match render(ctx, &overlay) {
            Ok(documents) => outcome.passed.push(format!("{overlay} renders: {} objects", documents.len())),
            Err(error) => outcome.failed.push(format!("{error:#}")),
        }
        let unused = images::unused(&ctx.root.join("deploy/k8s/overlays").join(&overlay))?;
        let told = unused.iter().map(|name| {
            format!("deploy/k8s/overlays/{overlay}: nothing has the image {name}, which its `images:` names: remove it")
        });
        outcome.failed.extend(told);
    }
    Ok(outcome)
}

/// The names of the folders under deploy/k8s/overlays, sorted.
///
/// # Errors
/// When there is none.
pub(crate) fn overlays(ctx: &Context) -> Result<Vec<String>> {
    let folder = ctx.root.join("deploy/k8s/overlays");
    let entries = fs::read_dir(&folder).with_context(|| format!("could not read {}", folder.display()))?;
    let folders = entries.filter_map(Result::ok).filter(|entry| entry.path().is_dir());
    let mut names: Vec<_> = folders.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    ensure!(!names.is_empty(), "{} has no overlay", folder.display());
    Ok(names)
}

/// What `kubectl apply -k deploy/k8s/overlays/<overlay>` would send, in its order.
///
/// # Errors
/// When it does not render.
pub(crate) fn render(ctx: &Context, overlay: &str) -> Result<Vec<Value>> {
    if let Some(known) = ctx.rendered.borrow().get(overlay) {
        return Ok(known.clone());
    }
    let folder = ctx.root.join("deploy/k8s/overlays").join(overlay);
    let shown = format!("deploy/k8s/overlays/{overlay}");
    ensure!(folder.join("kustomization.yaml").is_file(), "{shown}: it has no kustomization.yaml");
    let text = Kustomize::find(ctx)?.build(&folder).with_context(|| format!("{shown} does not render"))?;
    let documents = documents(&text).with_context(|| format!("{shown} renders what is no YAML"))?;
    ensure!(!documents.is_empty(), "{shown} renders nothing");
    ctx.rendered.borrow_mut().insert(overlay.to_owned(), documents.clone());
    Ok(documents)
}

/// The documents of a YAML text; empty ones are left out.
///
/// # Errors
/// When it is no YAML, or has a key twice.
pub(crate) fn documents(text: &str) -> Result<Vec<Value>> {
    let documents = serde_yaml_ng::Deserializer::from_str(text).map(|document| {
        // Not straight into JSON's values, which let the last of two equal keys win.
        Ok(serde_json::to_value(serde_yaml_ng::Value::deserialize(document)?)?)
    });
    let documents: Vec<Value> = documents.collect::<Result<_>>()?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

/// The program that renders.
#[derive(Debug)]
enum Kustomize {
    Kubectl(PathBuf),
    Alone(PathBuf),
}

// === impl Kustomize ===

impl Kustomize {
    /// kubectl's own, else one built under target/tools. Files outside of a kustomization's folder stay forbidden, as they
    /// are for `kubectl apply -k`.
    fn find(ctx: &Context) -> Result<Self> {
        if let Some(kubectl) = on_path("kubectl").filter(|kubectl| is_new_enough(kubectl)) {
            return Ok(Self::Kubectl(kubectl));
        }
        let package = "sigs.k8s.io/kustomize/kustomize/v5";
        gotool::program(ctx, "kustomize", package, KUSTOMIZE).map(Self::Alone)
    }

    fn build(&self, folder: &Path) -> Result<String> {
        let mut command = match self {
            Self::Kubectl(program) => {
                let mut command = Command::new(program);
                command.arg("kustomize");
                command
            }
            Self::Alone(program) => {
                let mut command = Command::new(program);
                command.arg("build");
                command
            }
        };
        let output = command.arg(folder).output().context("kustomize does not start")?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        String::from_utf8(output.stdout).map_err(|_| anyhow!("kustomize printed what is no text"))
    }
}

fn is_new_enough(kubectl: &Path) -> bool {
    let output = Command::new(kubectl).args(["version", "--client", "--output", "json"]).output();
    output.is_ok_and(|output| kustomize_version(&output.stdout).is_some_and(|version| version >= KUSTOMIZE_MIN))
}

/// Reads `"kustomizeVersion": "v5.5.0"`.
fn kustomize_version(json: &[u8]) -> Option<(u32, u32)> {
    let about: Value = serde_json::from_slice(json).ok()?;
    let mut numbers = about.get("kustomizeVersion")?.as_str()?.strip_prefix('v')?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_version_of_kubectls_kustomize() {
        let cases = [
            (r#"{"clientVersion": {}, "kustomizeVersion": "v5.5.0"}"#, Some((5, 5))),
            (r#"{"kustomizeVersion": "v4.5.7"}"#, Some((4, 5))),
            (r#"{"clientVersion": {}}"#, None),
            ("", None),
        ];
        for (json, version) in cases {
            assert_eq!(kustomize_version(json.as_bytes()), version, "{json}");
        }
    }

    #[test]
    fn reads_documents_and_leaves_out_empty_ones() {
        let read = documents("# why\n---\nkind: A\n---\n---\nkind: B\n").unwrap();
        assert_eq!(read.iter().map(|document| document["kind"].as_str().unwrap()).collect::<Vec<_>>(), ["A", "B"]);
        assert!(documents("kind: A\nkind: B\n").is_err(), "a key twice");
    }
}
