//! A real kube-apiserver and etcd judge every overlay, and every pod template as a bare Pod under PodSecurity "restricted".
//!
//! Built once, from the Go modules of Kubernetes; that takes long, so this check is run by name and not with the tests.

use std::collections::BTreeSet;

use anyhow::Result;
use serde_json::{Value, json};

use super::kubernetes::{self, ControlPlane, Kubectl, Place};
use super::objects::{of_kind, text, title};
use super::render::{self, render};
use super::versions::KUBERNETES_NEWEST;
use super::{Context, Outcome};

mod pods;
mod refused;

/// Kinds that others of the same overlay are admitted by; they are made for real, before the rest is tried.
const FIRST: [&str; 3] = ["Namespace", "ServiceAccount", "PriorityClass"];

/// Tries every overlay.
///
/// # Errors
/// When the control plane does not start.
pub(crate) fn check(ctx: &Context) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let programs = match kubernetes::programs(ctx) {
        Ok(programs) => programs,
        Err(error) => {
            outcome.missing.push(("kube-apiserver".to_owned(), format!("{error:#}")));
            return Ok(outcome);
        }
    };
    let control = ControlPlane::start(&programs, Place::HERE)?;
    println!("kube-apiserver {} on {}", KUBERNETES_NEWEST, control.url());
    let kubectl = control.kubectl();
    kubernetes::install_definitions(ctx, kubectl, &mut outcome)?;
    for overlay in render::overlays(ctx)? {
        let documents = render(ctx, &overlay)?;
        let mut faults = overlay_faults(kubectl, &overlay, &documents)?;
        let (count, pod_faults) = pods::faults(kubectl, &overlay, &documents)?;
        faults.extend(pod_faults);
        match faults.is_empty() {
            true => outcome.passed.push(format!(
                "{overlay}: {} objects accepted (dry run), {count} pod templates as bare Pods under \"restricted\"",
                documents.len(),
            )),
            false => outcome.failed.extend(faults),
        }
    }
    refused::check(kubectl, &mut outcome)?;
    Ok(outcome)
}

/// Applies what must be there first, and tries the whole. What is refused is tried again alone, so that it has its name.
fn overlay_faults(kubectl: &Kubectl, overlay: &str, documents: &[Value]) -> Result<Vec<String>> {
    make_namespaces(kubectl, documents)?;
    let first = FIRST.iter().flat_map(|wanted| of_kind(documents, wanted));
    kubectl.make(&first.collect::<Vec<_>>())?;
    let all: Vec<_> = documents.iter().collect();
    if kubectl.apply(&all, true)?.is_ok() {
        return Ok(Vec::new());
    }
    let mut faults = Vec::new();
    for document in documents {
        if let Err(refusal) = kubectl.apply(&[document], true)? {
            faults.push(format!("deploy/k8s/overlays/{overlay}: {}: refused: {refusal}", title(document)));
        }
    }
    if faults.is_empty() {
        faults.push(format!(
            "deploy/k8s/overlays/{overlay}: refused as a whole, and each object alone was not: see two of one name"
        ));
    }
    Ok(faults)
}

/// Namespaces that somebody else makes, as `istio-system`: plain here.
fn make_namespaces(kubectl: &Kubectl, documents: &[Value]) -> Result<()> {
    let named: BTreeSet<_> = documents.iter().map(|document| text(document, "/metadata/namespace")).collect();
    for name in named.into_iter().filter(|name| !name.is_empty()) {
        // Applied once more without labels, it would lose those that an overlay gave it.
        if kubectl.raw(&format!("/api/v1/namespaces/{name}")).is_err() {
            let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
            kubectl.make(&[&namespace])?;
        }
    }
    Ok(())
}

/// A copy in another namespace.
fn moved(document: &Value, namespace: &str) -> Value {
    let mut copy = document.clone();
    copy["metadata"]["namespace"] = namespace.into();
    copy
}
