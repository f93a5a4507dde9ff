//! Envoy's own configuration, from what the manifests say.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::model::{Backend, Cluster, Match, Operation, Path, Retries, Rule, Text, Tokens, Traffic};

/// Where the pods are that a cluster stands for: by module and `version`.
#[derive(Debug, Default)]
pub(crate) struct Pods(Vec<Pod>);

#[derive(Debug)]
struct Pod {
    module: String,
    version: String,
    address: SocketAddr,
}

/// How long after its end a token is still good. Istio leaves Envoy's default of a minute, which the manifests cannot
/// change; the trial is as short as can be in its place.
const CLOCK_SKEW_S: u64 = 1;

/// The whole configuration: one listener, as a gateway's proxy and the sidecars behind it would have them together.
///
/// # Errors
/// When a cluster has no pod.
pub(crate) fn configuration(traffic: &Traffic, pods: &Pods, listen: SocketAddr, admin: SocketAddr) -> Result<Value> {
    let routes: Vec<_> = traffic.rules.iter().flat_map(|rule| routes_of(rule, &traffic.refused)).collect();
    let mut clusters: Vec<_> =
        traffic.clusters.iter().map(|(name, cluster)| cluster_of(name, cluster, pods)).collect::<Result<_>>()?;
    let mut filters = Vec::new();
    if let Some(tokens) = &traffic.tokens {
        let (module, _) = &tokens.keys_at;
        let keys = Cluster { module: module.clone(), ..Cluster::default() };
        clusters.push(cluster_of(KEYS_CLUSTER, &keys, pods)?);
        filters.push(token_filter(tokens));
        filters.push(json!({
            "name": "envoy.filters.http.rbac",
            "typed_config": typed("envoy.extensions.filters.http.rbac.v3.RBAC"),
        }));
    }
    filters.push(json!({
        "name": "envoy.filters.http.router",
        "typed_config": typed("envoy.extensions.filters.http.router.v3.Router"),
    }));
    let mut manager = typed("envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager");
    manager["stat_prefix"] = json!("ingress");
    manager["http_filters"] = json!(filters);
    manager["route_config"] = json!({
        "name": "manifests",
        "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}],
        // Says which cluster a request went to; nothing in the manifests does.
        "response_headers_to_add": [{"header": {"key": CLUSTER_HEADER, "value": "%UPSTREAM_CLUSTER%"}}],
    });
    let filter = json!({"name": "envoy.filters.network.http_connection_manager", "typed_config": manager});
    Ok(json!({
        "admin": {"address": address(admin)},
        "static_resources": {
            "listeners": [{"name": "gateway", "address": address(listen), "filter_chains": [{"filters": [filter]}]}],
            "clusters": clusters,
        },
    }))
}

pub(crate) const CLUSTER_HEADER: &str = "x-tried-cluster";
const KEYS_CLUSTER: &str = "key set";
const TOKEN_METADATA: &str = "token";

fn typed(name: &str) -> Value {
    json!({"@type": format!("type.googleapis.com/{name}")})
}

fn address(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}s", ms / 1_000, ms % 1_000)
}

/// Envoy has one match for each route, so a rule becomes as many.
fn routes_of(rule: &Rule, refused: &BTreeMap<String, Vec<Operation>>) -> Vec<Value> {
    let mut action = json!({"timeout": seconds(rule.timeout_ms.unwrap_or(0))});
    match rule.backends.as_slice() {
        [Backend { cluster, .. }] => action["cluster"] = json!(cluster),
        several => {
            let share = |backend: &Backend| json!({"name": backend.cluster, "weight": backend.weight});
            action["weighted_clusters"] = json!({"clusters": several.iter().map(share).collect::<Vec<_>>()});
        }
    }
    if rule.retries.attempts > 0 {
        action["retry_policy"] = retry_policy(&rule.retries);
    }
    let mut route = json!({"route": action});
    if let Some(operations) = refused.get(&rule.module) {
        route["typed_per_filter_config"] = json!({"envoy.filters.http.rbac": refusal(operations)});
    }
    let with_match = |one: &Match| {
        let mut route = route.clone();
        route["match"] = match_of(one);
        route
    };
    rule.matches.iter().map(with_match).collect()
}

fn retry_policy(retries: &Retries) -> Value {
    let mut policy = json!({
        "retry_on": retries.on,
        "num_retries": retries.attempts,
        "retriable_status_codes": retries.statuses,
        // As Istio has it: another replica, and no waiting to speak of.
        "retry_host_predicate": [{
            "name": "envoy.retry_host_predicates.previous_hosts",
            "typed_config": typed("envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"),
        }],
        "host_selection_retry_max_attempts": 5,
    });
    if let Some(ms) = retries.per_try_timeout_ms {
        policy["per_try_timeout"] = json!(seconds(ms));
    }
    policy
}

fn match_of(one: &Match) -> Value {
    let mut condition = match &one.path {
        None => json!({"prefix": "/"}),
        Some(Path::Exact(path)) => json!({"path": path}),
        Some(Path::Elements(path)) if path != "/" => json!({"path_separated_prefix": path.trim_end_matches('/')}),
        Some(Path::Prefix(path) | Path::Elements(path)) => json!({"prefix": path}),
    };
    let method = one.method.iter().map(|method| (":method", method));
    let headers = method.chain(one.headers.iter().map(|(name, text)| (name.as_str(), text)));
    let headers: Vec<_> =
        headers.map(|(name, text)| json!({"name": name, "string_match": string_match(text)})).collect();
    condition["headers"] = json!(headers);
    condition
}

fn string_match(text: &Text) -> Value {
    match text {
        Text::Exact(text) => json!({"exact": text}),
        Text::Regex(regex) => json!({"safe_regex": {"regex": regex}}),
    }
}

fn cluster_of(name: &str, cluster: &Cluster, pods: &Pods) -> Result<Value> {
    let addresses = pods.of(cluster);
    ensure!(!addresses.is_empty(), "no pod of {} {:?} for cluster {name}", cluster.module, cluster.version);
    let endpoints: Vec<_> = addresses.into_iter().map(|pod| json!({"endpoint": {"address": address(pod)}})).collect();
    let mut value = json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": seconds(cluster.connect_timeout_ms.unwrap_or(10_000)),
        "lb_policy": "LEAST_REQUEST",
        // Istio and Linkerd never fall back to replicas that have been ejected.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    });
    if !cluster.limits.is_empty() {
        value["circuit_breakers"] = json!({"thresholds": [cluster.limits]});
    }
    if let Some(outliers) = &cluster.outliers {
        value["outlier_detection"] = json!({
            "consecutive_5xx": outliers.consecutive_5xx.unwrap_or(0),
            "enforcing_consecutive_5xx": if outliers.consecutive_5xx.unwrap_or(0) > 0 { 100 } else { 0 },
            "consecutive_gateway_failure": outliers.consecutive_gateway_errors.unwrap_or(0),
            "enforcing_consecutive_gateway_failure": if outliers.consecutive_gateway_errors.unwrap_or(0) > 0 { 100 } else { 0 },
            "enforcing_success_rate": 0,
            "interval": seconds(outliers.interval_ms),
            "base_ejection_time": seconds(outliers.base_ejection_ms),
            "max_ejection_percent": outliers.max_ejection_percent,
        });
    }
    Ok(value)
}

/// A token that is there must be good; one that is missing passes, as with a RequestAuthentication alone.
fn token_filter(tokens: &Tokens) -> Value {
    let (module, path) = &tokens.keys_at;
    let mut filter = typed("envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication");
    filter["providers"] = json!({"store": {
        "issuer": tokens.issuer,
        "audiences": tokens.audiences,
        "forward": tokens.is_forwarded,
        "payload_in_metadata": TOKEN_METADATA,
        "clock_skew_seconds": CLOCK_SKEW_S,
        "remote_jwks": {
            "http_uri": {"uri": format!("http://{module}{path}"), "cluster": KEYS_CLUSTER, "timeout": "5s"},
            "cache_duration": "300s",
        },
    }});
    let either = json!({"requires_any": {"requirements": [{"provider_name": "store"}, {"allow_missing": {}}]}});
    filter["rules"] = json!([{"match": {"prefix": "/"}, "requires": either}]);
    json!({"name": "envoy.filters.http.jwt_authn", "typed_config": filter})
}

/// The policies of one module: refused is who has no token and asks for one of these.
fn refusal(operations: &[Operation]) -> Value {
    let has_token = json!({"sourced_metadata": {"metadata_matcher": {
        "filter": "envoy.filters.http.jwt_authn",
        "path": [{"key": TOKEN_METADATA}, {"key": "iss"}],
        "value": {"present_match": true},
    }}});
    let mut per_route = typed("envoy.extensions.filters.http.rbac.v3.RBACPerRoute");
    per_route["rbac"] = json!({"rules": {"action": "DENY", "policies": {"no token": {
        "principals": [{"not_id": has_token}],
        "permissions": operations.iter().map(permission).collect::<Vec<_>>(),
    }}}});
    per_route
}

fn permission(operation: &Operation) -> Value {
    let method = |method: &String| json!({"header": {"name": ":method", "string_match": {"exact": method}}});
    let any = |rules: Vec<Value>| json!({"or_rules": {"rules": rules}});
    let mut all = Vec::new();
    if !operation.paths.is_empty() {
        all.push(any(operation.paths.iter().map(|path| json!({"url_path": {"path": path_match(path)}})).collect()));
    }
    if !operation.methods.is_empty() {
        all.push(any(operation.methods.iter().map(method).collect()));
    }
    if !operation.not_methods.is_empty() {
        all.push(json!({"not_rule": any(operation.not_methods.iter().map(method).collect())}));
    }
    if all.is_empty() {
        return json!({"any": true});
    }
    json!({"and_rules": {"rules": all}})
}

fn path_match(path: &str) -> Value {
    match path.strip_suffix('*') {
        Some(prefix) => json!({"prefix": prefix}),
        None => json!({"exact": path}),
    }
}

// === impl Pods ===

impl Pods {
    pub(crate) fn add(&mut self, module: &str, version: &str, address: SocketAddr) {
        self.0.push(Pod { module: module.to_owned(), version: version.to_owned(), address });
    }

    fn of(&self, cluster: &Cluster) -> Vec<SocketAddr> {
        let is_meant = |pod: &&Pod| {
            pod.module == cluster.module && cluster.version.as_ref().is_none_or(|version| *version == pod.version)
        };
        self.0.iter().filter(is_meant).map(|pod| pod.address).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn traffic() -> Traffic {
        let path = |path: &str| Match { path: Some(Path::Prefix(path.to_owned())), ..Match::default() };
        let share = |cluster: &str, weight| Backend { cluster: cluster.to_owned(), weight };
        let rule = Rule {
            module: "product".to_owned(),
            matches: vec![path("/v1/products"), path("/v1/skus")],
            backends: vec![share("product|v1", 90), share("product|v2", 10)],
            timeout_ms: Some(10_500),
            retries: Retries::default(),
        };
        let version = |version: &str| Cluster {
            module: "product".to_owned(),
            version: Some(version.to_owned()),
            ..Cluster::default()
        };
        let clusters = [("product|v1".to_owned(), version("v1")), ("product|v2".to_owned(), version("v2"))];
        Traffic { rules: vec![rule], clusters: clusters.into(), ..Traffic::default() }
    }

    fn pods() -> Pods {
        let mut pods = Pods::default();
        for (version, port) in [("v1", 1), ("v1", 2), ("v2", 3)] {
            pods.add("product", version, at(port));
        }
        pods
    }

    #[test]
    fn weights_go_to_subsets_of_the_pods() {
        let configuration = configuration(&traffic(), &pods(), at(8), at(9)).unwrap();
        let resources = &configuration["static_resources"];
        let endpoints = |number: usize| {
            let assignment = &resources["clusters"][number]["load_assignment"];
            assignment["endpoints"][0]["lb_endpoints"].as_array().unwrap().len()
        };
        assert_eq!((endpoints(0), endpoints(1)), (2, 1));
        let manager = &resources["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"];
        let routes = manager["route_config"]["virtual_hosts"][0]["routes"].as_array().unwrap();
        assert_eq!(routes.len(), 2);
        assert_eq!(routes[1]["match"]["prefix"], "/v1/skus");
        assert_eq!(routes[1]["route"]["weighted_clusters"]["clusters"][1]["weight"], 10);
        assert_eq!(routes[1]["route"]["timeout"], "10.500s");
        assert!(routes[1]["route"].get("retry_policy").is_none(), "no attempts, no policy");
    }

    #[test]
    fn a_cluster_without_a_pod_is_refused() {
        let error = configuration(&traffic(), &Pods::default(), at(8), at(9)).unwrap_err().to_string();
        assert!(error.contains("no pod of product"), "{error}");
    }

    #[test]
    fn paths_methods_and_exceptions_hold_together() {
        let operation = Operation {
            paths: vec!["/v1/users".to_owned(), "/v1/users/*".to_owned()],
            methods: Vec::new(),
            not_methods: vec!["POST".to_owned()],
        };
        let permission = permission(&operation);
        let rules = permission["and_rules"]["rules"].as_array().unwrap();
        assert_eq!(rules[0]["or_rules"]["rules"][1]["url_path"]["path"]["prefix"], "/v1/users/");
        let method = &rules[1]["not_rule"]["or_rules"]["rules"][0]["header"];
        assert_eq!((&method["name"], &method["string_match"]["exact"]), (&json!(":method"), &json!("POST")));
    }
}
