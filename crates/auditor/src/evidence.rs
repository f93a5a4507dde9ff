//! What clients wrote down.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

/// An answer that a client got.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Reply {
    /// Who asked.
    pub(crate) principal: String,
    pub(crate) method: String,
    pub(crate) path: String,
    /// The `Idempotency-Key`, where there was one.
    #[serde(default)]
    pub(crate) key: Option<String>,
    pub(crate) status: u16,
    #[serde(default)]
    pub(crate) body: Value,
}

// === impl Reply ===

impl Reply {
    /// # Errors
    /// When the file cannot be read, or a line is no reply.
    pub(crate) fn read_all(file: &Path) -> Result<Vec<Self>> {
        let text = std::fs::read_to_string(file).with_context(|| format!("reading the replies {}", file.display()))?;
        let reply = |(index, line): (usize, &str)| {
            serde_json::from_str(line).with_context(|| format!("line {} of {} is no reply", index + 1, file.display()))
        };
        text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(reply).collect()
    }
}

/// The ids of the accepted orders, in the order in which they were accepted. A torn last line was never counted.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn read_accepted(file: &Path) -> Result<Vec<String>> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("reading the accepted orders {}", file.display()))?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    Ok(whole.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
}
