//! The program's own load generator, as the drills use it.

use std::time::Duration;

use anyhow::{Context, Result};
use pangaea_testkit::Store;
use serde_json::Value;

/// What `pangaea load --json` says.
#[derive(Debug)]
pub(crate) struct Load(Value);

// === impl Load ===

impl Load {
    /// Orders one unit of a SKU again and again, as `more` says, and waits until all that was accepted is settled.
    ///
    /// # Errors
    /// When the generator fails: an accepted order is missing or does not settle in time.
    pub(crate) async fn run(store: &Store, code: &str, within: Duration, more: &[&str]) -> Result<Self> {
        let args = ["load", "--url", store.api().base(), "--sku", code, "--lines-max", "1", "--quantity-max", "1"];
        let output = store.run_within(&[&args[..], &["--json"], more].concat(), within).await?.success()?;
        let report = serde_json::from_str(&output.stdout).with_context(|| format!("a report: {}", output.stdout))?;
        Ok(Self(report))
    }

    /// # Errors
    /// When the report has no such number.
    pub(crate) fn count(&self, name: &str) -> Result<u64> {
        self.0[name].as_u64().with_context(|| format!("no count {name} in {}", self.0))
    }

    /// # Errors
    /// When the report has no such number.
    pub(crate) fn number(&self, pointer: &str) -> Result<f64> {
        self.0.pointer(pointer).and_then(Value::as_f64).with_context(|| format!("no number {pointer} in {}", self.0))
    }

    pub(crate) fn at(&self, name: &str) -> &Value {
        &self.0[name]
    }
}
