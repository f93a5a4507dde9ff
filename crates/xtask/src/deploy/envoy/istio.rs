//! Istio's `VirtualService`s and `DestinationRule`s.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::manifests::{Manifests, name_of};
use super::model::{Backend, Cluster, Match, Outliers, Path, Retries, Rule, Text, Traffic};
use super::model::{duration, items, milliseconds, only};
use super::policies;

const GROUP: &str = "networking.istio.io";

/// What a gateway's proxy does, as the VirtualService that is bound to it says; it may delegate to one of each module.
///
/// # Errors
/// When something is said that is not translated, or a name leads nowhere.
pub(crate) fn traffic(manifests: &Manifests) -> Result<Traffic> {
    let mut traffic = Traffic::default();
    let bound = |service: &&Value| items(&service["spec"]["gateways"]).any(|gateway| gateway != "mesh");
    for root in manifests.of_kind(GROUP, "VirtualService").filter(bound) {
        let place = format!("VirtualService {}", name_of(root));
        for gateway in items(&root["spec"]["gateways"]).filter_map(Value::as_str).filter(|gateway| *gateway != "mesh") {
            manifests
                .named(GROUP, "Gateway", gateway.rsplit('/').next().unwrap_or(gateway))
                .with_context(|| place.clone())?;
        }
        for rule in items(&root["spec"]["http"]) {
            let rules = match rule["delegate"]["name"].as_str() {
                Some(name) => delegated(rule, name, manifests, &mut traffic).with_context(|| place.clone())?,
                None => vec![rule_of(rule, &place, manifests, &mut traffic)?],
            };
            traffic.rules.extend(rules);
        }
    }
    ensure!(!traffic.rules.is_empty(), "no VirtualService is bound to a gateway");
    (traffic.tokens, traffic.refused) = policies::read(manifests)?;
    Ok(traffic)
}

/// The rules of the VirtualService that is delegated to, each narrowed to what the delegating rule matches.
fn delegated(root: &Value, name: &str, manifests: &Manifests, traffic: &mut Traffic) -> Result<Vec<Rule>> {
    only(root, &["name", "match", "delegate"], "a delegating rule")?;
    let delegate = manifests.named(GROUP, "VirtualService", name)?;
    let place = format!("VirtualService {name}");
    ensure!(items(&delegate["spec"]["hosts"]).next().is_none(), "{place}: one that is delegated to has no hosts");
    let outer = matches_of(root, &place)?;
    let mut rules = Vec::new();
    for rule in items(&delegate["spec"]["http"]) {
        let mut rule = rule_of(rule, &place, manifests, traffic)?;
        let pairs = outer.iter().flat_map(|outer| rule.matches.iter().map(move |inner| narrowed(outer, inner)));
        rule.matches = pairs.flatten().collect();
        ensure!(!rule.matches.is_empty(), "{place}: a rule matches nothing of what is delegated to it");
        rules.push(rule);
    }
    Ok(rules)
}

/// Both at once; None where they exclude each other.
fn narrowed(outer: &Match, inner: &Match) -> Option<Match> {
    let path = match (&outer.path, &inner.path) {
        (Some(Path::Prefix(outer)), Some(inner)) if inner.text().starts_with(outer.as_str()) => Some(inner.clone()),
        (Some(_), Some(_)) => return None,
        (outer, inner) => inner.clone().or_else(|| outer.clone()),
    };
    let method = match (&outer.method, &inner.method) {
        (Some(outer), Some(inner)) if outer != inner => return None,
        (outer, inner) => inner.clone().or_else(|| outer.clone()),
    };
    let headers = outer.headers.iter().chain(&inner.headers).cloned().collect();
    Some(Match { path, method, headers })
}

fn rule_of(rule: &Value, place: &str, manifests: &Manifests, traffic: &mut Traffic) -> Result<Rule> {
    only(rule, &["name", "match", "route", "timeout", "retries"], place)?;
    let mut backends = Vec::new();
    let mut module = None;
    let shares = items(&rule["route"]).count();
    for route in items(&rule["route"]) {
        only(route, &["destination", "weight"], place)?;
        only(&route["destination"], &["host", "subset", "port"], place)?;
        let host = route["destination"]["host"].as_str().with_context(|| format!("{place}: a route without a host"))?;
        let service = host.split('.').next().unwrap_or(host);
        let subset = route["destination"]["subset"].as_str();
        let cluster = cluster_of(service, subset, manifests).with_context(|| place.to_owned())?;
        module.get_or_insert_with(|| cluster.module.clone());
        let name = subset.map_or_else(|| service.to_owned(), |subset| format!("{service}|{subset}"));
        let weight = route["weight"].as_u64().unwrap_or(u64::from(shares == 1) * 100);
        traffic.clusters.insert(name.clone(), cluster);
        backends.push(Backend { cluster: name, weight });
    }
    let Some(module) = module else { bail!("{place}: a rule without a route") };
    let timeout_ms = duration(rule, "timeout")?;
    Ok(Rule {
        module,
        matches: matches_of(rule, place)?,
        backends,
        timeout_ms,
        retries: retries(&rule["retries"], place)?,
    })
}

fn matches_of(rule: &Value, place: &str) -> Result<Vec<Match>> {
    let mut matches: Vec<_> = items(&rule["match"]).map(|one| match_of(one, place)).collect::<Result<_>>()?;
    if matches.is_empty() {
        matches.push(Match::default());
    }
    Ok(matches)
}

fn match_of(one: &Value, place: &str) -> Result<Match> {
    only(one, &["name", "uri", "method", "headers"], place)?;
    let path = match &one["uri"] {
        Value::Null => None,
        uri => Some(match (uri["exact"].as_str(), uri["prefix"].as_str()) {
            (Some(path), None) => Path::Exact(path.to_owned()),
            (None, Some(path)) => Path::Prefix(path.to_owned()),
            _ => bail!("{place}: a uri other than exact or prefix is not translated"),
        }),
    };
    let method = if one["method"].is_null() { None } else { Some(text_of(&one["method"], place)?) };
    let headers = one["headers"].as_object().into_iter().flatten();
    let headers = headers.map(|(name, value)| Ok((name.clone(), text_of(value, place)?))).collect::<Result<_>>()?;
    Ok(Match { path, method, headers })
}

fn text_of(value: &Value, place: &str) -> Result<Text> {
    match (value["exact"].as_str(), value["regex"].as_str()) {
        (Some(text), None) => Ok(Text::Exact(text.to_owned())),
        (None, Some(text)) => Ok(Text::Regex(text.to_owned())),
        _ => bail!("{place}: a text is matched neither exactly nor by a regex"),
    }
}

/// Without a word Istio tries twice more, and releases before 1.24 did so after a 503 too: the stricter reading, so that a rule
/// which forgets to say `attempts: 0` is found out.
fn retries(retries: &Value, place: &str) -> Result<Retries> {
    const DEFAULT: &str = "connect-failure,refused-stream,unavailable,cancelled,503";
    only(retries, &["attempts", "perTryTimeout", "retryOn"], place)?;
    let words = retries["retryOn"].as_str().filter(|on| !on.is_empty()).unwrap_or(DEFAULT);
    let (statuses, mut on): (Vec<_>, Vec<_>) =
        words.split(',').map(str::trim).partition(|word| word.parse::<u64>().is_ok());
    let statuses: Vec<_> = statuses.into_iter().filter_map(|status| status.parse().ok()).collect();
    if !statuses.is_empty() {
        on.push("retriable-status-codes");
    }
    let attempts = retries["attempts"].as_u64().unwrap_or(2);
    Ok(Retries { attempts, per_try_timeout_ms: duration(retries, "perTryTimeout")?, on: on.join(","), statuses })
}

/// The pods of a service or of a subset of it, and how its DestinationRule has them treated.
fn cluster_of(service: &str, subset: Option<&str>, manifests: &Manifests) -> Result<Cluster> {
    let selector = &manifests.named("", "Service", service)?["spec"]["selector"];
    let module = selector["app.kubernetes.io/name"].as_str();
    let module = module.with_context(|| format!("Service {service} selects no module"))?.to_owned();
    let mut cluster = Cluster { module, ..Cluster::default() };
    let is_of_host =
        |rule: &&Value| rule["spec"]["host"].as_str().and_then(|host| host.split('.').next()) == Some(service);
    let Some(rule) = manifests.of_kind(GROUP, "DestinationRule").find(is_of_host) else {
        ensure!(subset.is_none(), "no DestinationRule says what subset {subset:?} of {service} is");
        return Ok(cluster);
    };
    let place = format!("DestinationRule {}", name_of(rule));
    only(&rule["spec"], &["host", "subsets", "trafficPolicy", "exportTo"], &place)?;
    if let Some(subset) = subset {
        let found = items(&rule["spec"]["subsets"]).find(|one| one["name"] == subset);
        let found = found.with_context(|| format!("{place} has no subset {subset}"))?;
        only(found, &["name", "labels"], &place)?;
        only(&found["labels"], &["version"], &place)?;
        cluster.version = found["labels"]["version"].as_str().map(str::to_owned);
    }
    policy(&rule["spec"]["trafficPolicy"], &mut cluster, &place)?;
    Ok(cluster)
}

fn policy(policy: &Value, cluster: &mut Cluster, place: &str) -> Result<()> {
    only(policy, &["connectionPool", "outlierDetection", "loadBalancer", "tls"], place)?;
    let (tcp, http) = (&policy["connectionPool"]["tcp"], &policy["connectionPool"]["http"]);
    only(tcp, &["maxConnections", "connectTimeout"], place)?;
    only(http, &["http1MaxPendingRequests", "http2MaxRequests", "maxRetries"], place)?;
    cluster.connect_timeout_ms = duration(tcp, "connectTimeout")?;
    let named = [
        ("max_connections", &tcp["maxConnections"]),
        ("max_pending_requests", &http["http1MaxPendingRequests"]),
        ("max_requests", &http["http2MaxRequests"]),
        ("max_retries", &http["maxRetries"]),
    ];
    cluster.limits = named.into_iter().filter_map(|(name, limit)| Some((name.to_owned(), limit.as_u64()?))).collect();
    let detection = &policy["outlierDetection"];
    if !detection.is_null() {
        let known =
            ["consecutive5xxErrors", "consecutiveGatewayErrors", "interval", "baseEjectionTime", "maxEjectionPercent"];
        only(detection, &known, place)?;
        let time = |key: &str, default| detection[key].as_str().map_or(Ok(default), milliseconds);
        cluster.outliers = Some(Outliers {
            consecutive_5xx: detection["consecutive5xxErrors"].as_u64(),
            consecutive_gateway_errors: detection["consecutiveGatewayErrors"].as_u64(),
            interval_ms: time("interval", 10_000)?,
            base_ejection_ms: time("baseEjectionTime", 30_000)?,
            max_ejection_percent: detection["maxEjectionPercent"].as_u64().unwrap_or(10),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
