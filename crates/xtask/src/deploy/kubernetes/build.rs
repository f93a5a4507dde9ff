//! Kubernetes' programs and etcd, built from Go modules.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Result;

use crate::deploy::Context;
use crate::deploy::gotool::Recipe;
use crate::deploy::versions::{KUBERNETES_NEWEST as KUBERNETES, minor};
use crate::process::on_path;

/// What the release below is built with.
const GO: &str = "1.26.0";

/// Kubernetes' own modules. Its go.mod replaces each by a folder of its repository, and replacements of a dependency
/// do not count: they are named once more, by their releases. `v1.2.3` there is `v0.2.3` here.
const STAGING: [&str; 33] = [
    "api",
    "apiextensions-apiserver",
    "apimachinery",
    "apiserver",
    "cli-runtime",
    "client-go",
    "cloud-provider",
    "cluster-bootstrap",
    "code-generator",
    "component-base",
    "component-helpers",
    "controller-manager",
    "cri-api",
    "cri-client",
    "cri-streaming",
    "csi-translation-lib",
    "dynamic-resource-allocation",
    "endpointslice",
    "externaljwt",
    "kms",
    "kube-aggregator",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
    "metrics",
    "mount-utils",
    "pod-security-admission",
    "sample-apiserver",
    "sample-cli-plugin",
    "sample-controller",
    "streaming",
];

/// What a control plane is started with.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) etcd: PathBuf,
    pub(crate) apiserver: PathBuf,
    pub(crate) kubectl: PathBuf,
    pub(crate) openssl: PathBuf,
}

/// Finds the programs; builds those two that nobody has installed.
///
/// # Errors
/// With the name of what is not there and cannot be built.
pub(crate) fn programs(ctx: &Context) -> Result<Programs> {
    let found = |name: &str| on_path(name).ok_or_else(|| anyhow::anyhow!("no `{name}` on PATH"));
    let (kubectl, openssl) = (found("kubectl")?, found("openssl")?);
    // Kubernetes' tests need etcd's server, so its release is in the same list of versions.
    let etcd = build(ctx, "etcd", "go.etcd.io/etcd/server/v3")?;
    Ok(Programs { etcd, apiserver: own(ctx, "kube-apiserver")?, kubectl, openssl })
}

/// One of Kubernetes' own programs.
///
/// # Errors
/// When it cannot be built.
pub(crate) fn own(ctx: &Context, name: &str) -> Result<PathBuf> {
    build(ctx, name, &format!("k8s.io/kubernetes/cmd/{name}"))
}

fn build(ctx: &Context, name: &str, package: &str) -> Result<PathBuf> {
    let recipe = Recipe { folder: format!("kubernetes-{KUBERNETES}"), go_mod: go_mod(), main_go: None };
    recipe.build(ctx, name, package, &["-ldflags", &ld_flags()])
}

/// A module of ours that needs Kubernetes and nothing else.
fn go_mod() -> String {
    let mut text = format!(
        "module pangaea.example/kubernetes\n\ngo {GO}\n\nrequire k8s.io/kubernetes {KUBERNETES}\n\nreplace (\n"
    );
    let staging = KUBERNETES.replacen("v1", "v0", 1);
    for module in STAGING {
        let _ = writeln!(text, "\tk8s.io/{module} => k8s.io/{module} {staging}");
    }
    text + ")\n"
}

/// The version that the server names; without it a client sees v0.0.0.
fn ld_flags() -> String {
    let minor = minor(KUBERNETES).trim_start_matches("1.");
    let variables = [("gitVersion", KUBERNETES), ("gitMajor", "1"), ("gitMinor", minor)];
    let variables = variables.map(|(name, value)| format!("-X k8s.io/component-base/version.{name}={value}"));
    format!("-s -w {}", variables.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_module_of_kubernetes_has_the_release_of_the_whole() {
        let text = go_mod();
        assert!(text.contains(&format!("require k8s.io/kubernetes {KUBERNETES}\n")), "{text}");
        let staging = KUBERNETES.replacen("v1", "v0", 1);
        assert_eq!(text.matches(&format!(" {staging}\n")).count(), STAGING.len());
        assert!(ld_flags().contains(&format!("gitMinor={}", KUBERNETES.split('.').nth(1).unwrap())));
    }
}
