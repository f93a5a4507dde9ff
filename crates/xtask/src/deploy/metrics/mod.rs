//! Whether every metric that a rule or a dashboard names is one that a store really shows.
//!
//! A panel over a metric that has been renamed is empty, and an alert over it never fires: nothing else would tell.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use self::promql::{Selector, selectors};
pub(crate) use self::series::Series;
use super::copies::RULES;
use super::promtool::{rules_of, yaml};
use super::store::Store;
use super::{Context, Outcome};

mod promql;
mod series;

/// Lost answers make tries again.
const LOAD: [&str; 9] =
    ["--orders", "60", "--rate", "60", "--seed", "7", "--payment-token", "tok_charged_reply_lost", "--json"];
/// More at once than the queue below takes.
const OVERLOAD: [&str; 7] = ["--closed", "64", "--orders", "600", "--seed", "8", "--json"];
/// Orders in one process, the other modules in another.
const GROUPS: [&[&str]; 2] = [&["product", "payment", "user"], &["order"]];
const SMALL_QUEUE: [&str; 2] = ["writer.batch_max=8", "writer.queue_max=8"];

/// What an expression asks for, and who says so.
type Asked = BTreeMap<Selector, BTreeSet<String>>;
/// What the rules record, with the labels that each of them is given.
type Recorded = BTreeMap<String, Vec<BTreeMap<String, String>>>;

/// # Errors
/// When a file cannot be read, or a store does not start.
pub(crate) fn check(ctx: &Context) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let (mut asked, recorded) = of_rules(ctx)?;
    for (board, expression) in dashboards(ctx)? {
        for selector in selectors(&expression) {
            asked.entry(selector).or_default().insert(board.clone());
        }
    }
    let foreign = foreign(ctx)?;
    let mut series = Series::default();
    {
        let store = Store::together(ctx.program.clone(), &SMALL_QUEUE)?;
        store.load(&LOAD)?;
        // What it sheds is no failure of the load's.
        store.load(&OVERLOAD)?;
        series.read(&store.metrics()?);
    }
    match Store::apart(ctx, &GROUPS, &[]) {
        Ok(store) => {
            store.load(&LOAD)?;
            series.read(&store.metrics()?);
        }
        Err(error) => outcome.missing.push(("nats-server".to_owned(), format!("the placement apart: {error:#}"))),
    }
    for (selector, who) in &asked {
        if let Some(complaint) = complaint(selector, &series, &recorded, &foreign) {
            let who: Vec<_> = who.iter().map(String::as_str).collect();
            outcome.failed.push(format!("{}: {}: {complaint}", who.join(", "), selector.name));
        }
    }
    let used: BTreeSet<_> = asked.keys().map(|selector| selector.name.as_str()).collect();
    for name in foreign.keys().filter(|name| !used.contains(name.as_str())) {
        outcome.failed.push(format!("foreign-metrics.txt: {name}: nothing names it: take it out"));
    }
    if outcome.failed.is_empty() {
        let own = series.names().intersection(&used).count();
        let (asked, used, recorded, foreign) = (asked.len(), used.len(), recorded.len(), foreign.len());
        outcome.passed.push(format!(
            "{asked} selectors over {used} metrics: {own} shown by a store under load, {recorded} recorded, {foreign} of \
             other exporters"
        ));
    }
    Ok(outcome)
}

fn complaint(
    selector: &Selector,
    series: &Series,
    recorded: &Recorded,
    foreign: &BTreeMap<String, String>,
) -> Option<String> {
    if let Some(of_record) = recorded.get(&selector.name) {
        let is_made = |matcher: &promql::Matcher| {
            let values: BTreeSet<_> = of_record.iter().filter_map(|labels| labels.get(&matcher.label)).collect();
            matcher.operator != "=" || values.is_empty() || values.contains(&matcher.value)
        };
        let other = selector.matchers.iter().find(|matcher| !is_made(matcher))?;
        return Some(format!("no rule records it with {}={:?}", other.label, other.value));
    }
    if selector.name.contains(':') {
        return Some("no rule records it".to_owned());
    }
    if foreign.contains_key(&selector.name) {
        let is_own_too = series.names().contains(selector.name.as_str());
        return is_own_too.then(|| "the store shows it: take it out of foreign-metrics.txt".to_owned());
    }
    series.complaint(selector)
}

/// What the rules ask for, and what they record.
fn of_rules(ctx: &Context) -> Result<(Asked, Recorded)> {
    let mut asked = Asked::new();
    let mut recorded = Recorded::new();
    for name in RULES {
        let mut file = yaml(&ctx.root.join("deploy/observability/prometheus/rules").join(format!("{name}.yaml")))?;
        for rule in rules_of(&mut file) {
            let expr = rule["expr"].as_str().context("a rule without an expression")?;
            for selector in selectors(expr) {
                asked.entry(selector).or_default().insert(format!("{name}.yaml"));
            }
            if let Some(record) = rule["record"].as_str() {
                let labels = rule["labels"].as_object().into_iter().flatten();
                let labels = labels.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()));
                recorded.entry(record.to_owned()).or_default().push(labels.collect());
            }
        }
    }
    Ok((asked, recorded))
}

/// The expressions of all dashboards, each with its file's name.
///
/// # Errors
/// When a file cannot be read, or is no JSON.
pub(crate) fn dashboards(ctx: &Context) -> Result<Vec<(String, String)>> {
    let folder = ctx.root.join("deploy/observability/grafana/dashboards");
    let mut all = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let board: Value = serde_json::from_str(&fs::read_to_string(&path)?).with_context(|| name.clone())?;
        expressions(&board, &mut |expression| all.push((name.clone(), expression.to_owned())));
    }
    ensure!(!all.is_empty(), "no dashboard in {}", folder.display());
    Ok(all)
}

/// Every `expr` of a panel and every `definition` of a variable, however deep.
fn expressions(value: &Value, found: &mut impl FnMut(&str)) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| expressions(value, found)),
        Value::Object(fields) => {
            for (key, value) in fields {
                match value.as_str() {
                    Some(text) if key == "expr" || key == "definition" => found(text),
                    _ => expressions(value, found),
                }
            }
        }
        _ => {}
    }
}

/// `name: exporter` per line.
fn foreign(ctx: &Context) -> Result<BTreeMap<String, String>> {
    let path = ctx.root.join("deploy/observability/foreign-metrics.txt");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, exporter) =
                line.split_once(": ").with_context(|| format!("{line:?} is not `name: exporter`"))?;
            Ok((name.to_owned(), exporter.to_owned()))
        })
        .collect()
}
