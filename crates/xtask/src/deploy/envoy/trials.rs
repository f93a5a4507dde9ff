//! What is asked of an Envoy with stub upstreams: shares, tries and ejections.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};

use super::bootstrap::Pods;
use super::http::{Client, Stub};
use super::model::{Rule, Traffic};
use super::processes::Envoy;

/// Requests of a trial of shares, and the connections that they come on.
const REQUESTS: u64 = 4_000;
const CONNECTIONS: u64 = 4;

/// Where and with what a trial runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bench<'a> {
    pub(super) envoy: &'a Path,
    pub(super) folder: &'a Path,
    /// The names of all modules.
    pub(super) modules: &'a [String],
}

/// Reads go to the next release in the share that the manifests say; writes stay with the present one.
///
/// # Errors
/// When the share is off by more than five standard deviations, which happens by chance once in a million times.
pub(super) fn canary(bench: Bench<'_>, name: &str, traffic: &Traffic) -> Result<String> {
    let next_share = share_of_next(traffic).context("no rule for reads of /v1/products splits between two releases")?;
    let stubs = [Stub::start("v1", 200)?, Stub::start("v2", 200)?];
    let mut pods = Pods::default();
    for (stub, version) in stubs.iter().zip(["v1", "v2"]) {
        bench.modules.iter().for_each(|module| pods.add(module, version, stub.address));
    }
    let envoy = Envoy::start(bench.envoy, name, traffic, &pods, bench.folder)?;
    let seen = count_of_next(envoy.address)?;
    let requests = REQUESTS as f64;
    let expected = requests * next_share;
    let allowed = 5.0 * (requests * next_share * (1.0 - next_share)).sqrt();
    ensure!(
        (seen as f64 - expected).abs() <= allowed,
        "{seen} of {REQUESTS} reads went to the next release; the manifests say {expected:.0}, give or take {allowed:.0}"
    );
    let mut client = envoy.client();
    for _ in 0..100 {
        let reply = client.send("POST", "/v1/products", &[], "{}")?;
        ensure!(reply.headers.get("x-stub").is_some_and(|stub| stub == "v1"), "a write went to the next release");
    }
    Ok(format!(
        "{seen} of {REQUESTS} reads went to the next release ({expected:.0} ± {allowed:.0} allowed), and none of 100 writes"
    ))
}

/// The share of the lesser of two backends of the rule that reads of the catalogue meet.
fn share_of_next(traffic: &Traffic) -> Option<f64> {
    let splits = |rule: &&Rule| rule.module == "product" && rule.backends.len() == 2;
    let rule = traffic.rules.iter().find(splits)?;
    let of_next = |cluster: &str| traffic.clusters[cluster].version.as_deref() == Some("v2");
    let sum: u64 = rule.backends.iter().map(|backend| backend.weight).sum();
    let next = rule.backends.iter().find(|backend| of_next(&backend.cluster))?;
    Some(next.weight as f64 / sum as f64)
}

fn count_of_next(address: SocketAddr) -> Result<u64> {
    let next = AtomicU64::new(0);
    let ask = || -> Result<()> {
        let mut client = Client::new(address);
        for _ in 0..REQUESTS / CONNECTIONS {
            let reply = client.get("/v1/products?limit=1", &[])?;
            ensure!(reply.status == 200, "a read was answered with {}: {}", reply.status, reply.body);
            next.fetch_add(u64::from(reply.headers.get("x-stub").is_some_and(|stub| stub == "v2")), Ordering::Relaxed);
        }
        Ok(())
    };
    thread::scope(|scope| {
        let asking: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(ask)).collect();
        let ended =
            asking.into_iter().map(|one| one.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a client panicked"))));
        ended.collect::<Result<Vec<()>>>()
    })?;
    Ok(next.into_inner())
}

/// A POST that fails is sent once, and a GET that fails again.
///
/// # Errors
/// When the upstream counts anything else.
pub(super) fn tries(bench: Bench<'_>, name: &str, traffic: &Traffic) -> Result<Vec<String>> {
    let stubs: Vec<_> = bench.modules.iter().map(|module| Stub::start(module, 503)).collect::<Result<_>>()?;
    let mut pods = Pods::default();
    for (module, stub) in bench.modules.iter().zip(&stubs) {
        // Both releases fail; of a canary's there is only one pod anyway.
        ["v1", "v2"].iter().for_each(|version| pods.add(module, version, stub.address));
    }
    let envoy = Envoy::start(bench.envoy, name, traffic, &pods, bench.folder)?;
    let mut client = envoy.client();
    let mut said = Vec::new();
    for (module, path) in [("payment", "/v1/payments"), ("order", "/v1/orders"), ("order", "/v1/orders/x/refunds")] {
        let stub = stub_of(bench, module, &stubs)?;
        let before = stub.count("POST");
        let reply = client.send("POST", path, &[("idempotency-key", "once")], "{}")?;
        let tries = stub.count("POST") - before;
        ensure!(reply.status == 503, "POST {path} of a failing {module} is answered with {}", reply.status);
        ensure!(
            tries == 1,
            "POST {path} was sent {tries} times to a failing {module}: its rule needs `retries: {{attempts: 0}}`"
        );
        said.push(format!("a failing POST {path} is sent once"));
    }
    for (module, path) in [("payment", "/v1/payments"), ("order", "/v1/orders"), ("product", "/v1/products")] {
        let stub = stub_of(bench, module, &stubs)?;
        let before = stub.count("GET");
        client.get(path, &[])?;
        let tries = stub.count("GET") - before;
        ensure!(tries > 1, "GET {path} was sent {tries} times to a failing {module}: a read may be tried again");
        said.push(format!("a failing GET {path} is sent {tries} times"));
    }
    Ok(said)
}

fn stub_of<'a>(bench: Bench<'_>, module: &str, stubs: &'a [Stub]) -> Result<&'a Stub> {
    let found = bench.modules.iter().position(|one| *one == module).and_then(|number| stubs.get(number));
    found.with_context(|| format!("no stub of {module}"))
}

/// A replica that fails gets no more requests, and clients stop to notice it.
///
/// # Errors
/// When it still gets some.
pub(super) fn ejection(bench: Bench<'_>, name: &str, traffic: &Traffic) -> Result<String> {
    let has_detection =
        traffic.clusters.values().any(|cluster| cluster.module == "product" && cluster.outliers.is_some());
    ensure!(has_detection, "no DestinationRule of product has an outlierDetection");
    let stubs = [Stub::start("good", 200)?, Stub::start("bad", 500)?, Stub::start("good", 200)?];
    let mut pods = Pods::default();
    for stub in &stubs {
        bench.modules.iter().for_each(|module| pods.add(module, "v1", stub.address));
    }
    let envoy = Envoy::start(bench.envoy, name, traffic, &pods, bench.folder)?;
    let mut client = envoy.client();
    let mut failed = 0;
    for _ in 0..100 {
        failed += u64::from(client.get("/v1/products", &[])?.status != 200);
    }
    let before = stubs[1].count("GET");
    ensure!(before > 0, "the failing replica was never asked");
    for number in 0..200 {
        let status = client.get("/v1/products", &[])?.status;
        ensure!(status == 200, "request {number} after the ejection is answered with {status}");
    }
    let after = stubs[1].count("GET");
    ensure!(after == before, "the failing replica got {} requests after it had failed {before} times", after - before);
    Ok(format!(
        "one of three replicas is ejected after {before} failures ({failed} seen by clients), and then gets none of 200"
    ))
}
