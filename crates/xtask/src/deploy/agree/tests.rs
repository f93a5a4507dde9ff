//! One small overlay that agrees, and what each change to it is called.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Host, is_made_by_hand, placement, ports, printed, references};
use crate::deploy::Outcome;
use crate::deploy::environment::{Sources, given};
use crate::deploy::objects::{is_ours, workloads};
use crate::deploy::program::Program;
use crate::deploy::secrets::Known;

const MODULES: [&str; 2] = ["order", "product"];

/// A Deployment of one module with what belongs to it. Its document is at 6·n, its Service at 6·n + 1.
fn module(name: &str) -> [Value; 6] {
    let labels = json!({ "app.kubernetes.io/name": name, "version": "v1" });
    let metadata = json!({ "name": name, "namespace": "pangaea" });
    let probe = |path: &str| json!({ "httpGet": { "path": path, "port": "operations" } });
    let container = json!({
        "name": "pangaea", "image": "registry.example/pangaea:0.2.0", "args": ["run"],
        "ports": [{ "name": "http", "containerPort": 8080 }, { "name": "operations", "containerPort": 9090 }],
        "startupProbe": probe("/readyz"), "readinessProbe": probe("/readyz"), "livenessProbe": probe("/healthz"),
        "lifecycle": { "preStop": { "sleep": { "seconds": 5 } } },
        "envFrom": [{ "configMapRef": { "name": name } }],
        "env": [{ "name": "PANGAEA__DATABASE__URL", "valueFrom": { "secretKeyRef": { "name": format!("{name}-database"), "key": "url" } } }],
        "volumeMounts": [{ "name": "seed", "mountPath": "/etc/pangaea/nats" }],
    });
    let pod = json!({
        "serviceAccountName": name, "terminationGracePeriodSeconds": 30, "containers": [container],
        "volumes": [{ "name": "seed", "secret": { "secretName": format!("nats-{name}") } }],
    });
    let address = format!("http://{name}");
    let metric = json!({ "type": "ContainerResource", "containerResource": { "name": "cpu", "container": "pangaea" } });
    let template = json!({ "metadata": { "labels": labels }, "spec": pod });
    [
        json!({ "kind": "Deployment", "metadata": metadata, "spec": {
            "replicas": 3, "selector": { "matchLabels": labels }, "template": template } }),
        json!({ "kind": "Service", "metadata": metadata, "spec": { "selector": labels, "ports": [{ "name": "http", "port": 80, "targetPort": "http" }] } }),
        json!({ "kind": "ConfigMap", "metadata": metadata, "data": { "PANGAEA__MODULES__PAYMENT__OPTIONS__PROVIDER__URL": address } }),
        json!({ "kind": "ServiceAccount", "metadata": metadata }),
        json!({ "kind": "HorizontalPodAutoscaler", "metadata": metadata, "spec": {
            "scaleTargetRef": { "kind": "Deployment", "name": name }, "minReplicas": 3, "maxReplicas": 6, "metrics": [metric] } }),
        json!({ "kind": "HTTPRoute", "metadata": metadata, "spec": { "rules": [{ "backendRefs": [{ "name": name, "port": 80 }] }] } }),
    ]
}

fn overlay() -> Value {
    MODULES.iter().flat_map(|name| module(name)).collect()
}

fn configuration(module: &str) -> BTreeMap<String, String> {
    let modules = format!("[\"{module}\"]");
    let pairs = [
        ("http.listen", "0.0.0.0:8080"),
        ("operations.listen", "0.0.0.0:9090"),
        ("runtime.drain_timeout_ms", "10000"),
        ("runtime.replicas", "3"),
        ("runtime.modules", &modules),
    ];
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// All faults of documents whose hosts are configured as usual, but for one key.
fn faults(documents: &Value, changed: Option<(&str, &str)>) -> Vec<String> {
    let documents = documents.as_array().unwrap();
    let secrets: Known = MODULES
        .iter()
        .flat_map(|name| [(format!("{name}-database"), "url"), (format!("nats-{name}"), "seed")])
        .map(|(name, key)| (name, [key.to_owned()].into()))
        .collect();
    let mut hosts = Vec::new();
    for workload in workloads(documents) {
        for container in workload.containers().iter().filter(|container| is_ours(container)) {
            let mut configuration = configuration(workload.name());
            configuration.extend(changed.map(|(key, value)| (key.to_owned(), value.to_owned())));
            let given = given(&workload, container, Sources { documents, secrets: &[] }, 0);
            hosts.push(Host { workload, container, command: "run".to_owned(), given, configuration });
        }
    }
    let modules = MODULES.map(str::to_owned);
    let mut faults = references::faults(documents, &secrets);
    faults.extend(ports::faults(documents, &hosts));
    faults.extend(ports::url_faults(documents, &hosts, &BTreeSet::from(["chart".to_owned()])));
    faults.extend(placement::faults(documents, &hosts, &modules));
    faults
}

#[test]
fn an_overlay_that_agrees_has_no_fault() {
    assert_eq!(faults(&overlay(), None), Vec::<String>::new());
}

#[test]
fn every_disagreement_is_told() {
    const POD: &str = "/0/spec/template/spec";
    for (pointer, value, expected) in [
        ("/containers/0/startupProbe/httpGet/path", json!("/healthz"), "startupProbe asks GET /healthz"),
        ("/containers/0/livenessProbe/httpGet/path", json!("/readyz"), "livenessProbe asks GET /readyz"),
        ("/containers/0/readinessProbe/httpGet/port", json!("http"), "readinessProbe asks GET /readyz of Some(8080)"),
        ("/containers/0/readinessProbe/httpGet/port", json!("metrics"), "the container has no such port"),
        ("/containers/0/readinessProbe", json!({ "exec": {} }), "no readinessProbe asks GET /readyz"),
        (
            "/containers/0/ports/0/containerPort",
            json!(8081),
            "http.listen is 0.0.0.0:8080, and the container has no such port",
        ),
        ("/containers/0/ports/1/name", json!("metrics"), "the port of operations.listen is named \"metrics\""),
        ("/containers/0/envFrom/0/configMapRef/name", json!("common"), "there is no ConfigMap common"),
        ("/containers/0/env/0/valueFrom/secretKeyRef/key", json!("uri"), "Secret order-database has no key uri"),
        ("/containers/0/env/0/valueFrom/secretKeyRef/name", json!("db"), "there is no Secret db"),
        ("/containers/0/volumeMounts/0/name", json!("nats"), "a mount names the volume nats"),
        ("/volumes/0/secret/secretName", json!("seed"), "there is no Secret seed"),
        ("/serviceAccountName", json!("root"), "there is no ServiceAccount root"),
        ("/terminationGracePeriodSeconds", json!(15), "leave nothing of the grace period of 15000 ms"),
    ] {
        is_told(&format!("{POD}{pointer}"), &value, expected);
    }
    for (pointer, value, expected) in [
        ("/1/spec/selector", json!({ "app": "order" }), "Service order: its selector chooses no pod"),
        ("/1/spec/ports/0/targetPort", json!("web"), "has the targetPort \"web\""),
        ("/1/spec/ports/0/port", json!(8080), "there is no Service order with port 80"),
        ("/4/spec/scaleTargetRef/name", json!("orders"), "there is no Deployment orders to scale"),
        ("/4/spec/metrics/0/containerResource/container", json!("order"), "order has no container order to measure"),
        ("/0/spec/selector", json!({}), "order's selector takes the pods of Deployment product as well"),
        ("/5/spec/rules/0/backendRefs/0/name", json!("orders"), "HTTPRoute order: there is no Service orders"),
        ("/5/spec/rules/0/backendRefs/0/port", json!(8080), "Service order has no port 8080"),
        (
            "/2/data",
            json!({ "PANGAEA__BUS__URL": "nats://chart,nats://nats" }),
            "there is no Service nats with port 4222",
        ),
    ] {
        is_told(pointer, &value, expected);
    }
}

fn is_told(pointer: &str, value: &Value, expected: &str) {
    let mut documents = overlay();
    *documents.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = value.clone();
    let faults = faults(&documents, None);
    assert!(faults.iter().any(|fault| fault.contains(expected)), "{pointer}: {faults:#?}");
}

#[test]
fn a_configuration_that_does_not_fit_is_told() {
    for (key, value, expected) in [
        ("http.listen", "127.0.0.1:8080", "nobody outside of the pod"),
        ("operations.listen", "0.0.0.0:9091", "operations.listen is 0.0.0.0:9091"),
        ("runtime.drain_timeout_ms", "25000", "leave nothing of the grace period"),
        ("runtime.replicas", "1", "up to 6 pods run, and the program is told of 1"),
        ("runtime.replicas", "7", "PANGAEA__RUNTIME__REPLICAS is 7"),
        ("runtime.modules", "[\"order\"]", "no workload hosts the module product"),
        ("runtime.modules", "[\"order\"]", "the module order is hosted by {\"order\", \"product\"}"),
        ("runtime.modules", "[]", "the module product is hosted by {\"order\", \"product\"}"),
        ("runtime.modules", "[\"basket\"]", "the program has no module basket"),
    ] {
        let faults = faults(&overlay(), Some((key, value)));
        assert!(faults.iter().any(|fault| fault.contains(expected)), "{key}={value}: {faults:#?}");
    }
}

#[test]
fn two_releases_of_a_module_side_by_side_are_one_host() {
    let mut documents = overlay();
    let mut canary = documents[0].clone();
    canary["metadata"]["name"] = "order-v2".into();
    for labels in ["/spec/selector/matchLabels", "/spec/template/metadata/labels"] {
        canary.pointer_mut(labels).unwrap()["version"] = "v2".into();
    }
    documents.as_array_mut().unwrap().push(canary);
    let faults = faults(&documents, Some(("runtime.modules", "[\"order\", \"product\"]")));
    assert!(faults.iter().any(|fault| fault.contains("is hosted by {\"order\", \"product\"}")), "{faults:#?}");
    assert!(!faults.iter().any(|fault| fault.contains("order-v2")), "{faults:#?}");
}

#[test]
fn a_secret_is_made_by_a_command_that_names_the_whole_of_it() {
    let readme = "roles `reader` and `verifier`\nkubectl -n pangaea create secret generic reader-database --from-literal=url=x\n";
    assert!(is_made_by_hand(readme, "reader-database"));
    for name in ["reader", "database", "reader-data", "verifier", "verifier-database"] {
        assert!(!is_made_by_hand(readme, name), "{name}");
    }
}

#[test]
fn secrets_that_cannot_be_printed_are_a_fault_and_no_missing_tool() {
    let mut outcome = Outcome::default();
    assert!(printed(&Program::at("/bin/false".into()), &mut outcome).is_none());
    assert!(outcome.missing.is_empty() && outcome.failed.len() == 1, "{outcome:?}");
    assert!(outcome.failed[0].contains("`pangaea secrets --format kubernetes`: ended with"), "{outcome:?}");
}
