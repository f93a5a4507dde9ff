//! What must hold of the store in Istio's mesh.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde_json::{Value, json};

use crate::deploy::cluster::node::Node;
use crate::deploy::cluster::programs::Programs;
use crate::deploy::cluster::store::{NAMESPACE, Store};
use crate::deploy::cluster::trials::{MODULE_LABEL, probe, rolls, survives, takes_orders};
use crate::deploy::load::Load;
use crate::deploy::objects::{list, name, text};
use crate::deploy::running::eventually;
use crate::deploy::{Context, Outcome};

pub(super) const PLAIN: &str = "minikube-istio";
pub(super) const CANARY: &str = "minikube-istio-canary";
/// What the guide promotes to; here the same program.
pub(super) const NEXT: &str = "pangaea:0.3.0";
const BLUE_GREEN: &str = "minikube-istio-bluegreen";
const FAULTS: &str = "minikube-istio-faults";
/// The namespace that the network policies let in, of the ways in.
const EDGE: &str = "istio-ingress";
/// Those that may ask for metrics.
const WATCHERS: &str = "observability";
const SIDECAR: &str = "istio-proxy";
/// Everybody may read it, though not more than 600 times a minute of each replica.
const CATALOGUE: &str = "/v1/products?limit=1";
const READS: u32 = 600;
const FAULTY_READS: u32 = 100;
const TAKES_EFFECT_WITHIN: Duration = Duration::from_secs(60);

/// What is found is added; a fault ends it, since the rest would be told of it as well.
///
/// # Errors
/// With the fault.
pub(super) fn all(ctx: &Context, node: &Node, programs: &Programs, outcome: &mut Outcome) -> Result<()> {
    let store = Store::new(ctx, node, &programs.store)?;
    let mesh = Mesh { store: &store };
    let mut tell = |line: String| {
        println!("ok so far: {line}");
        outcome.passed.push(line);
    };
    tell(mesh.installs()?);
    let url = mesh.gateway()?;
    store.stock(&url)?;
    tell(format!("minikube-istio: {}", takes_orders(&store, &url)?));
    tell(mesh.answers(&url)?);
    tell(mesh.identities()?);
    tell(format!("minikube-istio: {}", rolls(&store, &url)?));
    tell(format!(
        "minikube-istio: {}",
        survives(
            &store,
            &url,
            "every module's pods are killed at once",
            &["-l", MODULE_LABEL, "--force", "--grace-period=0"]
        )?
    ));
    tell(mesh.faults(&url)?);
    tell(mesh.canary(&url)?);
    tell(mesh.blue_green(&url)?);
    tell(mesh.promoted_and_back(&url)?);
    Ok(())
}

struct Mesh<'a> {
    store: &'a Store<'a>,
}

// === impl Mesh ===

impl Mesh<'_> {
    /// By the guide's commands: those of every Minikube, then Istio's.
    fn installs(&self) -> Result<String> {
        self.store.follow_until("apply -k deploy/k8s/overlays/minikube-apart", "apply -k deploy/k8s/overlays")?;
        self.store.follow("pilot.cni.enabled=true")?;
        self.store.kubectl(&["wait", "--for=condition=complete", "job/provision", "--timeout=5m"])?;
        self.store.wait_rolled_out()?;
        let pods = self.store.get(&["pods"])?;
        let running: Vec<_> = pods.iter().filter(|pod| text(pod, "/status/phase") == "Running").collect();
        let alone = running.iter().find(|pod| !has_sidecar(pod));
        ensure!(alone.is_none(), "{} has no sidecar that is ready", name(alone.copied().unwrap_or(&Value::Null)));
        Ok(format!("minikube-istio, by the guide's commands: provisioned, {} pods with sidecars", running.len()))
    }

    /// The gateway's address, once it leads to the store.
    fn gateway(&self) -> Result<String> {
        let url = format!("http://{}", self.store.address(EDGE, "istio-ingressgateway")?);
        let catalogue = format!("{url}{CATALOGUE}");
        self.until("the catalogue is read through the gateway", || Ok(self.status(&catalogue, None)? == 200))?;
        Ok(url)
    }

    /// What a client is answered, before any module hears of it.
    fn answers(&self, url: &str) -> Result<String> {
        let bad = "Authorization: Bearer x";
        let cases = [
            ("the catalogue is open", CATALOGUE, None, 200),
            ("a module's token is asked for", "/v1/orders", None, 403),
            ("a bad token", "/v1/orders", Some(bad), 401),
            ("a bad token where none is needed", CATALOGUE, Some(bad), 401),
            ("a path that no module declares", "/v1/products/a/b", None, 403),
            ("a way that leads to no module", "/metrics", None, 404),
            ("the key set", "/.well-known/jwks.json", None, 200),
        ];
        for (what, path, header, expected) in cases {
            let status = self.status(&format!("{url}{path}"), header)?;
            ensure!(status == expected, "{what}: GET {path} is answered with {status}, not {expected}");
        }
        Ok(format!("minikube-istio: {} answers at the edge are those of the policies: 200, 401, 403, 404", cases.len()))
    }

    /// Where the network policies let a caller through, the mesh asks who it is.
    fn identities(&self) -> Result<String> {
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": WATCHERS } });
        let mut inside = probe(EDGE);
        inside["metadata"] =
            json!({ "name": "probe-inside", "namespace": EDGE, "labels": { "sidecar.istio.io/inject": "true" } });
        let probes = [probe(EDGE), inside, probe(WATCHERS)];
        self.store.node.kubectl().make(&[&namespace, &probes[0], &probes[1], &probes[2]])?;
        for pod in &probes {
            let (namespace, pod) = (text(pod, "/metadata/namespace"), format!("pod/{}", name(pod)));
            let ready = ["wait", "--namespace", namespace, "--for=condition=Ready", &pod, "--timeout=2m"];
            self.store.node.kubectl().ask(&ready, &[]).map_err(|error| anyhow!("{pod} in {namespace}: {error}"))?;
        }
        let (api, operations) = (("product", 80), ("product-operations", 9090));
        let cases = [
            ("a caller without a sidecar", EDGE, "probe", api, CATALOGUE, None),
            ("a caller with another identity than the gateway's", EDGE, "probe-inside", api, CATALOGUE, Some(403)),
            ("metrics, from outside of the mesh", WATCHERS, "probe", operations, "/metrics", Some(200)),
            ("dead letters, from outside of the mesh", WATCHERS, "probe", operations, "/dead-letters", Some(403)),
        ];
        for (what, namespace, pod, (service, port), path, expected) in cases {
            let status = self.status_from(namespace, pod, service, port, path)?;
            ensure!(
                status == expected,
                "{what}: GET {path} of {service} is answered with {status:?}, not {expected:?}"
            );
        }
        for pod in &probes {
            let words = ["delete", "pod", name(pod), "-n", text(pod, "/metadata/namespace"), "--grace-period=1"];
            let _ = self.store.node.kubectl().ask(&words, &[]);
        }
        Ok("minikube-istio: past the network policies, a plain connection is cut, another identity is refused, and of the \
            operations port metrics alone are open"
            .to_owned())
    }

    /// The overlay's faults: for those who ask, about half of the reads late and about a fifth of them refused.
    fn faults(&self, url: &str) -> Result<String> {
        self.apply(FAULTS)?;
        let ask = |header| self.reads(&format!("{url}{CATALOGUE}"), header, FAULTY_READS);
        let faulty = Some("x-pangaea-fault: yes");
        self.until("faults take effect", || Ok(ask(faulty)?.0 < FAULTY_READS))?;
        let began = Instant::now();
        let (good, bad) = ask(faulty)?;
        let late = began.elapsed().as_secs();
        let (others, _) = ask(None)?;
        ensure!((5..=40).contains(&bad), "{bad} of {FAULTY_READS} reads are refused, not about 20");
        ensure!((60..=140).contains(&late), "{FAULTY_READS} reads take {late} s, not about 100");
        ensure!(others == FAULTY_READS, "{others} of {FAULTY_READS} reads of others are answered");
        self.apply(PLAIN)?;
        Ok(format!(
            "minikube-istio-faults: of {FAULTY_READS} reads that ask for faults {bad} are refused and {good} answered, in {late} s; of as many others none"
        ))
    }

    /// 90/10, by a header, 80/20 and back, as the guide tells to.
    fn canary(&self, url: &str) -> Result<String> {
        self.apply(CANARY)?;
        let url = format!("{url}{CATALOGUE}");
        self.until("the next release is asked", || Ok(self.share(&url, None, 50)? > 0))?;
        let tenth = self.share(&url, None, READS)?;
        ensure!((30..=90).contains(&tenth), "{tenth} of {READS} reads go to the next release, not about 60");
        let preview = self.share(&url, Some("x-pangaea-release: v2"), 50)?;
        ensure!(preview == 50, "{preview} of 50 reads that ask for the next release go to it");
        self.store.follow(&canary_block())?;
        self.until("the way back takes effect", || Ok(self.share(&url, None, 50)? == 0))?;
        let back = self.share(&url, None, READS)?;
        ensure!(back == 0, "after `split 100 0` {back} of {READS} reads go to the next release");
        Ok(format!(
            "minikube-istio-canary: {tenth} of {READS} reads go to the next release, all 50 that ask for it, and none of {READS} after \
             `split 100 0`"
        ))
    }

    /// As many pods of the next release, and all reads to them in one step; by the guide's commands.
    fn blue_green(&self, url: &str) -> Result<String> {
        self.store.follow_with(&canary_block(), BLUE_GREEN, Some("split 100 0"))?;
        self.store.wait_rolled_out()?;
        let url = format!("{url}{CATALOGUE}");
        self.until("all reads go to the next release", || Ok(self.share(&url, None, 50)? == 50))?;
        let all = self.share(&url, None, READS)?;
        ensure!(all == u64::from(READS), "after `split 0 100` {all} of {READS} reads go to the next release");
        Ok(format!("minikube-istio-bluegreen: after `split 0 100` all {READS} reads go to the next release"))
    }

    /// The guide's way to the next release and the one back, with orders coming in.
    fn promoted_and_back(&self, url: &str) -> Result<String> {
        let load = self.store.start_load(url, 3_000, 20)?;
        let image = || {
            let deployments = self.store.get(&["deployments"])?;
            let product = deployments.iter().find(|one| name(one) == "product").context("product has no Deployment")?;
            anyhow::Ok(text(product, "/spec/template/spec/containers/0/image").to_owned())
        };
        let before = image()?;
        // This node has no room for a pod more while there are three of each release.
        self.store.kubectl(&["scale", "deployment/product-v2", "--replicas=2"])?;
        self.store.wait_rolled_out()?;
        self.store.follow_with(&canary_block(), "set image deployment/product", None)?;
        let promoted = image()?;
        ensure!(promoted == NEXT && before != NEXT, "{before} is promoted to {promoted}, not to {NEXT}");
        self.store.follow("rollout undo deployment/product")?;
        let back = image()?;
        ensure!(back == before, "after the way back {back} runs, not {before}");
        let load = Load::of(load)?;
        ensure!(load.all_confirmed(), "while product was promoted and rolled back: {}", load.shown());
        let left = self.store.get(&["deployments", "-l", "version=v2"])?;
        ensure!(left.is_empty(), "{} of the canary's Deployments are left", left.len());
        Ok(format!("promoted and rolled back by the guide's commands, and nobody noticed: {}", load.shown()))
    }

    fn apply(&self, overlay: &str) -> Result<()> {
        let folder = self.store.ctx.root.join("deploy/k8s/overlays").join(overlay);
        self.store.kubectl(&["apply", "-k", &folder.to_string_lossy()])?;
        self.store.wait_rolled_out()?;
        Ok(())
    }

    /// How many of so many reads the next release's pods have counted.
    fn share(&self, url: &str, header: Option<&str>, reads: u32) -> Result<u64> {
        let before = self.counted()?;
        let (good, bad) = self.reads(url, header, reads)?;
        ensure!(bad == 0, "{bad} of {} reads fail", good + bad);
        Ok(self.counted()?.saturating_sub(before))
    }

    /// Reads of the catalogue that pods of the next release have answered.
    fn counted(&self) -> Result<u64> {
        let mut sum = 0;
        for pod in self.store.get(&["pods", "-l", "app.kubernetes.io/name=product,version=v2"])? {
            let url = format!("http://{}:9090/metrics", text(&pod, "/status/podIP"));
            sum += reads_in(&self.store.curl(&["--fail", &url])?);
        }
        Ok(sum)
    }

    /// So many reads one after the other: how many are answered, and how many are not.
    fn reads(&self, url: &str, header: Option<&str>, count: u32) -> Result<(u32, u32)> {
        // What is behind `#` is for curl alone.
        let said = self.statuses(&format!("{url}#[1-{count}]"), header)?;
        let good = u32::try_from(said.lines().filter(|status| *status == "200").count())?;
        Ok((good, count - good))
    }

    /// The status that a GET from the node is answered with; 0 where there is no answer.
    fn status(&self, url: &str, header: Option<&str>) -> Result<u16> {
        let said = self.statuses(url, header)?;
        said.trim().parse().with_context(|| format!("curl says: {said}"))
    }

    /// A line for each GET.
    fn statuses(&self, url: &str, header: Option<&str>) -> Result<String> {
        let mut words = vec!["--output", "/dev/null", "--write-out", "%{http_code}\n"];
        words.extend(header.into_iter().flat_map(|header| ["--header", header]));
        words.push(url);
        self.store.curl(&words)
    }

    /// The status that a GET from a pod is answered with, if it is. The program there knows no names of hosts.
    fn status_from(&self, namespace: &str, pod: &str, service: &str, port: u16, path: &str) -> Result<Option<u16>> {
        let address = self.store.address(NAMESPACE, service)?;
        // Who closes its side at once is not answered by Envoy.
        let request =
            format!("GET {path} HTTP/1.1\\r\\nHost: {service}.{NAMESPACE}\\r\\nConnection: close\\r\\n\\r\\n");
        let script = format!("(printf '{request}'; sleep 2) | /bin/busybox nc -w 5 {address} {port}; true");
        let words = ["exec", "-n", namespace, pod, "-c", "probe", "--", "/bin/busybox", "sh", "-c", &script];
        let said =
            self.store.node.kubectl().ask(&words, &[]).map_err(|error| anyhow!("{pod} in {namespace}: {error}"))?;
        Ok(status_in(&said))
    }

    fn until(&self, what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
        eventually(TAKES_EFFECT_WITHIN, || match is_so() {
            Ok(false) => bail!("it is not so: {what}"),
            Ok(true) => Ok(Ok(())),
            // It ends the wait: a read that fails meanwhile is a fault.
            Err(fault) => Ok(Err(fault)),
        })?
    }
}

/// The guide's commands of the canary, which define how reads are split.
fn canary_block() -> String {
    format!("apply -k deploy/k8s/overlays/{CANARY} ")
}

/// Whether the sidecar, which is an init container that goes on, is ready.
fn has_sidecar(pod: &Value) -> bool {
    let statuses = ["/status/initContainerStatuses", "/status/containerStatuses"];
    let mut all = statuses.iter().flat_map(|place| list(pod, place));
    all.any(|status| text(status, "/name") == SIDECAR && status["ready"] == true)
}

/// Of an answer that begins with `HTTP/1.1 403 Forbidden` the number.
fn status_in(answer: &str) -> Option<u16> {
    answer.strip_prefix("HTTP/1.1 ")?.split_whitespace().next()?.parse().ok()
}

/// Requests `GET /v1/products` in a module's metrics.
fn reads_in(metrics: &str) -> u64 {
    let lines = metrics.lines().filter(|line| {
        line.starts_with("http_server_request_duration_seconds_count{")
            && line.contains("http_request_method=\"GET\"")
            && line.contains("http_route=\"/v1/products\"")
    });
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_in_the_first_line_of_an_answer() {
        assert_eq!(status_in("HTTP/1.1 403 Forbidden\r\nserver: istio-envoy\r\n\r\nRBAC: access denied"), Some(403));
        assert_eq!(status_in(""), None);
    }

    #[test]
    fn reads_of_the_catalogue_are_counted_and_others_are_not() {
        let line = |method: &str, route: &str| {
            format!(
                "http_server_request_duration_seconds_count{{http_request_method=\"{method}\",http_route=\"{route}\",http_response_status_code=\"200\"}} 7\n"
            )
        };
        let metrics = line("GET", "/v1/products")
            + &line("GET", "/v1/products")
            + &line("POST", "/v1/products")
            + &line("GET", "/v1/products/{id}");
        assert_eq!(reads_in(&metrics), 14);
    }

    #[test]
    fn a_sidecar_is_a_container_that_is_ready() {
        let pod = |list: &str, ready: bool| json!({ "status": { list: [{ "name": SIDECAR, "ready": ready }] } });
        assert!(has_sidecar(&pod("initContainerStatuses", true)) && has_sidecar(&pod("containerStatuses", true)));
        assert!(!has_sidecar(&pod("initContainerStatuses", false)) && !has_sidecar(&json!({})));
    }
}
