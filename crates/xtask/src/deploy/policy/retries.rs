//! A payment that is sent twice is captured twice, or at best refused the second time. Who sends it again has to be the
//! module that knows what it sent; proxies must not.

use serde_json::Value;

use super::objects::{Fault, Objects, is_true, list, mark, number, text};

/// Services whose POSTs must not be repeated by a proxy.
const ONCE: [&str; 2] = ["payment", "provider"];

pub(super) fn payment_retries(objects: &Objects<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for object in objects.all() {
        let fault = match text(object, "/kind") {
            "VirtualService" => virtual_service(object),
            "HTTPRoute" => http_route(object),
            "ServiceProfile" => service_profile(object),
            "ServiceRouter" => service_router(object),
            "Service" => linkerd_annotation(object, &[text(object, "/metadata/name")]),
            "Ingress" => ingress(object),
            _ => None,
        };
        faults.extend(fault.map(|fault| Fault::new(object, fault)));
    }
    faults.extend(istios_default(objects));
    faults
}

/// Istio tries again twice unless told otherwise.
fn virtual_service(object: &Value) -> Option<String> {
    let mut routes = list(object, "/spec/http").iter().filter(|route| {
        let mut hosts = list(route, "/route").iter().map(|to| text(to, "/destination/host"));
        hosts.any(is_once) && matches_post(list(route, "/match").iter().map(method))
    });
    let wrong = routes.find(|route| number(route, "/retries/attempts") != Some(0))?;
    Some(format!("set retries.attempts to 0 in its route {}", named(wrong)))
}

/// By one word or by a pattern; empty when the match does not ask for any.
fn method(of: &Value) -> &str {
    let methods = ["/method/exact", "/method/regex", "/method/prefix"].map(|at| text(of, at));
    methods.into_iter().find(|method| !method.is_empty()).unwrap_or_default()
}

/// In Istio's namespace a Service without a VirtualService has the default's retries.
fn istios_default(objects: &Objects<'_>) -> Vec<Fault> {
    let is_istio = |namespace: &Value| {
        mark(namespace, "labels", "istio-injection") == "enabled"
            || !mark(namespace, "labels", "istio.io/rev").is_empty()
    };
    if !objects.of_kind("Namespace").any(is_istio) {
        return Vec::new();
    }
    let has_own = |name: &str| {
        let mut hosts = objects.of_kind("VirtualService").flat_map(|service| list(service, "/spec/hosts"));
        hosts.any(|host| host.as_str().is_some_and(|host| host_is(host, name)))
    };
    let services = ONCE.iter().filter_map(|name| Some((name, objects.find("Service", name)?)));
    let bare = services.filter(|(name, _)| !has_own(name));
    bare.map(|(_, service)| Fault::new(service, "Istio tries again by default: add a VirtualService with attempts 0"))
        .collect()
}

fn http_route(object: &Value) -> Option<String> {
    let parents = list(object, "/spec/parentRefs").iter().map(|parent| text(parent, "/name"));
    let rules = list(object, "/spec/rules");
    let to = |rule: &Value| list(rule, "/backendRefs").iter().any(|backend| is_once(text(backend, "/name")));
    let is_post = |rule: &Value| matches_post(list(rule, "/matches").iter().map(|m| text(m, "/method")));
    let concerned: Vec<_> = rules.iter().filter(|rule| to(rule) && is_post(rule)).collect();
    if let Some(rule) = concerned.iter().find(|rule| rule.get("retry").is_some()) {
        return Some(format!("remove retry from its rule {}", named(rule)));
    }
    // Linkerd's annotation is for the whole route.
    let names: Vec<_> = if concerned.is_empty() { Vec::new() } else { parents.chain(ONCE).collect() };
    linkerd_annotation(object, &names)
}

fn linkerd_annotation(object: &Value, names: &[&str]) -> Option<String> {
    let key = ["retry.linkerd.io/http", "retry.linkerd.io/grpc"];
    let given = key.iter().find(|key| !mark(object, "annotations", key).is_empty())?;
    names.iter().any(|name| is_once(name)).then(|| format!("remove its annotation {given}"))
}

fn service_profile(object: &Value) -> Option<String> {
    if !is_once(text(object, "/metadata/name")) {
        return None;
    }
    let mut routes = list(object, "/spec/routes").iter();
    let wrong =
        routes.find(|route| is_true(route, "/isRetryable") && matches_post([text(route, "/condition/method")]))?;
    Some(format!("remove isRetryable from its route {}", named(wrong)))
}

/// Consul's routes are for the service they are named after, unless they name another.
fn service_router(object: &Value) -> Option<String> {
    let own = text(object, "/metadata/name");
    let mut routes = list(object, "/spec/routes").iter().filter(|route| {
        let to = Some(text(route, "/destination/service")).filter(|to| !to.is_empty()).unwrap_or(own);
        let methods = list(route, "/match/http/methods").iter().filter_map(Value::as_str);
        is_once(to) && matches_post(methods)
    });
    let wrong = routes.find(|route| {
        let to = &route["destination"];
        let is_on = |key: &str| {
            to.get(key).is_some_and(|v| *v != false && *v != 0 && v.as_array().is_none_or(|l| !l.is_empty()))
        };
        ["numRetries", "retryOn", "retryOnConnectFailure", "retryOnStatusCodes"].into_iter().any(is_on)
    })?;
    Some(format!("remove the retries of its route {}", text(wrong, "/match/http/pathPrefix")))
}

/// NGINX sends a POST again only when it is told to.
fn ingress(object: &Value) -> Option<String> {
    let keys = ["nginx.ingress.kubernetes.io/proxy-next-upstream", "nginx.org/proxy-next-upstream"];
    let wrong = keys.iter().find(|key| mark(object, "annotations", key).contains("non_idempotent"))?;
    Some(format!("remove non_idempotent from its annotation {wrong}"))
}

/// Whether a POST fits: no condition at all, one without a method, or one that names POST.
fn matches_post<'a>(methods: impl IntoIterator<Item = &'a str>) -> bool {
    let mut methods = methods.into_iter().peekable();
    methods.peek().is_none()
        || methods.any(|method| method.is_empty() || method.contains("POST") || method.contains(".*"))
}

fn is_once(host: &str) -> bool {
    ONCE.iter().any(|name| host_is(host, name))
}

/// `payment`, or `payment.pangaea.svc.cluster.local`.
fn host_is(host: &str, name: &str) -> bool {
    host.split('.').next() == Some(name)
}

fn named(value: &Value) -> &str {
    Some(text(value, "/name")).filter(|name| !name.is_empty()).unwrap_or("without a name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_post_fits_what_does_not_exclude_it() {
        let cases: [(&[&str], bool); 5] =
            [(&[], true), (&[""], true), (&["GET"], false), (&["GET", "POST"], true), (&["GET|HEAD"], false)];
        for (methods, fits) in cases {
            assert_eq!(matches_post(methods.iter().copied()), fits, "{methods:?}");
        }
    }
}
