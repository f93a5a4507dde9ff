//! Prometheus' rule files, once more as objects of the Prometheus operator.
//!
//! Kustomize cannot put a file into another object's `spec`. So the objects are written from the files, and compared with them:
//! what promtool has tested is what a cluster gets.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::{Context, Outcome};

/// The rule files, beneath `deploy/observability/prometheus/rules` and, as objects, in the component.
pub(crate) const RULES: [&str; 3] = ["recording", "slo", "alerts"];

/// Writes the objects.
///
/// # Errors
/// When a rule file cannot be read, or an object not be written.
pub(crate) fn write(ctx: &Context) -> Result<()> {
    for (path, text) in objects(ctx)? {
        fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Whether the objects are those of the rule files.
///
/// # Errors
/// When a rule file cannot be read.
pub(crate) fn check(ctx: &Context) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for entry in fs::read_dir(ctx.root.join("deploy/observability/prometheus/rules"))? {
        let path = entry?.path();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if !RULES.contains(&stem.as_str()) {
            outcome.failed.push(format!("{} is not in RULES (copies.rs): no check looks at it", path.display()));
        }
    }
    for (path, text) in objects(ctx)? {
        let name = path.strip_prefix(&ctx.root).unwrap_or(&path).display().to_string();
        match fs::read_to_string(&path) {
            Ok(there) if there == text => outcome.passed.push(format!("{name} is its rule file")),
            _ => outcome.failed.push(format!("{name} differs from its rule file: run `cargo xtask deploy`")),
        }
    }
    Ok(outcome)
}

fn objects(ctx: &Context) -> Result<Vec<(PathBuf, String)>> {
    let object = |name: &&str| {
        let rules = ctx.root.join("deploy/observability/prometheus/rules").join(format!("{name}.yaml"));
        let text = fs::read_to_string(&rules).with_context(|| rules.display().to_string())?;
        let path = ctx.root.join("deploy/k8s/components/monitoring-rules").join(format!("{name}.yaml"));
        Ok((path, of(name, &text)))
    };
    RULES.iter().map(object).collect()
}

/// The object of a rule file: all of its text is indented beneath `spec`, comments too.
fn of(name: &str, rules: &str) -> String {
    let mut text = format!(
        "# Written by `cargo xtask deploy` from deploy/observability/prometheus/rules/{name}.yaml. Change that one.\n\
         apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: pangaea-{name}\n  \
         namespace: pangaea\n  labels:\n    app.kubernetes.io/part-of: pangaea\nspec:\n"
    );
    for line in rules.lines() {
        if !line.is_empty() {
            text.push_str("  ");
            text.push_str(line);
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_holds_the_rules_as_they_are() {
        let object =
            of("alerts", "# Why.\ngroups:\n  - name: one\n    rules:\n      - expr: |\n          a\n\n          b\n");
        let value: serde_json::Value = serde_yaml_ng::from_str(&object).unwrap();
        assert_eq!(value["kind"], "PrometheusRule");
        assert_eq!(value["spec"]["groups"][0]["rules"][0]["expr"], "a\n\nb\n");
    }
}
