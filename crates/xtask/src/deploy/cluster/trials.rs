//! What must hold of the store in the cluster.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::{Value, json};

use super::images::TOOLS;
use super::node::{NAME, Node};
use super::programs::Programs;
use super::store::{NAMESPACE, Store};
use crate::deploy::load::Load;
use crate::deploy::objects::{name, text};
use crate::deploy::render::{documents, render};
use crate::deploy::running::eventually;
use crate::deploy::{Context, Outcome};

const PROBES: [&str; 2] = ["default", NAMESPACE];
const ADDRESS_WITHIN: Duration = Duration::from_secs(120);
/// Metrics come every 15 s, an autoscaler waits for 30 s and looks every 15 s.
const SCALED_MAX: Duration = Duration::from_secs(110);
const IN_THE_MIDDLE: Duration = Duration::from_secs(4);
/// As long as the load beside it.
const SHADOW_LASTS: &str = "1m";
const COMPONENT: &str = "/spec/template/metadata/labels/app.kubernetes.io~1component";
pub(super) const MODULE_LABEL: &str = "app.kubernetes.io/component=module";

/// Apart, then together. What is found is added; a fault ends it, since the rest would be told of it as well.
///
/// # Errors
/// With the fault.
pub(super) fn all(ctx: &Context, node: &Node, programs: &Programs, outcome: &mut Outcome) -> Result<()> {
    let store = Store::new(ctx, node, &programs.store)?;
    let mut tell = |line: String| {
        println!("ok so far: {line}");
        outcome.passed.push(line);
    };
    tell(installs(&store)?);
    let url = gateway(&store)?;
    store.stock(&url)?;
    tell(takes_orders(&store, &url)?);
    // Early: it first copies all that was ordered.
    tell(shadows(&store, &url)?);
    tell(policies_hold(&store)?);
    tell(memory(&store, &url)?);
    tell(rolls(&store, &url)?);
    tell(survives(
        &store,
        &url,
        "every module's pods are killed at once",
        &["-l", MODULE_LABEL, "--force", "--grace-period=0"],
    )?);
    tell(survives(&store, &url, "broker and database are started again", &["nats-0", "postgres-0"])?);
    tell(scales(&store, &url)?);
    tell(ingress(&store)?);
    tell(verifies(&store)?);
    tell(together(&store)?);
    Ok(())
}

fn installs(store: &Store<'_>) -> Result<String> {
    store.follow("apply -k deploy/k8s/overlays/minikube-apart")?;
    let sets = store.wait_rolled_out()?;
    let pods = store.get(&["pods", "-l", MODULE_LABEL])?.len();
    Ok(format!(
        "minikube-apart, by the guide's commands: provisioned, {sets} Deployments and StatefulSets ready, {pods} pods of modules"
    ))
}

/// The gateway's address.
fn gateway(store: &Store<'_>) -> Result<String> {
    let words = [
        "get",
        "service",
        "--namespace",
        "envoy-gateway-system",
        "--output",
        "json",
        "-l",
        "gateway.envoyproxy.io/owning-gateway-name=pangaea",
    ];
    eventually(ADDRESS_WITHIN, || {
        let answer = store.node.kubectl().ask(&words, &[]).map_err(|error| anyhow!(error))?;
        let answer: Value = serde_json::from_str(&answer)?;
        let address = text(&answer, "/items/0/spec/clusterIP");
        ensure!(!address.is_empty(), "the gateway gets no Service: {answer}");
        Ok(format!("http://{address}"))
    })
}

pub(super) fn takes_orders(store: &Store<'_>, url: &str) -> Result<String> {
    let load = store.load(url, 400, 50)?;
    ensure!(load.all_confirmed(), "through the gateway: {}", load.shown());
    Ok(format!("through the gateway, by path: {}", load.shown()))
}

/// From a pod that no policy names, in the store's namespace and in another one: nothing of the store answers. From where the
/// policies allow it everything does, or no order would be confirmed.
fn policies_hold(store: &Store<'_>) -> Result<String> {
    for namespace in PROBES {
        store.node.kubectl().make(&[&probe(namespace)])?;
        let ready = ["wait", "--namespace", namespace, "--for=condition=Ready", "pod/probe", "--timeout=1m"];
        store.node.kubectl().ask(&ready, &[]).map_err(|error| anyhow!("probe in {namespace}: {error}"))?;
    }
    let mut closed = 0;
    for pod in
        store.get(&["pods"])?.iter().filter(|pod| text(pod, "/status/phase") == "Running" && name(pod) != "probe")
    {
        for port in ports(pod) {
            for namespace in PROBES {
                let is_open = reaches(store, namespace, text(pod, "/status/podIP"), port);
                ensure!(!is_open, "a pod in {namespace} that no policy names reaches {} on {port}", name(pod));
                closed += 1;
            }
        }
    }
    // The negative: the same pods reach what their policies open, so that it is not their own network that fails.
    let dns = store
        .node
        .kubectl()
        .ask(&["get", "pods", "-n", "kube-system", "-o", "json"], &[])
        .map_err(|error| anyhow!(error))?;
    let dns: Value = serde_json::from_str(&dns)?;
    for namespace in PROBES {
        let is_open = reaches(store, namespace, text(&dns, "/items/0/status/podIP"), 53);
        ensure!(is_open, "a pod in {namespace} does not reach the cluster's DNS");
    }
    for namespace in PROBES {
        let _ = store.node.kubectl().ask(&["delete", "pod", "probe", "-n", namespace, "--grace-period=1"], &[]);
    }
    Ok(format!(
        "network policies: {closed} ways into the store's pods are closed to pods that no policy names, in two namespaces"
    ))
}

fn ports(pod: &Value) -> Vec<u64> {
    let containers = crate::deploy::objects::list(pod, "/spec/containers").iter();
    let ports = containers.flat_map(|container| crate::deploy::objects::list(container, "/ports"));
    ports.filter_map(|port| port["containerPort"].as_u64()).collect()
}

/// Restricted, as the store's namespace demands.
pub(super) fn probe(namespace: &str) -> Value {
    let image = TOOLS.trim_start_matches("docker.io/library/");
    let own = json!({ "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } });
    let pod = json!({ "runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": { "type": "RuntimeDefault" } });
    let container =
        json!({ "name": "probe", "image": image, "imagePullPolicy": "IfNotPresent", "securityContext": own });
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "probe", "namespace": namespace },
        "spec": { "securityContext": pod, "automountServiceAccountToken": false, "containers": [container] },
    })
}

fn reaches(store: &Store<'_>, namespace: &str, address: &str, port: u64) -> bool {
    let port = port.to_string();
    let words = [
        "exec",
        "-n",
        namespace,
        "probe",
        "--",
        "/bin/busybox",
        "nc",
        "-w",
        "1",
        address,
        &port,
        "-e",
        "/bin/busybox",
        "true",
    ];
    store.node.kubectl().ask(&words, &[]).is_ok()
}

/// What each module's pods hold under load: of their limits, and for the guide's requests.
fn memory(store: &Store<'_>, url: &str) -> Result<String> {
    let load = store.load(url, 3_000, 100)?;
    ensure!(load.all_confirmed(), "at 100 orders/s: {}", load.shown());
    let path = format!("/api/v1/nodes/{NAME}/proxy/metrics/resource");
    let said = store.node.kubectl().raw(&path).map_err(|error| anyhow!("{path}: {error}"))?;
    let most = most_by_module(&said);
    ensure!(most.len() >= 4, "the kubelet tells no memory of the modules' pods: {said}");
    let shown: Vec<_> = most.iter().map(|(module, bytes)| format!("{module} {:.0}", bytes / 1e6)).collect();
    Ok(format!("memory of the largest pod of each at 100 orders/s, in MB: {}; {}", shown.join(", "), load.shown()))
}

/// The largest working set of each Deployment's pods, in bytes: their names are `<deployment>-<hash>-<id>`.
fn most_by_module(metrics: &str) -> BTreeMap<String, f64> {
    let mut most = BTreeMap::new();
    for line in
        metrics.lines().filter(|line| line.starts_with("container_memory_working_set_bytes{container=\"pangaea\""))
    {
        let pod = line.split("pod=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
        let module = pod.rsplitn(3, '-').last().unwrap_or(pod);
        let bytes = line.rsplit(['}']).next().and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
        let entry = most.entry(module.to_owned()).or_insert(0.0_f64);
        *entry = entry.max(bytes.unwrap_or_default());
    }
    most
}

/// Every Deployment of modules is rolled while orders come in.
pub(super) fn rolls(store: &Store<'_>, url: &str) -> Result<String> {
    let mut load = store.start_load(url, 4_000, 30)?;
    sleep(IN_THE_MIDDLE);
    let began = Instant::now();
    let sets = store.get(&["deployments"])?;
    let modules = sets.iter().filter(|set| text(set, COMPONENT) == "module").map(name);
    store.kubectl(&["rollout", "restart", "deployment"].into_iter().chain(modules).collect::<Vec<_>>())?;
    store.wait_rolled_out()?;
    let took = began.elapsed().as_secs();
    let is_over = load.try_wait()?.is_some();
    let load = Load::of(load)?;
    ensure!(load.all_confirmed(), "while every Deployment was rolled: {}", load.shown());
    ensure!(!is_over, "the load was over before the Deployments were rolled ({took} s): make it longer");
    Ok(format!("rolling every module at once took {took} s, and nobody noticed: {}", load.shown()))
}

/// Pods go in the middle of a load. Clients may see errors then; what was accepted is kept.
pub(super) fn survives(store: &Store<'_>, url: &str, what: &str, pods: &[&str]) -> Result<String> {
    let load = store.start_load(url, 1_200, 40)?;
    sleep(IN_THE_MIDDLE);
    store.kubectl(&[&["delete", "pod", "--wait=false"][..], pods].concat())?;
    let load = Load::of(load)?;
    ensure!(
        load.kept_all() && load.number("accepted").is_some_and(|accepted| accepted > 0),
        "{what}: {}",
        load.shown()
    );
    store.wait_rolled_out()?;
    let after = store.load(url, 100, 20)?;
    ensure!(after.all_confirmed(), "after {what}: {}", after.shown());
    Ok(format!("{what}: {}; afterwards no error", load.shown()))
}

/// Autoscalers measure, and one whose target is within this machine's reach adds a pod.
fn scales(store: &Store<'_>, url: &str) -> Result<String> {
    // There is room for one more pod and the jobs of the steps after this one.
    let target = json!([
        { "op": "replace", "path": "/spec/metrics/0/containerResource/target/averageUtilization", "value": 5 },
        { "op": "replace", "path": "/spec/maxReplicas", "value": 4 },
    ])
    .to_string();
    let mut load = store.start_load(url, 15_000, 100)?;
    store.kubectl(&["patch", "hpa", "order", "--type=json", "-p", &target])?;
    let until = Instant::now() + SCALED_MAX;
    let pods = loop {
        let scalers = store.get(&["hpa"])?;
        let blind = scalers.iter().find(|scaler| measured(scaler).is_none()).map(name);
        let order = scalers.iter().find(|scaler| name(scaler) == "order").context("no autoscaler of order")?;
        let wanted = order.pointer("/status/desiredReplicas").and_then(Value::as_u64).unwrap_or_default();
        if blind.is_none() && wanted > 3 {
            break wanted;
        }
        let status = &order["status"];
        ensure!(load.try_wait()?.is_none(), "the load ended before order got a pod: {}", Load::of(load)?.shown());
        ensure!(Instant::now() < until, "{blind:?} measures nothing, or order's autoscaler adds no pod: {status}");
        sleep(Duration::from_secs(2));
    };
    store.wait_rolled_out()?;
    let is_over = load.try_wait()?.is_some();
    let load = Load::of(load)?;
    ensure!(load.all_confirmed() && !is_over, "while order got {pods} pods: {}", load.shown());
    // The next overlay makes it again. What is left alone goes back after five minutes.
    store.kubectl(&["delete", "hpa", "order"])?;
    store.kubectl(&["scale", "deployment/order", "--replicas=3"])?;
    store.wait_rolled_out()?;
    Ok(format!("autoscaling: order got {pods} pods under load, and nobody noticed: {}", load.shown()))
}

/// Of the processor's share that is asked for, in percent, what an autoscaler sees its pods take.
fn measured(scaler: &Value) -> Option<u64> {
    scaler.pointer("/status/currentMetrics/0/containerResource/current/averageUtilization")?.as_u64()
}

/// The same store behind an Ingress.
fn ingress(store: &Store<'_>) -> Result<String> {
    let documents = documents(include_str!("traefik.yaml"))?;
    store.node.kubectl().make(&documents.iter().collect::<Vec<_>>())?;
    let rollout = ["--namespace", "traefik", "rollout", "status", "deployment/traefik", "--timeout=2m"];
    store.node.kubectl().ask(&rollout, &[]).map_err(|error| anyhow!("traefik: {error}"))?;
    store.follow("apply -k deploy/k8s/overlays/minikube-ingress-traefik")?;
    let url = format!("http://{}", store.address("traefik", "traefik")?);
    store.wait_served(&url)?;
    let load = store.load(&url, 400, 50)?;
    ensure!(load.all_confirmed(), "through Traefik: {}", load.shown());
    Ok(format!("minikube-ingress-traefik: {}", load.shown()))
}

/// The guide's gate.
fn verifies(store: &Store<'_>) -> Result<String> {
    let said = store.follow("apply -k deploy/k8s/overlays/minikube-verify")?;
    ensure!(said.contains("leads product"), "deploy/gate.sh finds no leader: {said}");
    let last =
        said.lines().rev().find(|line| line.contains("hold")).context("the job says of nothing that it holds")?;
    Ok(format!("deploy/gate.sh and minikube-verify, by the guide's commands: {}", last.trim()))
}

/// The guide's roles, tables for the next release, and its handlers beside the leader's, for a minute in place of the overlay's ten.
fn shadows(store: &Store<'_>, url: &str) -> Result<String> {
    store.follow("CREATE ROLE verifier")?;
    store.follow("apply -k deploy/k8s/overlays/minikube-provision-next")?;
    let mut documents = render(store.ctx, "minikube-shadow")?;
    let lasts = documents.iter_mut().find_map(|document| document.pointer_mut("/data/LASTS"));
    *lasts.context("minikube-shadow says nowhere how long it lasts")? = SHADOW_LASTS.into();
    store.node.kubectl().make(&documents.iter().collect::<Vec<_>>())?;
    let load = store.load(url, 1_200, 20)?;
    ensure!(load.all_confirmed(), "beside a shadow: {}", load.shown());
    store
        .kubectl(&["wait", "--for=condition=complete", "job/shadow", "--timeout=3m"])
        .with_context(|| store.kubectl(&["logs", "job/shadow", "--tail=20"]).unwrap_or_default())?;
    let said = store.kubectl(&["logs", "job/shadow"])?;
    let last = said.lines().last().context("the shadow says nothing")?;
    Ok(format!("minikube-provision-next and minikube-shadow: {}; {}", last.trim(), load.shown()))
}

/// The other placement, in the same cluster.
fn together(store: &Store<'_>) -> Result<String> {
    store.kubectl(&["delete", "namespace", NAMESPACE, "--timeout=3m"])?;
    store.follow("apply -k deploy/k8s/overlays/minikube-together")?;
    let url = format!("http://{}", store.address(NAMESPACE, "pangaea")?);
    store.stock(&url)?;
    let load = store.load(&url, 200, 40)?;
    ensure!(load.all_confirmed(), "together: {}", load.shown());
    Ok(format!("minikube-together, by the guide's commands: {}", load.shown()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_pod_stands_for_its_deployment() {
        let line = |container: &str, pod: &str, bytes: &str| {
            format!(
                "container_memory_working_set_bytes{{container=\"{container}\",namespace=\"pangaea\",pod=\"{pod}\"}} {bytes} 17\n"
            )
        };
        let metrics = line("pangaea", "order-6f9-abc", "3.5e+07")
            + &line("pangaea", "order-6f9-abd", "1e+06")
            + &line("nats", "nats-0", "9");
        assert_eq!(most_by_module(&metrics), BTreeMap::from([("order".to_owned(), 3.5e7)]));
    }

    #[test]
    fn every_port_of_a_pod_is_tried() {
        let pod = json!({ "spec": { "containers": [{ "ports": [{ "containerPort": 8080 }] }, { "ports": [{ "containerPort": 9090 }] }] } });
        assert_eq!(ports(&pod), [8080, 9090]);
    }
}
