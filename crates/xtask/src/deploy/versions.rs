//! The versions of other people's software, each written once: what the checks fetch, and what the guide tells to install.
//!
//! The guide and the values of charts are texts for people, so they say versions themselves; the check `agree` compares them.

use std::collections::BTreeMap;

/// The Kubernetes that the guide starts: the newest that all three meshes name as supported (Consul's chart does not name a
/// newer one). Schemas are of its minor release.
pub(crate) const KUBERNETES: &str = "v1.34.4";
/// The newest Kubernetes that is tried: its API server is built, since Go 1.26 builds it, and schemas are of its minor
/// release, too. So a field that the guide's does not know is refused, and one that is going as well.
pub(crate) const KUBERNETES_NEWEST: &str = "v1.36.3";

const GATEWAY_API: &str = "v1.5.1";
pub(crate) const ENVOY_GATEWAY: &str = "v1.9.1";
const EXTERNAL_SECRETS: &str = "v0.16.2";
const ISTIO_CHARTS: &str = "1.30.4";
/// The commit of Istio's branch for that release which is built: its releases bear no names that Go knows.
pub(crate) const ISTIO: &str = "v0.0.0-20260826214018-9739e10eb9d7";
const AWS_LOAD_BALANCER_CONTROLLER: &str = "3.2.2";
const LINKERD: &str = "2026.9.1";

/// The collector of the images in deploy/, which is made of modules: those that are not stable, and those that are.
pub(crate) const COLLECTOR: &str = "v0.153.0";
pub(crate) const COLLECTOR_STABLE: &str = "v1.59.0";
/// The newest Jaeger that is a Go module: later releases have versions that do not go with its path. The same commit is
/// [`JAEGER_RELEASE`], and the images in deploy/ are newer.
pub(crate) const JAEGER: &str = "v1.76.0";
pub(crate) const JAEGER_RELEASE: &str = "2.13.0";
/// As Go knows Prometheus 3.5.0.
pub(crate) const PROMETHEUS: &str = "v0.305.0";

/// A Go module, and the files or folders in it that hold CRDs.
#[derive(Debug)]
pub(crate) struct Crds {
    pub(crate) module: &'static str,
    pub(crate) version: &'static str,
    pub(crate) paths: &'static [&'static str],
}

/// The CRDs of everything that the manifests use and that is published as a Go module.
pub(crate) const CRDS: [Crds; 6] = [
    // Linkerd ignores a whole route with a field that is newer than what it knows: so not the newest Gateway API, but the
    // newest that every mesh here knows.
    Crds { module: "sigs.k8s.io/gateway-api", version: GATEWAY_API, paths: &["config/crd/standard"] },
    // Of the charts' minor release, of which not every patch release is published as a module.
    Crds { module: "istio.io/api", version: "v1.30.8", paths: &["kubernetes/customresourcedefinitions.gen.yaml"] },
    // The operator of kube-prometheus-stack 88.
    Crds {
        module: "github.com/prometheus-operator/prometheus-operator",
        version: "v0.93.0",
        paths: &["example/prometheus-operator-crd"],
    },
    Crds {
        module: "github.com/external-secrets/external-secrets",
        version: EXTERNAL_SECRETS,
        paths: &["config/crds/bases"],
    },
    Crds {
        module: "github.com/envoyproxy/gateway",
        version: ENVOY_GATEWAY,
        paths: &["charts/gateway-helm/charts/crds/crds/generated"],
    },
    // The commit of release 3.2.2, whose module path lacks the major version, so that Go knows it by its date.
    Crds {
        module: "sigs.k8s.io/aws-load-balancer-controller",
        version: "v0.0.0-20260423195125-93ff3b5fdaad",
        paths: &["config/crd/gateway"],
    },
];

/// Charts, and the version that a command must name.
const CHARTS: [(&str, &str); 19] = [
    ("oci://docker.io/envoyproxy/gateway-crds-helm", ENVOY_GATEWAY),
    ("oci://docker.io/envoyproxy/gateway-helm", ENVOY_GATEWAY),
    ("traefik/traefik", "41.6.0"),
    ("oci://ghcr.io/nginx/charts/nginx-ingress", "2.4.4"),
    ("eks/aws-load-balancer-controller", AWS_LOAD_BALANCER_CONTROLLER),
    ("oci://mcr.microsoft.com/application-lb/charts/alb-controller", "1.12.4"),
    ("prometheus-community/kube-prometheus-stack", "88.1.3"),
    ("open-telemetry/opentelemetry-collector", "0.158.3"),
    ("external-secrets/external-secrets", "0.16.2"),
    ("nats/nats", "2.12.3"),
    ("istio/base", ISTIO_CHARTS),
    ("istio/cni", ISTIO_CHARTS),
    ("istio/istiod", ISTIO_CHARTS),
    ("istio/gateway", ISTIO_CHARTS),
    ("istio/ztunnel", ISTIO_CHARTS),
    ("linkerd-edge/linkerd-crds", LINKERD),
    ("linkerd-edge/linkerd2-cni", LINKERD),
    ("linkerd-edge/linkerd-control-plane", LINKERD),
    ("hashicorp/consul", "1.9.3"),
];

/// What a text's commands install otherwise than it is declared here.
pub(crate) fn faults(text: &str) -> Vec<String> {
    let mut variables = BTreeMap::new();
    let mut faults = Vec::new();
    for command in commands(text) {
        let words: Vec<_> = command.split_whitespace().collect();
        if let [assignment] = words.as_slice()
            && let Some((name, value)) = assignment.split_once('=')
        {
            variables.insert(name.to_owned(), value.to_owned());
        }
        let value = |word: &str| match word.strip_prefix('$').and_then(|name| variables.get(name)) {
            Some(value) => value.clone(),
            None => word.to_owned(),
        };
        faults.extend(fault_of(&words, value));
    }
    faults
}

/// Lines, with those that go on joined; a comment's mark is taken away, since values of charts have their command in one.
fn commands(text: &str) -> Vec<String> {
    let plain = text.lines().map(|line| line.trim_start_matches('#').trim()).collect::<Vec<_>>().join("\n");
    plain.replace("\\\n", " ").lines().map(str::to_owned).collect()
}

fn fault_of(words: &[&str], value: impl Fn(&str) -> String) -> Option<String> {
    let after = |option: &str| words.iter().position(|word| *word == option).and_then(|at| words.get(at + 1));
    let differs = |what: &str, said: String, declared: &str| {
        (said != declared).then(|| format!("{what} is {said} here, and {declared} in versions.rs: make them equal"))
    };
    match words {
        ["helm", "upgrade" | "template" | "install", ..] => {
            let chart = words[2..].iter().filter(|word| !word.starts_with('-')).nth(1)?;
            let Some((_, declared)) = CHARTS.iter().find(|(name, _)| name == chart) else {
                return Some(format!("the chart {chart} is not in versions.rs: add it with its version"));
            };
            match after("--version") {
                Some(said) => differs(&format!("the chart {chart}"), value(said), declared),
                None => Some(format!("the chart {chart} has no --version: take {declared}")),
            }
        }
        ["minikube", "start", ..] => {
            let said = words.iter().find_map(|word| word.strip_prefix("--kubernetes-version="));
            differs("Minikube's Kubernetes", said.unwrap_or("unsaid").to_owned(), KUBERNETES)
        }
        // Of eksctl's configuration.
        ["metadata:", "{", ..] => {
            let said = after("version:").unwrap_or(&"unsaid").trim_matches('"');
            differs("EKS's Kubernetes", said.to_owned(), minor(KUBERNETES))
        }
        ["kubectl", ..] => {
            let url = words.iter().find(|word| word.contains("/gateway-api/releases/download/"))?;
            let said = url.split('/').rev().nth(1)?;
            differs("the Gateway API", said.to_owned(), GATEWAY_API)
        }
        _ => None,
    }
}

/// `1.34` of `v1.34.4`.
pub(crate) fn minor(version: &str) -> &str {
    let plain = version.trim_start_matches('v');
    plain.rsplit_once('.').map_or(plain, |(minor, _)| minor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_that_say_another_version_are_told() {
        let good = format!(
            "V={ISTIO_CHARTS}\nhelm upgrade --install istiod istio/istiod --version $V -n istio-system --wait \\\n  --set a=b\n\
             minikube start --kubernetes-version={KUBERNETES} --cpus=8\n\
             metadata: {{ name: pangaea, version: \"{}\" }}\n\
             # helm upgrade --install nats nats/nats \\\n#   --version 2.12.3\n\
             kubectl apply -f https://example.org/gateway-api/releases/download/{GATEWAY_API}/standard-install.yaml\n",
            minor(KUBERNETES)
        );
        assert_eq!(faults(&good), [""; 0]);
        for (from, to, told) in [
            (format!("V={ISTIO_CHARTS}"), "V=1.2.3", "the chart istio/istiod is 1.2.3 here"),
            ("--version $V ".to_owned(), "", "the chart istio/istiod has no --version"),
            ("nats/nats".to_owned(), "nats/surveyor", "the chart nats/surveyor is not in versions.rs"),
            ("--version 2.12.3".to_owned(), "--version 2.12.4", "the chart nats/nats is 2.12.4 here"),
            (format!("--kubernetes-version={KUBERNETES}"), "", "Minikube's Kubernetes is unsaid here"),
            (format!("version: \"{}\"", minor(KUBERNETES)), "version: \"1.1\"", "EKS's Kubernetes is 1.1 here"),
            (GATEWAY_API.to_owned(), "v9.9.9", "the Gateway API is v9.9.9 here"),
        ] {
            let faults = faults(&good.replacen(&from, to, 1));
            assert!(faults.len() == 1 && faults[0].contains(told), "{told}: {faults:?}");
        }
    }

    #[test]
    fn the_guide_says_these_versions_and_names_every_chart() {
        let readme = std::fs::read_to_string(crate::workspace::root().join("deploy/README.md")).unwrap();
        assert_eq!(faults(&readme), [""; 0]);
        let unnamed: Vec<_> = CHARTS.iter().filter(|(chart, _)| !readme.contains(chart)).collect();
        assert!(unnamed.is_empty(), "take out {unnamed:?}");
    }

    #[test]
    fn crds_and_charts_are_of_one_release() {
        let istio = CRDS.iter().find(|crds| crds.module == "istio.io/api").unwrap();
        assert_eq!(minor(istio.version), minor(ISTIO_CHARTS));
        let of_chart = |name: &str| CHARTS.iter().find(|(chart, _)| *chart == name).unwrap().1;
        assert_eq!(of_chart("external-secrets/external-secrets"), EXTERNAL_SECRETS.trim_start_matches('v'));
    }
}
