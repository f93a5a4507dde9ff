//! Programs from the registry of Rust, at a pinned version.

use std::path::PathBuf;

use anyhow::Result;

use super::{folder, version_of};
use crate::process::on_path;
use crate::workspace::{self, cargo};

/// `cargo-<name>` of this version: on `PATH` or under `target/tools`; else it is built there.
///
/// # Errors
/// When there is none and none can be built.
pub(crate) fn installed(name: &str, version: &str) -> Result<PathBuf> {
    let root = folder().join("cargo");
    let own = root.join("bin").join(name);
    let is_it = |path: &PathBuf| version_of(path).is_ok_and(|said| said.split_whitespace().any(|word| word == version));
    if let Some(found) = on_path(name).into_iter().chain([own.clone()]).find(is_it) {
        return Ok(found);
    }
    let mut command = cargo();
    command.args(["install", name, "--version", version, "--locked", "--root"]).arg(&root);
    // Its build is its own: what is set for the store's program is not meant for it.
    command.env_remove("RUSTFLAGS").env_remove("CARGO_TARGET_DIR");
    workspace::run(&mut command)?;
    Ok(own)
}
