//! kube-apiserver and etcd, built from Go modules.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::deploy::Context;
use crate::deploy::versions::{KUBERNETES_NEWEST as KUBERNETES, minor};
use crate::process::on_path;
use crate::workspace;

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

/// What a cluster is started with.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) etcd: PathBuf,
    pub(super) apiserver: PathBuf,
    pub(super) kubectl: PathBuf,
    pub(super) openssl: PathBuf,
}

/// Finds the programs; builds those two that nobody has installed.
///
/// # Errors
/// With the name of what is not there and cannot be built.
pub(super) fn programs(ctx: &Context) -> Result<Programs> {
    let found = |name: &str| on_path(name).ok_or_else(|| anyhow::anyhow!("no `{name}` on PATH"));
    let (kubectl, openssl) = (found("kubectl")?, found("openssl")?);
    let folder = ctx.tools.join(format!("kubernetes-{KUBERNETES}"));
    let apiserver = build(ctx, &folder, "kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver")?;
    // Kubernetes' tests need etcd's server, so its release is in the same list of versions.
    let etcd = build(ctx, &folder, "etcd", "go.etcd.io/etcd/server/v3")?;
    Ok(Programs { etcd, apiserver, kubectl, openssl })
}

fn build(ctx: &Context, folder: &Path, name: &str, package: &str) -> Result<PathBuf> {
    let program = folder.join(name);
    if program.is_file() {
        return Ok(program);
    }
    let go = on_path("go").ok_or_else(|| anyhow::anyhow!("no `go` on PATH, with which {name} is built"))?;
    fs::create_dir_all(folder)?;
    if !folder.join("go.mod").is_file() {
        fs::write(folder.join("go.mod"), go_mod())?;
    }
    println!("{name} is built once, which takes ten minutes or more on two cores");
    let home = ctx.tools.join("go");
    let mut command = Command::new("nice");
    command.arg(go).args(["build", "-ldflags", &ld_flags(), "-o"]).arg(&program).arg(package).current_dir(folder);
    // The list of checksums grows as modules are needed, each checked against the public log.
    command.env("GOFLAGS", "-mod=mod -modcacherw -trimpath").env("CGO_ENABLED", "0");
    command.env("GOPATH", &home).env("GOCACHE", home.join("cache")).env_remove("GOROOT");
    workspace::run(&mut command)?;
    Ok(program)
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
