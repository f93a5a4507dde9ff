//! A pod's file system: a folder that holds what is mounted, at the paths where it is mounted.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::Value;

use super::pods::Pod;
use crate::deploy::environment::{Sources, is_optional};
use crate::deploy::objects::{Workload, list, text};

/// Writes what the container mounts under `root`, and returns the paths that are mounted.
///
/// # Errors
/// When a volume is not there, or its object is not.
pub(super) fn mount(
    workload: &Workload<'_>,
    container: &Value,
    sources: Sources<'_>,
    root: &Path,
) -> Result<Vec<String>> {
    let volumes = workload.volumes();
    let mut paths = Vec::new();
    for mount in list(container, "/volumeMounts") {
        let (name, path) = (text(mount, "/name"), text(mount, "/mountPath").trim_end_matches('/'));
        let volume = volumes.iter().find(|volume| text(volume, "/name") == name);
        let volume = volume.ok_or_else(|| anyhow!("the mount {path} names the volume {name}, which is not there"))?;
        let contents = contents(volume, sources).with_context(|| format!("volume {name}"))?;
        let at = root.join(path.trim_start_matches('/'));
        match text(mount, "/subPath") {
            "" => write_all(&at, &contents)?,
            one => match contents.get(one) {
                Some(content) => write(&at, content)?,
                None if contents.is_empty() => write_all(&at, &contents)?,
                None => bail!("volume {name} has no {one} (subPath)"),
            },
        }
        paths.push(path.to_owned());
    }
    // The longest first: `/etc/nats/auth` is not to be taken for a file of `/etc/nats`.
    paths.sort_by_key(|path| std::cmp::Reverse(path.len()));
    Ok(paths)
}

/// Files by name; none for a volume that begins empty.
fn contents(volume: &Value, sources: Sources<'_>) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    let projected = list(volume, "/projected/sources").iter();
    for holder in projected.chain([volume]) {
        for (field, kind, named) in [("configMap", "ConfigMap", "name"), ("secret", "Secret", "secretName")] {
            let Some(reference) = holder.get(field) else { continue };
            let name = [named, "name"].into_iter().find_map(|key| reference.get(key)?.as_str()).unwrap_or_default();
            match sources.values(kind, name).map_err(|fault| anyhow!(fault))? {
                Some(values) => all.extend(chosen(reference, values)?),
                None if is_optional(reference) => {}
                None => bail!("there is no {kind} {name}"),
            }
        }
    }
    Ok(all)
}

fn chosen(reference: &Value, mut values: BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
    let items = list(reference, "/items");
    if items.is_empty() {
        return Ok(values);
    }
    let take = |item: &Value| {
        let key = text(item, "/key");
        let value = values.remove(key).with_context(|| format!("there is no key {key}"))?;
        Ok((text(item, "/path").to_owned(), value))
    };
    items.iter().map(take).collect()
}

fn write_all(folder: &Path, contents: &BTreeMap<String, String>) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("could not create {}", folder.display()))?;
    contents.iter().try_for_each(|(name, content)| write(&folder.join(name), content))
}

fn write(file: &Path, content: &str) -> Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(file, content).with_context(|| format!("could not write {}", file.display()))
}

/// The images' file systems are read-only. Here the working folder is the pod's root, so a relative path that would fail
/// there leaves a trace here.
pub(super) fn nothing_written_outside(pod: &Pod<'_>) -> Result<()> {
    let mut open = vec![pod.root.clone()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder)?.flatten() {
            let path = entry.path();
            let inside = format!("/{}", path.strip_prefix(&pod.root)?.display());
            if pod.mounts.contains(&inside) {
                continue;
            }
            if !path.is_dir() {
                bail!("{}: {inside} was written, and nothing is mounted there", pod.title());
            }
            open.push(path);
        }
    }
    Ok(())
}
