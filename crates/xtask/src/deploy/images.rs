//! `images:` of the overlays: each entry gives a name that some manifest of the overlay bears.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::objects::{list, text};
use super::render;

/// Entries that rename nothing: who reads them believes that another release is part of the overlay.
///
/// # Errors
/// When a file of the overlay cannot be read.
pub(crate) fn unused(overlay: &Path) -> Result<Vec<String>> {
    let own = kustomization(overlay)?;
    let mut read = BTreeSet::new();
    let mut bare = BTreeSet::new();
    collect(overlay, &mut read, &mut bare)?;
    let names = list(&own, "/images").iter().map(|image| text(image, "/name"));
    Ok(names.filter(|name| !bare.contains(*name)).map(str::to_owned).collect())
}

fn kustomization(folder: &Path) -> Result<Value> {
    let file = folder.join("kustomization.yaml");
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    Ok(render::documents(&text)?.into_iter().next().unwrap_or_default())
}

/// The images of everything below: of files, and of patches, in which they are values.
fn collect(folder: &Path, read: &mut BTreeSet<PathBuf>, images: &mut BTreeSet<String>) -> Result<()> {
    let folder = folder.canonicalize().with_context(|| folder.display().to_string())?;
    if !read.insert(folder.clone()) {
        return Ok(());
    }
    let own = kustomization(&folder)?;
    words_of(&own, images);
    let patches = list(&own, "/patches").iter();
    for patch in patches.clone().map(|patch| text(patch, "/patch")).filter(|patch| !patch.is_empty()) {
        render::documents(patch)?.iter().for_each(|patch| words_of(patch, images));
    }
    let named = ["/resources", "/components"].into_iter().flat_map(|field| list(&own, field)).filter_map(Value::as_str);
    let files = patches.map(|patch| text(patch, "/path")).filter(|path| !path.is_empty());
    for path in named.chain(files).map(|name| folder.join(name)) {
        if path.is_dir() {
            collect(&path, read, images)?;
        } else {
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            render::documents(&text)?.iter().for_each(|document| words_of(document, images));
        }
    }
    Ok(())
}

/// `image: NAME`, and `value: NAME` of a patch whose path ends with `/image`; without tags.
fn words_of(value: &Value, images: &mut BTreeSet<String>) {
    let is_patch = text(value, "/path").ends_with("/image");
    let keys = [Some("/image"), is_patch.then_some("/value")];
    for image in keys.into_iter().flatten().map(|key| text(value, key)).filter(|image| !image.is_empty()) {
        images.insert(image.split(['@', ':']).next().unwrap_or_default().to_owned());
    }
    match value {
        Value::Array(items) => items.iter().for_each(|item| words_of(item, images)),
        Value::Object(fields) => fields.values().for_each(|field| words_of(field, images)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::running::Folder;

    #[test]
    fn an_entry_that_renames_nothing_is_told() {
        let folder = Folder::make("images").unwrap();
        let (base, overlay) = (folder.path().join("base"), folder.path().join("overlay"));
        let patch =
            "patches:\n- patch: |\n    - op: replace\n      path: /spec/containers/0/image\n      value: next\n";
        for (path, text) in [
            (base.join("kustomization.yaml"), format!("resources: [pod.yaml]\n{patch}")),
            (base.join("pod.yaml"), "kind: Pod\nspec:\n  containers:\n  - image: store:1\n".to_owned()),
            (
                overlay.join("kustomization.yaml"),
                "resources: [../base]\nimages:\n- name: store\n- name: next\n- name: other\n".to_owned(),
            ),
        ] {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        assert_eq!(unused(&overlay).unwrap(), ["other"]);
    }
}
