//! What `pangaea load` tells of the orders that it has placed.

use std::process::Child;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// What `pangaea load` says at its end.
#[derive(Debug)]
pub(crate) struct Load(Value);

// === impl Load ===

impl Load {
    /// Waits for its end.
    pub(crate) fn of(child: Child) -> Result<Self> {
        let output = child.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let report = serde_json::from_str(&text).with_context(|| {
            let error = String::from_utf8_lossy(&output.stderr);
            format!("`pangaea load` said: {text}{}", error.lines().last().unwrap_or_default())
        })?;
        Ok(Self(report))
    }

    pub(crate) fn number(&self, field: &str) -> Option<u64> {
        self.0.get(field).and_then(Value::as_u64)
    }

    /// Whether nothing that was accepted is lost or stuck.
    pub(crate) fn kept_all(&self) -> bool {
        self.0["all_settled"] == true && self.number("missing") == Some(0)
    }

    /// Whether nobody was turned away, either.
    pub(crate) fn is_flawless(&self) -> bool {
        let none = |field| self.number(field) == Some(0);
        self.kept_all() && none("errors") && none("not_sent") && none("shed") && none("refused")
    }

    /// Whether every order was confirmed, too: nothing was sold out, and every payment went through.
    pub(crate) fn all_confirmed(&self) -> bool {
        self.is_flawless() && self.number("confirmed") == self.number("accepted")
    }

    pub(crate) fn shown(&self) -> String {
        let number = |field| self.number(field).unwrap_or_default();
        let [sent, accepted, confirmed, errors] = ["sent", "accepted", "confirmed", "errors"].map(number);
        let p99 = self.0.pointer("/accept/p99_ms").and_then(Value::as_f64).unwrap_or_default();
        let answers = self.0["answers"].as_object().filter(|answers| !answers.is_empty());
        let answers = answers.map(|answers| format!(" ({})", Value::from(answers.clone()))).unwrap_or_default();
        format!(
            "{sent} orders sent, {accepted} accepted (p99 {p99:.0} ms), {confirmed} confirmed, {errors} errors{answers}, all settled: {}",
            self.0["all_settled"]
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_that_turned_somebody_away_has_a_flaw() {
        let report = |errors: u64, is_settled: bool, confirmed: u64| {
            Load(serde_json::json!({
                "errors": errors, "not_sent": 0, "shed": 0, "refused": 0, "missing": 0, "all_settled": is_settled,
                "accepted": 7, "confirmed": confirmed,
            }))
        };
        assert!(report(0, true, 7).is_flawless() && report(0, true, 7).all_confirmed());
        assert!(report(0, true, 6).is_flawless() && !report(0, true, 6).all_confirmed());
        assert!(!report(1, true, 7).is_flawless() && report(1, true, 7).kept_all());
        assert!(!report(0, false, 7).kept_all() && !Load(serde_json::json!({ "errors": 0 })).kept_all());
    }
}
