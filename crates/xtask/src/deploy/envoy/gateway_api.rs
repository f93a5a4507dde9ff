//! `HTTPRoute`s of the Gateway API.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::manifests::{Manifests, name_of};
use super::model::{Backend, Cluster, Match, Path, Retries, Rule, Text, Traffic, duration, items, only};

const GROUP: &str = "gateway.networking.k8s.io";

/// The routes of an overlay.
///
/// # Errors
/// When one says what is not translated, or leads to a service that is not there.
pub(crate) fn traffic(manifests: &Manifests) -> Result<Traffic> {
    let mut traffic = Traffic::default();
    for route in manifests.of_kind(GROUP, "HTTPRoute").filter(|route| leads_somewhere(route)) {
        let place = format!("HTTPRoute {}", name_of(route));
        only(&route["spec"], &["parentRefs", "rules"], &place)?;
        for rule in items(&route["spec"]["rules"]) {
            let rules = rules_of(rule, &place, manifests, &mut traffic)?;
            traffic.rules.extend(rules);
        }
    }
    // The more precise match first, whatever the order of the files.
    traffic.rules.sort_by_key(|rule| std::cmp::Reverse(rule.matches.first().map(rank)));
    Ok(traffic)
}

/// Routes of a Gateway. Those of a Service are for callers inside, and those of a Linkerd Server say who may come in.
fn leads_somewhere(route: &Value) -> bool {
    items(&route["spec"]["parentRefs"]).any(|parent| parent["kind"].as_str().is_none_or(|kind| kind == "Gateway"))
}

/// Exact paths, then longer prefixes, then a method, then headers.
fn rank(one: &Match) -> (bool, usize, bool, usize) {
    let length = one.path.as_ref().map_or(0, |path| path.text().len());
    (matches!(one.path, Some(Path::Exact(_))), length, one.method.is_some(), one.headers.len())
}

/// A rule with several matches is as many rules: each has a rank of its own.
fn rules_of(rule: &Value, place: &str, manifests: &Manifests, traffic: &mut Traffic) -> Result<Vec<Rule>> {
    only(rule, &["name", "matches", "backendRefs", "timeouts", "retry"], place)?;
    only(&rule["timeouts"], &["request", "backendRequest"], place)?;
    let mut backends = Vec::new();
    let mut module = None;
    for reference in items(&rule["backendRefs"]) {
        only(reference, &["group", "kind", "name", "namespace", "port", "weight"], place)?;
        let service = reference["name"].as_str().with_context(|| format!("{place}: a backend without a name"))?;
        let cluster = cluster_of(service, manifests).with_context(|| place.to_owned())?;
        module.get_or_insert_with(|| cluster.module.clone());
        traffic.clusters.insert(service.to_owned(), cluster);
        backends.push(Backend { cluster: service.to_owned(), weight: reference["weight"].as_u64().unwrap_or(1) });
    }
    let Some(module) = module else { bail!("{place}: a rule without a backend") };
    let timeout_ms = duration(&rule["timeouts"], "request")?;
    let retries = retries(&rule["retry"], duration(&rule["timeouts"], "backendRequest")?, place)?;
    let mut matches: Vec<_> = items(&rule["matches"]).map(|one| match_of(one, place)).collect::<Result<_>>()?;
    if matches.is_empty() {
        matches.push(Match { path: Some(Path::Elements("/".to_owned())), ..Match::default() });
    }
    let rule = |one| Rule {
        module: module.clone(),
        matches: vec![one],
        backends: backends.clone(),
        timeout_ms,
        retries: retries.clone(),
    };
    Ok(matches.into_iter().map(rule).collect())
}

fn match_of(one: &Value, place: &str) -> Result<Match> {
    only(one, &["path", "method", "headers"], place)?;
    let path = match (one["path"]["type"].as_str().unwrap_or("PathPrefix"), one["path"]["value"].as_str()) {
        (_, None) => Path::Elements("/".to_owned()),
        ("Exact", Some(path)) => Path::Exact(path.to_owned()),
        ("PathPrefix", Some(path)) => Path::Elements(path.to_owned()),
        (other, _) => bail!("{place}: a path of type {other} is not translated"),
    };
    let header = |header: &Value| {
        let name = header["name"].as_str().with_context(|| format!("{place}: a header without a name"))?;
        let value = header["value"].as_str().unwrap_or_default().to_owned();
        Ok(match header["type"].as_str() {
            Some("RegularExpression") => (name.to_owned(), Text::Regex(value)),
            _ => (name.to_owned(), Text::Exact(value)),
        })
    };
    Ok(Match {
        path: Some(path),
        method: one["method"].as_str().map(|method| Text::Exact(method.to_owned())),
        headers: items(&one["headers"]).map(header).collect::<Result<_>>()?,
    })
}

/// Without a word there are none: neither Envoy Gateway nor Linkerd tries again by itself.
fn retries(retry: &Value, per_try_timeout_ms: Option<u64>, place: &str) -> Result<Retries> {
    only(retry, &["attempts", "codes", "backoff"], place)?;
    let statuses: Vec<_> = items(&retry["codes"]).filter_map(Value::as_u64).collect();
    let attempts = if retry.is_null() { 0 } else { retry["attempts"].as_u64().unwrap_or(1) };
    let mut on = "connect-failure,refused-stream".to_owned();
    if !statuses.is_empty() {
        on += ",retriable-status-codes";
    }
    Ok(Retries { attempts, per_try_timeout_ms, on, statuses })
}

/// The pods that the Service selects.
fn cluster_of(service: &str, manifests: &Manifests) -> Result<Cluster> {
    let object = manifests.named("", "Service", service)?;
    let selector = &object["spec"]["selector"];
    let module = selector["app.kubernetes.io/name"].as_str();
    let module = module.with_context(|| format!("Service {service} selects no module"))?.to_owned();
    let ports = items(&object["spec"]["ports"]);
    ensure!(ports.count() > 0, "Service {service} has no port");
    Ok(Cluster { module, version: selector["version"].as_str().map(str::to_owned), ..Cluster::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICES: &str = "
apiVersion: v1
kind: Service
metadata: {name: product}
spec: {selector: {app.kubernetes.io/name: product}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: product-v2}
spec: {selector: {app.kubernetes.io/name: product, version: v2}, ports: [{port: 80}]}
---
";

    fn read(route: &str) -> Result<Traffic> {
        traffic(&Manifests::parse(&format!("{SERVICES}{route}")).unwrap())
    }

    fn route(rules: &str) -> String {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: product}}\n\
             spec: {{parentRefs: [{{name: pangaea}}], rules: [{rules}]}}\n"
        )
    }

    #[test]
    fn the_more_precise_match_comes_first() {
        let rules = "{matches: [{path: {type: PathPrefix, value: /v1/products}}], backendRefs: [{name: product}]},\
            {matches: [{path: {type: PathPrefix, value: /v1/products}, method: GET}, {path: {value: /v1}}],\
             backendRefs: [{name: product, weight: 80}, {name: product-v2, weight: 20}], timeouts: {request: 10s}}";
        let traffic = read(&route(rules)).unwrap();
        let seen: Vec<_> = traffic.rules.iter().map(|rule| (&rule.matches[0], rule.backends.len())).collect();
        assert_eq!(seen[0].0.method, Some(Text::Exact("GET".to_owned())));
        assert_eq!(seen.iter().map(|(_, backends)| *backends).collect::<Vec<_>>(), [2, 1, 2]);
        assert_eq!(seen[2].0.path, Some(Path::Elements("/v1".to_owned())));
        assert_eq!(traffic.rules[0].timeout_ms, Some(10_000));
        assert_eq!(traffic.rules[0].retries.attempts, 0);
        assert_eq!(traffic.clusters["product-v2"].version.as_deref(), Some("v2"));
        assert_eq!(traffic.clusters["product-v2"].module, "product");
    }

    #[test]
    fn what_is_not_translated_is_refused() {
        for (rules, word) in [
            ("{backendRefs: [{name: nobody}]}", "nobody"),
            ("{filters: [{type: RequestMirror}], backendRefs: [{name: product}]}", "filters"),
            ("{matches: [{path: {value: /v1}}]}", "without a backend"),
            ("{matches: [{path: {type: RegularExpression, value: x}}], backendRefs: [{name: product}]}", "Regular"),
        ] {
            let error = format!("{:#}", read(&route(rules)).unwrap_err());
            assert!(error.contains(word), "{rules}: {error}");
        }
    }

    #[test]
    fn a_retry_is_what_the_route_says() {
        let rules =
            "{backendRefs: [{name: product}], retry: {attempts: 3, codes: [503]}, timeouts: {backendRequest: 2s}}";
        let Retries { attempts, per_try_timeout_ms, statuses, .. } =
            read(&route(rules)).unwrap().rules[0].retries.clone();
        assert_eq!((attempts, per_try_timeout_ms, statuses), (3, Some(2_000), vec![503]));
    }
}
