//! compose.yaml: pinned images, files that are there, and an environment that the program accepts.
//!
//! What docker compose is built on reads it, too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::facts::{Facts, Module, path_faults};
use super::promtool::yaml;
use super::{Context, Outcome, gotool};

pub(crate) const PROFILES: [&str; 2] = ["together", "apart"];
/// What `docker compose` itself reads files with.
const READER: (&str, &str) = ("github.com/compose-spec/compose-go/v2/cmd", "v2.9.1");

pub(crate) type Services = BTreeMap<String, Value>;

/// # Errors
/// When compose.yaml cannot be read, or the program not be started.
pub(crate) fn check(ctx: &Context) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let services = services(ctx)?;
    let program = &ctx.program;
    let mut complaints = Vec::new();
    for (name, service) in &services {
        complaints.extend(image(service).into_iter().map(|why| format!("{name}: {why}")));
        complaints.extend(mounts(ctx, service).into_iter().map(|why| format!("{name}: {why}")));
        complaints.extend(needs(&services, service).into_iter().map(|why| format!("{name}: {why}")));
        if runs_the_store(service) {
            complaints.extend(accepted(program, service)?.into_iter().map(|why| format!("{name}: {why}")));
        }
    }
    complaints.extend(routes(&Facts::read(ctx)?.modules, &services["edge"]));
    complaints.extend(targets(ctx, &services)?);
    match complaints.is_empty() {
        true => outcome.passed.push(format!("compose.yaml: {} services", services.len())),
        false => outcome.failed.extend(complaints.into_iter().map(|why| format!("deploy/compose.yaml: {why}"))),
    }
    by_compose(ctx, &mut outcome)?;
    Ok(outcome)
}

/// The services, with what they merge in.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn services(ctx: &Context) -> Result<Services> {
    let text = fs::read_to_string(ctx.root.join("deploy/compose.yaml")).context("deploy/compose.yaml")?;
    let mut value: serde_yaml_ng::Value = serde_yaml_ng::from_str(&text)?;
    merge(&mut value)?;
    let value = serde_json::to_value(&value)?;
    let services = value["services"].as_object().context("deploy/compose.yaml has no services")?;
    Ok(services.iter().map(|(name, service)| (name.clone(), service.clone())).collect())
}

/// Applied once, it leaves what a merged map merges in itself: a service of a module would seem to have neither image nor bus.
fn merge(value: &mut serde_yaml_ng::Value) -> Result<()> {
    loop {
        let before = value.clone();
        value.apply_merge()?;
        if *value == before {
            return Ok(());
        }
    }
}

/// An image has a tag that says which it is; ours is built.
fn image(service: &Value) -> Option<String> {
    let image = service["image"].as_str()?;
    let tag = image.rsplit_once(':').map_or("", |(_, tag)| tag);
    let is_ours = service.get("build").is_some();
    let is_pinned =
        tag.trim_start_matches('v').split('.').filter(|part| part.starts_with(|c: char| c.is_ascii_digit())).count()
            >= 2;
    (!is_ours && !is_pinned).then(|| format!("{image} is not pinned to a version"))
}

/// What is mounted out of this repository is there.
fn mounts(ctx: &Context, service: &Value) -> Vec<String> {
    let mounts = service["volumes"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let ours = mounts.filter_map(|mount| mount.split(':').next()).filter_map(|source| source.strip_prefix("./"));
    let missing = ours.filter(|source| !ctx.root.join("deploy").join(source).exists());
    missing.map(|source| format!("deploy/{source} is not there")).collect()
}

/// What it waits for runs in the same placements.
fn needs(services: &Services, service: &Value) -> Vec<String> {
    let profiles = |service: &Value| -> BTreeSet<String> {
        let profiles = service["profiles"].as_array().into_iter().flatten();
        profiles.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let names: Vec<String> = match &service["depends_on"] {
        Value::Array(names) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Value::Object(names) => names.keys().cloned().collect(),
        _ => Vec::new(),
    };
    let is_there =
        |name: &String| services.get(name).is_some_and(|needed| profiles(needed).is_superset(&profiles(service)));
    let mut complaints: Vec<_> =
        names.into_iter().filter(|name| !is_there(name)).map(|name| format!("{name} does not run beside it")).collect();
    if profiles(service).is_empty() || !profiles(service).iter().all(|profile| PROFILES.contains(&profile.as_str())) {
        complaints.push(format!("its profiles are none of {PROFILES:?}"));
    }
    complaints
}

/// The store itself, and none of its other commands.
fn runs_the_store(service: &Value) -> bool {
    service["image"].as_str().is_some_and(|image| image.starts_with("pangaea:")) && service.get("command").is_none()
}

/// What `pangaea check` says against the environment. Variables that the reader's file gives are filled in.
fn accepted(program: &Path, service: &Value) -> Result<Option<String>> {
    let environment = match environment(service) {
        Ok(environment) => environment,
        Err(fault) => return Ok(Some(fault)),
    };
    let environment = environment.iter().map(|(key, value)| (key, filled(value)));
    let mut command = Command::new(program);
    let output = command.arg("check").env_clear().envs(environment).output().context("the program does not start")?;
    let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    Ok((!output.status.success()).then(|| format!("`pangaea check`: {said}")))
}

/// The variables of a service, in both of Compose's forms: a map, or a list of `KEY=value`.
///
/// # Errors
/// When it is neither, or a variable has no value here: it would be taken from whoever's shell.
fn environment(service: &Value) -> Result<BTreeMap<String, String>, String> {
    let plain = |key: &str, value: &Value| match value {
        Value::String(text) => Ok((key.to_owned(), text.clone())),
        Value::Number(_) | Value::Bool(_) => Ok((key.to_owned(), value.to_string())),
        _ => Err(format!("environment: {key} has no value: give it one, or `${{{key}-}}`")),
    };
    match &service["environment"] {
        Value::Null => Ok(BTreeMap::new()),
        Value::Object(map) => map.iter().map(|(key, value)| plain(key, value)).collect(),
        Value::Array(lines) => {
            let pairs = lines.iter().map(|line| match line.as_str().and_then(|line| line.split_once('=')) {
                Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
                None => Err(format!("environment: {line} is not of the form KEY=value")),
            });
            pairs.collect()
        }
        other => Err(format!("environment is {other}, and neither a map nor a list")),
    }
}

/// `${NAME-}` becomes what could stand there: 32 bytes in base64.
fn filled(value: &str) -> String {
    let mut text = value.to_owned();
    while let (Some(from), Some(to)) = (text.find("${"), text.find('}')) {
        text.replace_range(from..=to, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    }
    text
}

/// The edge leads every path that a module declares to that module's service, and nothing else anywhere.
fn routes(modules: &[Module], edge: &Value) -> Vec<String> {
    let words = edge["command"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let pairs = words.filter_map(|word| word.strip_prefix("--route=")?.split_once('='));
    let host = |url: &str| url.trim_start_matches("http://").split(':').next().unwrap_or_default().to_owned();
    let given = pairs.map(|(prefix, url)| (prefix.to_owned(), host(url))).collect();
    path_faults("edge", &given, &modules.iter().flat_map(Module::paths).collect())
}

/// What Prometheus looks up are services.
fn targets(ctx: &Context, services: &Services) -> Result<Vec<String>> {
    let config = yaml(&ctx.root.join("deploy/observability/prometheus/prometheus.yaml"))?;
    let jobs = config["scrape_configs"].as_array().into_iter().flatten();
    let lookups = jobs.flat_map(|job| job["dns_sd_configs"].as_array().into_iter().flatten());
    let names = lookups.flat_map(|lookup| lookup["names"].as_array().into_iter().flatten()).filter_map(Value::as_str);
    Ok(names
        .filter(|name| !services.contains_key(*name))
        .map(|name| format!("prometheus: no service {name}"))
        .collect())
}

/// The strict schema, and what only the whole file can be wrong in.
fn by_compose(ctx: &Context, outcome: &mut Outcome) -> Result<()> {
    let (package, version) = READER;
    let reader = match gotool::program(ctx, "compose-go", package, version) {
        Ok(reader) => reader,
        Err(error) => {
            outcome.missing.push(("compose-go".to_owned(), format!("{error:#}")));
            return Ok(());
        }
    };
    let file = ctx.root.join("deploy/compose.yaml");
    let output = Command::new(reader).arg(&file).output().context("compose-go does not start")?;
    match output.status.success() {
        true => outcome.passed.push("compose.yaml is what docker compose reads".to_owned()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            outcome.failed.push(format!("deploy/compose.yaml: {said}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_image_is_pinned_to_a_version() {
        for pinned in ["nats:2.14.9-alpine", "prom/prometheus:v3.5.0", "quay.io/x/y:v0.18.1"] {
            assert_eq!(image(&json!({"image": pinned})), None, "{pinned}");
        }
        for not in ["nats", "nats:latest", "nats:2", "postgres:17-alpine", "localhost:5000/nats"] {
            assert!(image(&json!({"image": not})).is_some(), "{not}");
        }
    }

    #[test]
    fn what_a_merged_map_merges_in_is_there() {
        let text = "a: &a { x: 1 }\nb: &b { <<: *a, y: 2 }\nc: { <<: *b, z: 3 }\n";
        let mut value = serde_yaml_ng::from_str(text).unwrap();
        merge(&mut value).unwrap();
        assert_eq!(serde_json::to_value(&value["c"]).unwrap(), json!({ "x": 1, "y": 2, "z": 3 }));
    }

    #[test]
    fn an_environment_is_read_in_both_forms() {
        let expected = BTreeMap::from([("A", "b=c"), ("PORT", "8080")]);
        let expected = Ok(expected.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect());
        assert_eq!(environment(&json!({"environment": {"A": "b=c", "PORT": 8080}})), expected);
        assert_eq!(environment(&json!({"environment": ["A=b=c", "PORT=8080"]})), expected);
        assert_eq!(environment(&json!({})), Ok(BTreeMap::new()));
        for odd in [json!({"A": null}), json!(["A"]), json!([8080]), json!("A=b")] {
            assert!(environment(&json!({"environment": odd})).is_err(), "{odd}");
        }
    }

    #[test]
    fn the_edge_leads_where_the_modules_declare() {
        let modules =
            [Module::sample("product", &["/v1/products", "/v1/skus"]), Module::sample("order", &["/v1/orders"])];
        let edge = |routes: &[&str]| {
            let words = routes.iter().map(|route| format!("--route={route}"));
            let words: Vec<_> = ["edge".to_owned()].into_iter().chain(words).collect();
            json!({ "command": words })
        };
        let [products, skus, orders] =
            ["/v1/products=http://product:8080", "/v1/skus=http://product:8080", "/v1/orders=http://order:8080"];
        assert_eq!(routes(&modules, &edge(&[products, skus, orders])), [""; 0]);
        for (given, told) in [
            (edge(&[products, orders]), "/v1/skus of product leads nowhere"),
            (
                edge(&[products, "/v1/skus=http://order:8080", orders]),
                "/v1/skus leads to order; the program has it in product",
            ),
            (edge(&[products, skus, orders, "/v1/carts=http://order:8080"]), "no module has paths below /v1/carts"),
        ] {
            assert_eq!(routes(&modules, &given), [format!("edge: {told}")]);
        }
    }

    #[test]
    fn what_the_reader_gives_is_filled_in() {
        assert!(!filled("postgres://order:${ORDER_PASSWORD-}@postgres/${X-}").contains('$'));
    }
}
