//! One address for the overlay's routes, in place of the gateway that a cluster has.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde_json::Value;

use super::pods::Pods;
use super::replicas::Children;
use crate::deploy::objects::{is_ours, list, number, of_kind, text};
use crate::deploy::program::Program;
use crate::process::{Signal, free_port, tied_to_us};

const START_MAX: Duration = Duration::from_secs(10);

/// Starts `pangaea edge` with the paths of the overlay's HTTPRoutes or Ingresses; every replica behind a Service is served.
/// An overlay without any has one Service, which needs no edge.
///
/// # Errors
/// When a route leads to no process, or the edge does not start.
pub(super) fn start(
    pods: &Pods<'_>,
    documents: &[Value],
    program: &Program,
    children: &mut Children<'_>,
) -> Result<SocketAddr> {
    let routes = routes(documents);
    if routes.is_empty() {
        return only_one(pods);
    }
    let listen = SocketAddr::from(([127, 0, 0, 1], free_port()?));
    let mut command = tied_to_us(program.path(), Signal::Term);
    command.args(["edge", "--listen", &listen.to_string()]).env_clear();
    for (path, (service, port)) in &routes {
        let urls: Vec<_> = pods.behind(service, *port).iter().map(|port| format!("http://127.0.0.1:{port}")).collect();
        ensure!(!urls.is_empty(), "the route {path} leads to {service}:{port}, behind which nothing runs");
        command.args(["--route", &format!("{path}={}", urls.join(","))]);
    }
    println!("mapped: the gateway is `pangaea edge`, with {} paths of the manifests' routes", routes.len());
    children.start_as(("the edge".to_owned(), 0), command, pods.folder().join("edge.log"), None)?;
    let until = Instant::now() + START_MAX;
    while TcpStream::connect_timeout(&listen, Duration::from_secs(1)).is_err() {
        children.look()?;
        if Instant::now() >= until {
            bail!("the edge does not listen on {listen}");
        }
        sleep(Duration::from_millis(50));
    }
    Ok(listen)
}

/// The `http` port of the only process that hosts modules.
fn only_one(pods: &Pods<'_>) -> Result<SocketAddr> {
    let hosts = pods.all().iter().filter(|pod| is_ours(pod.container) && !pod.is_job());
    // A module's pod is known by its operations port; a provider's or an edge's has none.
    let hosts = hosts.filter(|pod| pod.local(&"operations".into()).is_some());
    let addresses: Vec<_> = hosts.filter_map(|pod| pod.local(&"http".into())).collect();
    match addresses.as_slice() {
        [only] => Ok(*only),
        many => {
            bail!("{} processes serve HTTP, and no HTTPRoute or Ingress says which paths lead to which", many.len())
        }
    }
}

/// Path prefix → Service and port. The first one of a path counts; weights between two are a canary's, and not of here.
fn routes(documents: &[Value]) -> BTreeMap<String, (String, u64)> {
    let mut routes = BTreeMap::new();
    for route in of_kind(documents, "HTTPRoute").filter(|route| is_of_gateway(route)) {
        for rule in list(route, "/spec/rules") {
            let Some(backend) = list(rule, "/backendRefs").first() else { continue };
            let to = (text(backend, "/name").to_owned(), number(backend, "/port").unwrap_or(80));
            for path in
                list(rule, "/matches").iter().map(|one| text(one, "/path/value")).filter(|path| !path.is_empty())
            {
                routes.entry(path.to_owned()).or_insert_with(|| to.clone());
            }
        }
    }
    for path in of_kind(documents, "Ingress")
        .flat_map(|ingress| list(ingress, "/spec/rules"))
        .flat_map(|rule| list(rule, "/http/paths"))
    {
        let service = path.pointer("/backend/service").unwrap_or(&Value::Null);
        let to = (text(service, "/name").to_owned(), number(service, "/port/number").unwrap_or(80));
        routes.entry(text(path, "/path").to_owned()).or_insert(to);
    }
    routes
}

/// A mesh's routes have Services for parents: they are for traffic that is inside already.
fn is_of_gateway(route: &Value) -> bool {
    list(route, "/spec/parentRefs").iter().any(|parent| ["", "Gateway"].contains(&text(parent, "/kind")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn takes_the_paths_of_a_gateway_and_not_those_within_a_mesh() {
        let route = |parent: &str, path: &str, service: &str| {
            json!({ "kind": "HTTPRoute", "spec": {
                "parentRefs": [{ "kind": parent, "name": "p" }],
                "rules": [{ "matches": [{ "path": { "value": path } }], "backendRefs": [{ "name": service, "port": 80 }] }],
            } })
        };
        let ingress = json!({ "kind": "Ingress", "spec": { "rules": [{ "http": { "paths": [
            { "path": "/v1/orders", "backend": { "service": { "name": "order", "port": { "number": 80 } } } },
        ] } }] } });
        let documents = [route("Gateway", "/v1/skus", "product"), route("Service", "/v1/users", "user"), ingress];
        let expected = [("/v1/orders", "order"), ("/v1/skus", "product")];
        let expected = expected.map(|(path, service)| (path.to_owned(), (service.to_owned(), 80)));
        assert_eq!(routes(&documents), BTreeMap::from(expected));
    }
}
