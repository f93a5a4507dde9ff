//! Rules for Services, network policies and what a mesh needs of both.

use serde_json::Value;

use super::objects::{Fault, Objects, Workload, list, mark, number, selects, takes, text};

/// What NATS speaks its own protocol on: clients, and servers among each other.
const NATS_PORTS: [u64; 2] = [4222, 6222];
const OPAQUE: &str = "config.linkerd.io/opaque-ports";

/// How a mesh's traffic reaches a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mesh {
    Linkerd,
    IstioAmbient,
    Consul,
}

/// A mesh that has to guess a protocol guesses late or wrongly.
pub(super) fn app_protocol(objects: &Objects<'_>) -> Vec<Fault> {
    let unmarked = |service: &Value| {
        let ports = list(service, "/spec/ports").iter().filter(|port| port.get("appProtocol").is_none());
        ports.map(|port| Fault::new(service, format!("port {} has no appProtocol", shown(port)))).collect::<Vec<_>>()
    };
    objects.of_kind("Service").flat_map(unmarked).collect()
}

/// NATS speaks first: a proxy that waits for the client's first bytes stalls every connection.
pub(super) fn nats_marks(objects: &Objects<'_>) -> Vec<Fault> {
    let of_services = objects.of_kind("Service").flat_map(|service| {
        let ports = list(service, "/spec/ports").iter();
        let nats = ports.filter_map(|port| number(port, "/port").filter(|p| NATS_PORTS.contains(p)).map(|p| (p, port)));
        nats.filter_map(|(number, port)| {
            let protocol = text(port, "/appProtocol");
            // None at all is another rule's finding.
            if !matches!(protocol, "" | "tcp") {
                return Some(Fault::new(service, format!("port {number} has appProtocol {protocol} and not tcp")));
            }
            let is_marked = is_opaque(service, number);
            (!is_marked).then(|| Fault::new(service, format!("add {number} to its annotation {OPAQUE}")))
        })
        .collect::<Vec<_>>()
    });
    let of_pods = objects.workloads().flat_map(|workload| {
        let ports = workload.ports().filter(|port| NATS_PORTS.contains(port));
        let unmarked = ports.filter(move |port| !is_opaque(workload.template, *port));
        unmarked.map(move |port| Fault::new(workload.document, format!("add {port} to its pods' annotation {OPAQUE}")))
    });
    of_services.chain(of_pods).collect()
}

fn is_opaque(object: &Value, port: u64) -> bool {
    mark(object, "annotations", OPAQUE).split(',').any(|marked| match marked.trim().split_once('-') {
        Some((from, to)) => {
            from.parse().is_ok_and(|from: u64| from <= port) && to.parse().is_ok_and(|to: u64| port <= to)
        }
        None => marked.trim().parse() == Ok(port),
    })
}

/// A Service whose selector or target port fits no pod here answers nobody.
pub(super) fn service_selects_nobody(objects: &Objects<'_>) -> Vec<Fault> {
    let of_selector = |service: &Value| {
        let selector = service.pointer("/spec/selector").filter(|selector| !selector.is_null())?;
        let taken: Vec<_> = objects.workloads().filter(|workload| selects(Some(selector), workload.labels())).collect();
        if taken.is_empty() {
            return Some(Fault::new(service, "its selector fits no pod"));
        }
        let mut ports = list(service, "/spec/ports").iter();
        let lost = ports.find(|port| {
            let target = port.get("targetPort").or_else(|| port.get("port")).unwrap_or(&Value::Null);
            taken.iter().all(|workload| workload.port(target).is_none())
        })?;
        Some(Fault::new(service, format!("the target of port {} is no port of its pods", shown(lost))))
    };
    objects.of_kind("Service").filter_map(of_selector).collect()
}

/// A pod that no policy takes for what comes in is open to the whole cluster.
pub(super) fn unguarded_pod(objects: &Objects<'_>) -> Vec<Fault> {
    let is_guarded = |workload: &Workload<'_>| policies(objects, *workload, "Ingress").next().is_some();
    let open = objects.workloads().filter(|workload| !is_guarded(workload));
    open.map(|workload| Fault::new(workload.document, "no NetworkPolicy limits who reaches its pods")).collect()
}

/// Where policies let a pod's own port through and not the mesh's, nothing gets through.
pub(super) fn mesh_ports(objects: &Objects<'_>) -> Vec<Fault> {
    let fault = |workload: Workload<'_>| {
        let mesh = Mesh::of(objects, workload)?;
        let port = mesh.port();
        let directions = ["Ingress", "Egress"].into_iter().filter(|direction| {
            let has_policy = policies(objects, workload, direction).next().is_some();
            has_policy && !policies(objects, workload, direction).any(|policy| lets(policy, direction, port))
        });
        let directions: Vec<_> = directions.collect();
        let why = format!(
            "its network policies stop {mesh:?}: none allows port {port} for {}",
            directions.join(" and ").to_lowercase()
        );
        (!directions.is_empty()).then(|| Fault::new(workload.document, why))
    };
    objects.workloads().filter_map(fault).collect()
}

/// The policies of that direction that take the workload's pods.
fn policies<'a>(objects: &Objects<'a>, workload: Workload<'a>, direction: &str) -> impl Iterator<Item = &'a Value> {
    let direction = direction.to_owned();
    objects.of_kind("NetworkPolicy").filter(move |policy| {
        let types = list(policy, "/spec/policyTypes");
        // Without types a policy is for what comes in, and for what goes out if it says anything of it.
        let is_meant = if types.is_empty() {
            direction == "Ingress" || policy.pointer("/spec/egress").is_some()
        } else {
            types.iter().any(|kind| *kind == direction.as_str())
        };
        let is_here = policy["metadata"]["namespace"] == workload.document["metadata"]["namespace"];
        is_meant && is_here && takes(&policy["spec"]["podSelector"], workload.labels())
    })
}

/// Whether any rule of the policy allows this TCP port, for whomever.
fn lets(policy: &Value, direction: &str, port: u64) -> bool {
    list(policy, &format!("/spec/{}", direction.to_lowercase())).iter().any(|rule| {
        let ports = list(rule, "/ports");
        ports.is_empty()
            || ports.iter().filter(|entry| matches!(text(entry, "/protocol"), "" | "TCP")).any(|entry| {
                match (number(entry, "/port"), number(entry, "/endPort")) {
                    (Some(from), Some(to)) => (from..=to).contains(&port),
                    (Some(only), None) => only == port,
                    // By name, and a proxy's ports have none in the pod's spec; without a port it is all of them.
                    (None, _) => entry.get("port").is_none(),
                }
            })
    })
}

fn shown(port: &Value) -> String {
    port.get("name").and_then(Value::as_str).map_or_else(|| port["port"].to_string(), str::to_owned)
}

// === impl Mesh ===

impl Mesh {
    /// The mesh that the pod's or its namespace's marks ask for. An Istio sidecar is left out: its traffic arrives at the
    /// pod's own port.
    fn of(objects: &Objects<'_>, workload: Workload<'_>) -> Option<Self> {
        let namespace = objects.namespace_of(workload).unwrap_or(&Value::Null);
        let asked = |of: &str, key: &str| {
            let own = mark(workload.template, of, key);
            if own.is_empty() { mark(namespace, of, key) } else { own }.to_owned()
        };
        if matches!(asked("annotations", "linkerd.io/inject").as_str(), "enabled" | "ingress") {
            return Some(Self::Linkerd);
        }
        if asked("labels", "istio.io/dataplane-mode") == "ambient" {
            return Some(Self::IstioAmbient);
        }
        (asked("annotations", "consul.hashicorp.com/connect-inject") == "true").then_some(Self::Consul)
    }

    /// Where the mesh's traffic arrives at a pod.
    fn port(self) -> u64 {
        match self {
            Self::Linkerd => 4143,
            Self::IstioAmbient => 15008,
            Self::Consul => 20000,
        }
    }
}
