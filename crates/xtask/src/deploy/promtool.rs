//! Prometheus' own judgement of rules, their tests and the configuration, by `promtool`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::copies::RULES;
use super::running::Folder;
use super::{Context, Outcome};
use crate::tools;

/// # Errors
/// When a file cannot be read, or promtool not be started.
pub(crate) fn check(ctx: &Context) -> Result<Outcome> {
    let mut outcome = super::copies::check(ctx)?;
    let folder = ctx.root.join("deploy/observability/prometheus");
    let tests = files(&folder.join("tests"))?;
    is_every_alert_tested(&folder, &tests, &mut outcome)?;
    let promtool = match tools::promtool() {
        Ok(promtool) => promtool,
        Err(error) => {
            outcome.missing.push(("promtool".to_owned(), format!("{error:#}")));
            return Ok(outcome);
        }
    };
    let rules: Vec<_> = RULES.iter().map(|name| folder.join("rules").join(format!("{name}.yaml"))).collect();
    judge(&mut outcome, "promtool check rules", &run(&promtool, &["check", "rules"], &rules)?);
    judge(&mut outcome, "promtool test rules", &run(&promtool, &["test", "rules"], &tests)?);
    let own = Folder::make("promtool")?;
    let config = own.path().join("prometheus.yaml");
    // In its image the rules lie elsewhere, and promtool looks for them.
    let text = fs::read_to_string(folder.join("prometheus.yaml"))?;
    let there = folder.join("rules").display().to_string();
    fs::write(&config, text.replace("/etc/prometheus/rules", &there))?;
    judge(&mut outcome, "promtool check config", &run(&promtool, &["check", "config"], &[config])?);
    let boards = own.path().join("dashboards.yaml");
    fs::write(&boards, as_rules(&super::metrics::dashboards(ctx)?)?)?;
    judge(
        &mut outcome,
        "promtool reads every expression of the dashboards",
        &run(&promtool, &["check", "rules"], &[boards])?,
    );
    do_the_tests_see_silence(&promtool, &folder, own.path(), &mut outcome)?;
    Ok(outcome)
}

/// A rule file that records every expression: promtool judges expressions in no other form.
fn as_rules(expressions: &[(String, String)]) -> Result<String> {
    let of_panels = expressions.iter().filter(|(_, expression)| !expression.starts_with("label_values("));
    let rules: Vec<_> = of_panels
        .enumerate()
        .map(|(number, (board, expression))| {
            serde_json::json!({"record": format!("panel:{number}"), "labels": {"board": board}, "expr": expression})
        })
        .collect();
    let file = serde_json::json!({"groups": [{"name": "dashboards", "rules": rules}]});
    serde_yaml_ng::to_string(&file).context("writing rules")
}

/// Every alert has a test in which it fires, and one in which it does not.
fn is_every_alert_tested(folder: &Path, tests: &[PathBuf], outcome: &mut Outcome) -> Result<()> {
    let (mut fires, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for file in tests {
        let value = yaml(file)?;
        let tests = value["tests"].as_array().into_iter().flatten();
        for case in tests.flat_map(|test| test["alert_rule_test"].as_array().into_iter().flatten()) {
            let name = case["alertname"].as_str().unwrap_or_default().to_owned();
            let expected = case["exp_alerts"].as_array().map_or(0, Vec::len);
            if expected > 0 {
                fires.insert(name)
            } else {
                silent.insert(name)
            };
        }
    }
    let alerts = alerts(folder)?;
    let faults = outcome.failed.len();
    for alert in alerts.keys() {
        for (tested, what) in [(&fires, "fires"), (&silent, "does not fire")] {
            if !tested.contains(alert) {
                outcome.failed.push(format!("{alert}: no test in which it {what}: add one beneath prometheus/tests"));
            }
        }
    }
    if outcome.failed.len() == faults {
        let count = alerts.len();
        outcome.passed.push(format!("{count} alerts have a test in which they fire, and one in which they do not"));
    }
    Ok(())
}

/// The negative: with alerts that never fire the tests fail, each of them.
fn do_the_tests_see_silence(promtool: &Path, folder: &Path, own: &Path, outcome: &mut Outcome) -> Result<()> {
    for part in ["rules", "tests"] {
        fs::create_dir_all(own.join(part))?;
    }
    for name in RULES {
        let mut value = yaml(&folder.join("rules").join(format!("{name}.yaml")))?;
        for rule in rules_of(&mut value) {
            if rule.get("alert").is_some() {
                rule["expr"] = "vector(1) < 0".into();
            }
        }
        fs::write(own.join("rules").join(format!("{name}.yaml")), serde_yaml_ng::to_string(&value)?)?;
    }
    let mut copies = Vec::new();
    for test in files(&folder.join("tests"))? {
        let copy = own.join("tests").join(test.file_name().unwrap_or_default());
        fs::copy(&test, &copy)?;
        copies.push(copy);
    }
    let output = run(promtool, &["test", "rules"], &copies)?;
    let said = said(&output);
    let unseen: Vec<_> =
        alerts(folder)?.into_keys().filter(|alert| !said.contains(&format!("alertname: {alert},"))).collect();
    match unseen.as_slice() {
        [] if !output.status.success() => outcome.passed.push("the rule tests fail when no alert fires".to_owned()),
        _ => outcome.failed.push(format!("the rule tests pass though these never fire: {}", unseen.join(", "))),
    }
    Ok(())
}

/// The alerts with their expressions.
fn alerts(folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut alerts = BTreeMap::new();
    for name in RULES {
        let mut value = yaml(&folder.join("rules").join(format!("{name}.yaml")))?;
        for rule in rules_of(&mut value) {
            if let (Some(alert), Some(expr)) = (rule["alert"].as_str(), rule["expr"].as_str()) {
                alerts.insert(alert.to_owned(), expr.to_owned());
            }
        }
    }
    ensure!(!alerts.is_empty(), "the rule files hold no alert");
    Ok(alerts)
}

/// The rules of a rule file, of all groups.
pub(crate) fn rules_of(file: &mut Value) -> Vec<&mut Value> {
    let groups = file["groups"].as_array_mut().into_iter().flatten();
    groups.flat_map(|group| group["rules"].as_array_mut().into_iter().flatten()).collect()
}

/// # Errors
/// When it cannot be read, or is no YAML.
pub(crate) fn yaml(file: &Path) -> Result<Value> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    serde_yaml_ng::from_str(&text).with_context(|| file.display().to_string())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    Ok(files)
}

fn run(promtool: &Path, words: &[&str], files: &[PathBuf]) -> Result<Output> {
    Command::new(promtool).args(words).args(files).output().context("promtool does not start")
}

fn judge(outcome: &mut Outcome, what: &str, output: &Output) {
    match output.status.success() {
        true => outcome.passed.push(what.to_owned()),
        false => outcome.failed.push(format!("{what}: {}", said(output))),
    }
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned()).join("\n")
}
