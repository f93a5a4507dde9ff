//! The provider's own ledger: JSON lines, numbered from 1. It is the truth about money.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// A line: something that the provider decided.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Line {
    pub(crate) seq: u64,
    /// `authorized`, `captured`, `voided`, `refunded`, `declined`, `action_required` or `refused`.
    pub(crate) kind: String,
    /// The caller's idempotency key.
    pub(crate) key: String,
    pub(crate) intent: String,
    /// A number that is not whole is no line of a ledger, and reading it fails.
    pub(crate) amount: i64,
    pub(crate) currency: String,
    /// The order.
    pub(crate) reference: String,
    pub(crate) operation: String,
    /// Only on a line that makes an intent.
    #[serde(default)]
    pub(crate) payment_method: Option<String>,
}

/// # Errors
/// When the file cannot be read, or a line of it is missing or is none. A last line without an end was never answered.
pub(crate) fn read(file: &Path) -> Result<Vec<Line>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("reading the ledger {}", file.display()))?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut lines = Vec::new();
    for (index, text) in whole.lines().enumerate() {
        let place = || format!("line {} of the ledger {}", index + 1, file.display());
        let line: Line = serde_json::from_str(text).with_context(place)?;
        ensure!(line.seq == index as u64 + 1, "{} has the number {}", place(), line.seq);
        lines.push(line);
    }
    Ok(lines)
}
