//! `promtool`, which judges rules.

use std::path::PathBuf;

use anyhow::{Result, anyhow};

use super::{debian, version_of};
use crate::process::on_path;

/// promtool on `PATH` or under `target/tools`; else Debian's package of Prometheus is unpacked there.
///
/// # Errors
/// When there is none and none can be had.
pub(crate) fn promtool() -> Result<PathBuf> {
    let own = debian::folder().join("usr/bin/promtool");
    let find = || on_path("promtool").into_iter().chain([own.clone()]).find(|path| version_of(path).is_ok());
    if let Some(found) = find() {
        return Ok(found);
    }
    debian::unpack("prometheus", &debian::folder())?;
    find().ok_or_else(|| anyhow!("the unpacked {} does not run", own.display()))
}
