//! Whether what the overlays for Minikube ask for fits into the machine that the guide tells it to make.
//!
//! A pod that does not fit waits for ever, and only its events tell why.

use std::ops::{Add, Mul};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::objects::{Objects, Workload, list, mark, text};

/// What is asked for, or there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Size {
    cpu_m: u64,
    memory_mi: u64,
}

/// kube-apiserver 250, kube-controller-manager 200, kube-scheduler 100, etcd 100, CoreDNS 100, Calico's node 250.
const KUBERNETES: Size = Size { cpu_m: 1_000, memory_mi: 170 };
/// What step 4 of the guide installs: Prometheus, Alertmanager, Grafana, Jaeger, the collector; as deploy/platform and
/// deploy/observability ask for it.
const OBSERVABILITY: Size = Size { cpu_m: 460, memory_mi: 1_600 };
/// Envoy Gateway and a proxy, by their charts' defaults.
const ENVOY_GATEWAY: Size = Size { cpu_m: 200, memory_mi: 768 };
/// istiod 500m and 2 GiB, its CNI plugin, the gateway; ambient has ztunnel and a waypoint besides.
const ISTIO: Size = Size { cpu_m: 700, memory_mi: 2_276 };
const ISTIO_AMBIENT: Size = Size { cpu_m: 1_000, memory_mi: 2_916 };
/// A server, the injector, the API gateway. Its sidecars ask for nothing, and nothing of Linkerd does.
const CONSUL: Size = Size { cpu_m: 250, memory_mi: 500 };
const ISTIO_SIDECAR: Size = Size { cpu_m: 100, memory_mi: 128 };
/// The jobs `shadow` and `verify` of step 5 run beside the store.
const JOBS: u64 = 2;
const JOB: Size = Size { cpu_m: 100, memory_mi: 128 };

/// The size of the guide's Minikube.
///
/// # Errors
/// When the guide does not say it.
pub(super) fn of_guide(readme: &str) -> Result<Size> {
    let line = readme.lines().find(|line| line.starts_with("minikube start ")).context("no `minikube start`")?;
    let option = |name: &str| line.split_whitespace().find_map(|word| word.strip_prefix(name));
    let cpus: u64 = option("--cpus=").context("no --cpus")?.parse()?;
    let memory = option("--memory=").and_then(|text| text.strip_suffix('g')).context("no --memory in g")?;
    Ok(Size { cpu_m: cpus * 1_000, memory_mi: memory.parse::<u64>()? * 1_024 })
}

/// Why these objects, with what the guide puts beside them, do not fit.
pub(super) fn fault(objects: &Objects<'_>, there: Size) -> Option<String> {
    let asked = asked(objects);
    let is_enough = asked.cpu_m <= there.cpu_m && asked.memory_mi <= there.memory_mi;
    (!is_enough).then(|| {
        format!(
            "it asks for {}m of CPU and {} Mi of memory with what stands beside it, and deploy/README.md starts Minikube with \
             {}m and {} Mi: raise --cpus and --memory there",
            asked.cpu_m, asked.memory_mi, there.cpu_m, there.memory_mi
        )
    })
}

/// At its highest: while all Deployments are rolled, each has a pod more.
fn asked(objects: &Objects<'_>) -> Size {
    let has_mark =
        |of: &str, key: &str, value: &str| objects.of_kind("Namespace").any(|one| mark(one, of, key) == value);
    let has_sidecars = has_mark("labels", "istio-injection", "enabled");
    let is_ambient = has_mark("labels", "istio.io/dataplane-mode", "ambient");
    let is_consul = objects.of_kind("Mesh").next().is_some();
    let sidecar = if has_sidecars { ISTIO_SIDECAR } else { Size::default() };
    let pods = objects.workloads().map(|workload| (of_pod(workload) + sidecar) * most_pods(workload));
    let own = pods.fold(Size::default(), Size::add);
    let beside = match (has_sidecars, is_ambient, is_consul) {
        (true, ..) => ISTIO,
        (_, true, _) => ISTIO_AMBIENT,
        (_, _, true) => CONSUL,
        _ => ENVOY_GATEWAY,
    };
    KUBERNETES + OBSERVABILITY + beside + own + (JOB + sidecar) * JOBS
}

fn most_pods(workload: Workload<'_>) -> u64 {
    let is_recreated = text(workload.document, "/spec/strategy/type") == "Recreate";
    let more = text(workload.document, "/kind") == "Deployment" && !is_recreated;
    workload.replicas() + u64::from(more)
}

fn of_pod(workload: Workload<'_>) -> Size {
    let requests = list(workload.template, "/spec/containers").iter().map(|one| &one["resources"]["requests"]);
    requests.fold(Size::default(), |sum, one| {
        sum + Size {
            cpu_m: cpu_m(&one["cpu"]).unwrap_or_default(),
            memory_mi: memory_mi(&one["memory"]).unwrap_or_default(),
        }
    })
}

/// `100m`, `1`, `"2"`.
fn cpu_m(value: &Value) -> Option<u64> {
    match value.as_str() {
        Some(text) => match text.strip_suffix('m') {
            Some(milli) => milli.parse().ok(),
            None => text.parse::<u64>().ok().map(|cpus| cpus * 1_000),
        },
        None => value.as_u64().map(|cpus| cpus * 1_000),
    }
}

/// `128Mi`, `1Gi`.
fn memory_mi(value: &Value) -> Option<u64> {
    let text = value.as_str()?;
    let gibi = text.strip_suffix("Gi").and_then(|number| number.parse::<u64>().ok()).map(|number| number * 1_024);
    gibi.or_else(|| text.strip_suffix("Mi")?.parse().ok())
}

// === impl Size ===

impl Add for Size {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { cpu_m: self.cpu_m + other.cpu_m, memory_mi: self.memory_mi + other.memory_mi }
    }
}

impl Mul<u64> for Size {
    type Output = Self;

    fn mul(self, times: u64) -> Self {
        Self { cpu_m: self.cpu_m * times, memory_mi: self.memory_mi * times }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_the_guides_machine() {
        let readme = "```sh\nminikube start --kubernetes-version=v1.34.4 --cpus=8 --memory=12g\n```\n";
        assert_eq!(of_guide(readme).unwrap(), Size { cpu_m: 8_000, memory_mi: 12_288 });
        for bad in ["", "minikube start --cpus=8\n", "minikube start --memory=12g\n"] {
            assert!(of_guide(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sidecars_and_a_pod_more_for_each_deployment_are_counted() {
        let container = json!({"resources": {"requests": {"cpu": "1", "memory": "1Gi"}}});
        let template = json!({"spec": {"containers": [container]}});
        let deployment = json!({"kind": "Deployment", "spec": {"replicas": 3, "template": template}});
        let job = json!({"kind": "Job", "spec": {"template": template}});
        let plain = [deployment.clone(), job.clone()];
        let beside = KUBERNETES + OBSERVABILITY + ENVOY_GATEWAY + JOB * JOBS;
        let own = Size { cpu_m: 5_000, memory_mi: 5_120 };
        assert_eq!(asked(&Objects::new(&plain)), beside + own);
        let namespace = json!({"kind": "Namespace", "metadata": {"labels": {"istio-injection": "enabled"}}});
        let meshed = [namespace, deployment, job];
        let beside = KUBERNETES + OBSERVABILITY + ISTIO + (JOB + ISTIO_SIDECAR) * JOBS;
        assert_eq!(asked(&Objects::new(&meshed)), beside + own + ISTIO_SIDECAR * 5);
        let exact = asked(&Objects::new(&meshed));
        assert_eq!(fault(&Objects::new(&meshed), exact), None);
        let less = Size { cpu_m: exact.cpu_m - 1, ..exact };
        assert!(fault(&Objects::new(&meshed), less).unwrap().contains("raise --cpus"));
    }

    #[test]
    fn reads_quantities() {
        for (value, expected) in
            [(json!("100m"), Some(100)), (json!("2"), Some(2_000)), (json!(1), Some(1_000)), (json!("x"), None)]
        {
            assert_eq!(cpu_m(&value), expected, "{value}");
        }
        for (value, expected) in [(json!("128Mi"), Some(128)), (json!("1Gi"), Some(1_024)), (json!(5), None)] {
            assert_eq!(memory_mi(&value), expected, "{value}");
        }
    }
}
