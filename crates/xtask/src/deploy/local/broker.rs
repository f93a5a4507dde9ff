//! nats-server on the manifests' own configuration.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::pods::Pod;
use crate::process::{Signal, tied_to_us};

/// Flags that win over the configuration file, by the name that the port has in the manifest.
const FLAGS: [(&str, &str); 3] = [("client", "--port"), ("nats", "--port"), ("monitor", "--http_port")];

/// The server's command: configuration and arguments are the pod's, and only addresses and paths are other ones.
///
/// # Errors
/// When a mounted file cannot be written with this machine's paths.
pub(super) fn command(pod: &Pod<'_>, server: &Path) -> Result<Command> {
    for mount in &pod.mounts {
        map_paths(pod, &pod.root.join(mount.trim_start_matches('/')))?;
    }
    let mut command = tied_to_us(server, Signal::Term);
    let mut words = pod.words();
    // The image's entry point adds nothing to arguments that begin with a dash.
    if words.first().is_some_and(|word| word.ends_with("nats-server")) {
        words.remove(0);
    }
    command.args(words).args(["--addr", "127.0.0.1"]);
    for port in crate::deploy::objects::list(pod.container, "/ports") {
        let name = crate::deploy::objects::text(port, "/name");
        let local = port.get("containerPort").and_then(|number| pod.local(number));
        if let (Some((_, flag)), Some(local)) = (FLAGS.iter().find(|(known, _)| *known == name), local) {
            command.args([*flag, &local.port().to_string()]);
            println!("mapped: {}: {flag} {} over what the configuration says", pod.title(), local.port());
        }
    }
    command.env_clear().envs(pod.environment()).current_dir(&pod.root);
    Ok(command)
}

/// Writes mounted paths in mounted files as they are on this machine.
fn map_paths(pod: &Pod<'_>, path: &PathBuf) -> Result<()> {
    if path.is_dir() {
        return fs::read_dir(path)?.flatten().try_for_each(|entry| map_paths(pod, &entry.path()));
    }
    let text = fs::read_to_string(path)?;
    let mapped = pod.map.with_paths(&text);
    if mapped != text {
        println!("mapped: {}: paths in {}", pod.title(), path.display());
        fs::write(path, mapped)?;
    }
    Ok(())
}
