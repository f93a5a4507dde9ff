use super::*;

const BASE: &str = "
apiVersion: v1
kind: Service
metadata: {name: product}
spec: {selector: {app.kubernetes.io/name: product}, ports: [{port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: pangaea}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: product}
spec:
  host: product.pangaea.svc.cluster.local
  trafficPolicy:
    connectionPool: {tcp: {maxConnections: 10, connectTimeout: 2s}, http: {maxRetries: 3}}
    outlierDetection: {consecutive5xxErrors: 5, interval: 5s, maxEjectionPercent: 50}
  subsets:
    - {name: v1, labels: {version: v1}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: pangaea}
spec:
  hosts: ['*']
  gateways: [pangaea]
  http:
    - match: [{uri: {prefix: /v1/products}}, {uri: {prefix: /v1/skus}}]
      delegate: {name: product}
---
";

fn read(http: &str) -> Result<Traffic> {
    let delegate = format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: product}}\nspec: {{http: [{http}]}}\n"
    );
    traffic(&Manifests::parse(&format!("{BASE}{delegate}")).unwrap())
}

#[test]
fn a_delegate_is_narrowed_to_what_is_delegated() {
    let http = "{match: [{method: {exact: GET}}, {uri: {prefix: /v1/skus/x}}], \
         route: [{destination: {host: product, subset: v1}}], timeout: 10s, retries: {attempts: 0}}, \
        {route: [{destination: {host: product}}]}";
    let traffic = read(http).unwrap();
    let first: Vec<_> =
        traffic.rules[0].matches.iter().map(|one| (one.path.clone().unwrap(), one.method.is_some())).collect();
    let prefix = |path: &str| Path::Prefix(path.to_owned());
    let expected = [(prefix("/v1/products"), true), (prefix("/v1/skus"), true), (prefix("/v1/skus/x"), false)];
    assert_eq!(first, expected);
    assert_eq!((traffic.rules[0].timeout_ms, traffic.rules[0].retries.attempts), (Some(10_000), 0));
    assert_eq!(traffic.rules[1].matches.len(), 2);
    assert_eq!(traffic.prefixes()["product"], ["/v1/products", "/v1/skus", "/v1/skus/x"]);
    assert_eq!(traffic.clusters["product|v1"].version.as_deref(), Some("v1"));
    assert_eq!(traffic.clusters["product"].version, None);
}

#[test]
fn without_a_word_istio_tries_again() {
    let traffic = read("{route: [{destination: {host: product}}]}").unwrap();
    let retries = &traffic.rules[0].retries;
    assert_eq!((retries.attempts, retries.statuses.as_slice()), (2, &[503][..]));
    assert!(retries.on.ends_with("cancelled,retriable-status-codes"), "{}", retries.on);
}

#[test]
fn a_destination_rule_limits_and_ejects() {
    let traffic = read("{route: [{destination: {host: product}}]}").unwrap();
    let cluster = &traffic.clusters["product"];
    let outliers = cluster.outliers.as_ref().unwrap();
    assert_eq!((outliers.consecutive_5xx, outliers.interval_ms, outliers.base_ejection_ms), (Some(5), 5_000, 30_000));
    assert_eq!((cluster.limits["max_connections"], cluster.limits["max_retries"]), (10, 3));
    assert_eq!(cluster.connect_timeout_ms, Some(2_000));
}

#[test]
fn what_is_not_translated_or_leads_nowhere_is_refused() {
    for (http, word) in [
        ("{route: [{destination: {host: nobody}}]}", "no Service nobody"),
        ("{route: [{destination: {host: product, subset: v9}}]}", "no subset v9"),
        ("{mirror: {host: product}, route: [{destination: {host: product}}]}", "mirror"),
        ("{match: [{uri: {prefix: /v1/orders}}], route: [{destination: {host: product}}]}", "matches nothing"),
        ("{match: [{uri: {regex: x}}], route: [{destination: {host: product}}]}", "exact or prefix"),
        ("{timeout: 10s}", "without a route"),
    ] {
        let error = format!("{:#}", read(http).unwrap_err());
        assert!(error.contains(word), "{http}: {error}");
    }
}
