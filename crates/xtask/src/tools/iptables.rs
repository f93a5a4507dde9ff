//! `iptables`, by the kernel's nftables: one program under many names.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::debian;

const FILE: &str = "usr/sbin/xtables-nft-multi";
const NAMES: [&str; 6] =
    ["iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"];

/// The one program, which does by the name that it is called by.
///
/// # Errors
/// When it cannot be had.
pub(crate) fn program() -> Result<PathBuf> {
    debian::program("iptables", FILE)
}

/// Puts the names into a folder, for who looks for them on its `PATH`.
///
/// # Errors
/// When the program cannot be had, or a name is there already.
pub(crate) fn link(folder: &Path) -> Result<()> {
    let program = program()?;
    NAMES.iter().try_for_each(|name| Ok(symlink(&program, folder.join(name))?))
}
