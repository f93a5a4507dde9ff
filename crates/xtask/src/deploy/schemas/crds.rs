//! The CRDs of everything that the manifests use, out of the Go modules of their makers, as strict JSON schemas.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::super::versions::{CRDS, Crds};
use super::super::{Context, gotool, render};
use super::kubernetes::{DEFINITIONS, Schemas};
use super::strict::strict;

/// The folder of the schemas, `<group>_<kind>_<version>.json`; made once for these versions.
///
/// # Errors
/// When a module cannot be downloaded, or has no CRD where it had.
pub(super) fn schemas(ctx: &Context, kubernetes: &Schemas) -> Result<PathBuf> {
    let folder = ctx.tools.join(format!("crd-schemas-{}", kubernetes.version));
    let stamp = folder.join("versions");
    let versions: String = CRDS.iter().map(|source| format!("{}@{}\n", source.module, source.version)).collect();
    if fs::read_to_string(&stamp).is_ok_and(|made| made == versions) {
        return Ok(folder);
    }
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    // The schemas refer to it for metadata.
    fs::copy(kubernetes.folder.join(DEFINITIONS), folder.join(DEFINITIONS))?;
    for source in &CRDS {
        write(source, ctx, &folder).with_context(|| format!("{}@{}", source.module, source.version))?;
    }
    fs::write(stamp, versions)?;
    Ok(folder)
}

fn write(source: &Crds, ctx: &Context, into: &Path) -> Result<()> {
    let module = gotool::module(ctx, source.module, source.version)?;
    let mut written = 0;
    for path in source.paths {
        for file in files(&module.join(path))? {
            let crds = crds(&fs::read_to_string(&file)?).with_context(|| file.display().to_string())?;
            for (name, schema) in crds.iter().flat_map(versions) {
                fs::write(into.join(name), serde_json::to_vec(&schema)?)?;
                written += 1;
            }
        }
    }
    ensure!(written > 0, "no CRD in {:?}", source.paths);
    Ok(())
}

/// The file, or all YAML files below the folder.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path).with_context(|| path.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
    Ok(found)
}

/// The CRDs in a file. It may be a chart's template: its instructions stand on lines of their own.
fn crds(text: &str) -> Result<Vec<Value>> {
    let plain: String = text.lines().filter(|line| !line.contains("{{")).flat_map(|line| [line, "\n"]).collect();
    let documents = render::documents(&plain)?;
    Ok(documents.into_iter().filter(|document| document["kind"] == "CustomResourceDefinition").collect())
}

/// A file's name and a schema for each version that is served.
fn versions(crd: &Value) -> Vec<(String, Value)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_lowercase();
    let (group, kind) = (text(&crd["spec"]["group"]), text(&crd["spec"]["names"]["kind"]));
    let versions = crd["spec"]["versions"].as_array().into_iter().flatten().filter(|version| version["served"] == true);
    let schemas = versions.map(|version| {
        let name = format!("{group}_{kind}_{}.json", text(&version["name"]));
        (name, strict(&version["schema"]["openAPIV3Schema"]))
    });
    schemas.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_served_versions_out_of_a_charts_template() {
        let template = "---\n{{- if .Values.policy }}\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n\
            metadata:\n  labels:\n    {{ include \"x\" . }}\nspec:\n  group: policy.example\n  names: {kind: Server}\n\
            \x20 versions:\n  - {name: v1, served: true, schema: {openAPIV3Schema: {type: object}}}\n\
            \x20 - {name: v0, served: false}\n{{- end }}\n---\nkind: Other\n";
        let found: Vec<_> = crds(template).unwrap().iter().flat_map(versions).collect();
        assert_eq!(found.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["policy.example_server_v1.json"]);
    }
}
