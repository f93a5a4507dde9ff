//! Paths to modules, wherever manifests say them by hand, against those that the modules declare.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::deploy::facts::{Module, Paths, path_faults};
use crate::deploy::objects::{list, of_kind, text, title};

/// The ways in lead every declared path to its module, and no other path anywhere. A rule for some requests only, as a canary's
/// for reads, is for all paths of its module or is a hole.
pub(super) fn faults(documents: &[Value], modules: &[Module]) -> Vec<String> {
    let declared: Paths = modules.iter().flat_map(Module::paths).collect();
    let mut faults = Vec::new();
    for ingress in of_kind(documents, "Ingress") {
        faults.extend(path_faults(&title(ingress), &of_ingress(ingress), &declared));
    }
    for service in of_kind(documents, "VirtualService").filter(|service| !list(service, "/spec/gateways").is_empty()) {
        faults.extend(path_faults(&title(service), &of_virtual_service(service), &declared));
    }
    for module in modules {
        let own = module.paths();
        for route in of_kind(documents, "HTTPRoute").filter(|route| leads_to(route, &module.name)) {
            faults.extend(route_faults(route, module, &own));
        }
    }
    faults
}

fn of_ingress(ingress: &Value) -> Paths {
    let paths = list(ingress, "/spec/rules").iter().flat_map(|rule| list(rule, "/http/paths"));
    paths.map(|path| (text(path, "/path").to_owned(), text(path, "/backend/service/name").to_owned())).collect()
}

/// The one at the gateway, which delegates to the modules' own.
fn of_virtual_service(service: &Value) -> Paths {
    let routes = list(service, "/spec/http").iter();
    let pairs = routes.flat_map(|route| {
        let to = text(route, "/delegate/name");
        list(route, "/match").iter().map(move |one| (text(one, "/uri/prefix").to_owned(), to.to_owned()))
    });
    pairs.collect()
}

/// A module's route has its name; a mesh's for traffic that is inside already has a Service for a parent, and is generated.
fn leads_to(route: &Value, module: &str) -> bool {
    let is_at_a_gateway =
        list(route, "/spec/parentRefs").iter().any(|one| ["", "Gateway"].contains(&text(one, "/kind")));
    is_at_a_gateway && text(route, "/metadata/name") == module
}

fn route_faults(route: &Value, module: &Module, own: &Paths) -> Vec<String> {
    let place = title(route);
    let mut faults = Vec::new();
    for (number, rule) in list(route, "/spec/rules").iter().enumerate() {
        // By what they ask for beside the path; the same paths must be there for each.
        let mut by_condition: BTreeMap<String, Paths> = BTreeMap::new();
        for one in list(rule, "/matches") {
            let condition = (text(one, "/method"), one.get("headers").unwrap_or(&Value::Null));
            let path = text(one, "/path/value").to_owned();
            by_condition.entry(format!("{condition:?}")).or_default().insert(path, module.name.clone());
        }
        for given in by_condition.values() {
            faults.extend(path_faults(&format!("{place}, rule {number}"), given, own));
        }
    }
    let any = |rule: &Value| list(rule, "/matches").iter().any(|one| text(one, "/method").is_empty());
    if !list(route, "/spec/rules").iter().any(any) {
        faults.push(format!("{place}: no rule is for all methods"));
    }
    faults.into_iter().collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn modules() -> Vec<Module> {
        vec![Module::sample("product", &["/v1/products", "/v1/skus"]), Module::sample("order", &["/v1/orders"])]
    }

    fn ingress(paths: &[(&str, &str)]) -> Value {
        let paths: Vec<_> = paths
            .iter()
            .map(|(path, service)| json!({"path": path, "backend": {"service": {"name": service}}}))
            .collect();
        json!({"kind": "Ingress", "metadata": {"name": "in"}, "spec": {"rules": [{"http": {"paths": paths}}]}})
    }

    fn route(matches: &[&[(&str, &str)]]) -> Value {
        let rule = |matches: &[(&str, &str)]| {
            let matches: Vec<_> = matches
                .iter()
                .map(|(method, path)| match *method {
                    "" => json!({"path": {"value": path}}),
                    method => json!({"path": {"value": path}, "method": method}),
                })
                .collect();
            json!({ "matches": matches })
        };
        let rules: Vec<_> = matches.iter().map(|matches| rule(matches)).collect();
        json!({"kind": "HTTPRoute", "metadata": {"name": "product"}, "spec": {"parentRefs": [{"name": "pangaea"}], "rules": rules}})
    }

    #[test]
    fn an_ingress_has_the_declared_paths() {
        let all = [("/v1/products", "product"), ("/v1/skus", "product"), ("/v1/orders", "order")];
        assert_eq!(faults(&[ingress(&all)], &modules()), [""; 0]);
        assert_eq!(faults(&[ingress(&all[..2])], &modules()), ["Ingress in: /v1/orders of order leads nowhere"]);
        let wrong = [all[0], ("/v1/skus", "order"), all[2], ("/v1/carts", "order")];
        assert_eq!(
            faults(&[ingress(&wrong)], &modules()),
            [
                "Ingress in: /v1/skus leads to order; the program has it in product",
                "Ingress in: no module has paths below /v1/carts",
            ]
        );
    }

    #[test]
    fn the_gateways_virtual_service_has_the_declared_paths_and_a_modules_own_has_none() {
        let service = |prefixes: &[&str], gateways: Value| {
            let uris: Vec<_> = prefixes.iter().map(|prefix| json!({"uri": {"prefix": prefix}})).collect();
            let product = json!({"match": uris, "delegate": {"name": "product"}});
            let order = json!({"match": [{"uri": {"prefix": "/v1/orders"}}], "delegate": {"name": "order"}});
            json!({"kind": "VirtualService", "metadata": {"name": "v"}, "spec": {"gateways": gateways, "http": [product, order]}})
        };
        let at_gateway = |prefixes: &[&str]| faults(&[service(prefixes, json!(["pangaea"]))], &modules());
        assert_eq!(at_gateway(&["/v1/products", "/v1/skus"]), [""; 0]);
        assert_eq!(at_gateway(&["/v1/products"]), ["VirtualService v: /v1/skus of product leads nowhere"]);
        assert_eq!(faults(&[service(&["/v1/products"], Value::Null)], &modules()), [""; 0]);
    }

    #[test]
    fn each_rule_of_a_modules_route_is_for_all_of_its_paths() {
        let [products, skus] = ["/v1/products", "/v1/skus"];
        let (reads, all): (&[_], &[_]) = (&[("GET", products), ("GET", skus)], &[("", products), ("", skus)]);
        assert_eq!(faults(&[route(&[reads, all])], &modules()), [""; 0]);
        let told = faults(&[route(&[&reads[..1], all])], &modules());
        assert_eq!(told, ["HTTPRoute product, rule 0: /v1/skus of product leads nowhere"]);
        assert_eq!(faults(&[route(&[reads])], &modules()), ["HTTPRoute product: no rule is for all methods"]);
    }
}
