//! What every overlay must keep to, beyond being valid.
//!
//! A rule that refuses nothing is worth nothing: each has fixtures under deploy/checks/fixtures, manifests with one fault
//! each, which it must refuse, and for no other reason.

use std::fs;

use anyhow::{Context as _, Result};

use super::{Context, Outcome, render};

mod capacity;
mod fixtures;
mod network;
mod objects;
mod pod_security;
mod pods;
mod retries;
mod rights;
mod workloads;

use fixtures::Fixtures;
use objects::{Fault, Objects};

type Rule = (&'static str, fn(&Objects<'_>) -> Vec<Fault>);

/// Each rule with the name that fixtures and findings give it.
const RULES: [Rule; 31] = [
    // PodSecurity "restricted", as the cluster would judge the pods.
    ("privileged", pod_security::privileged),
    ("privilege-escalation", pod_security::privilege_escalation),
    ("capabilities", pod_security::capabilities),
    ("root-user", pod_security::root_user),
    ("seccomp", pod_security::seccomp),
    ("host-namespace", pod_security::host_namespace),
    ("host-port", pod_security::host_port),
    ("volume-type", pod_security::volume_type),
    ("unsafe-options", pod_security::unsafe_options),
    // Pods.
    ("uid-1337", pods::uid_1337),
    ("writable-root", pods::writable_root),
    ("resources", pods::resources),
    ("image-tag", pods::image_tag),
    ("probes", pods::probes),
    ("liveness-on-readyz", pods::liveness_on_readyz),
    ("grace-period", pods::grace_period),
    ("mounted-token", pods::mounted_token),
    ("service-account", pods::service_account),
    // What runs the pods.
    ("disruption-budget", workloads::disruption_budget),
    ("topology-spread", workloads::topology_spread),
    ("one-process", workloads::one_process),
    ("two-autoscalers", workloads::two_autoscalers),
    // Who reaches whom.
    ("app-protocol", network::app_protocol),
    ("nats-marks", network::nats_marks),
    ("service-selects-nobody", network::service_selects_nobody),
    ("unguarded-pod", network::unguarded_pod),
    ("mesh-ports", network::mesh_ports),
    ("payment-retries", retries::payment_retries),
    // Rights.
    ("pod-security-label", rights::pod_security_label),
    ("wide-role", rights::wide_role),
    ("unused-role", rights::unused_role),
];

/// Every fixture is refused for its reason, and every overlay passes.
///
/// # Errors
/// When fixtures or overlays cannot be read.
pub(crate) fn check(ctx: &Context) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    Fixtures::read(&ctx.root.join("deploy/checks/fixtures"))?.check(&mut outcome)?;
    let readme = fs::read_to_string(ctx.root.join("deploy/README.md")).context("deploy/README.md")?;
    let minikube = capacity::of_guide(&readme).context("deploy/README.md")?;
    for overlay in render::overlays(ctx)? {
        let documents = match render::render(ctx, &overlay) {
            Ok(documents) => documents,
            Err(error) => {
                outcome.failed.push(format!("{error:#}"));
                continue;
            }
        };
        let findings = judge(&Objects::new(&documents));
        // Elsewhere the cluster grows, or its operator decides.
        let lack = overlay.starts_with("minikube-").then(|| capacity::fault(&Objects::new(&documents), minikube));
        let lack = lack.flatten();
        if findings.is_empty() && lack.is_none() {
            outcome.passed.push(format!("{overlay}: {} objects keep to {} rules", documents.len(), RULES.len()));
        }
        let shown = findings.iter().map(|(rule, fault)| format!("deploy/k8s/overlays/{overlay}: {fault} [{rule}]"));
        outcome.failed.extend(shown);
        outcome.failed.extend(lack.map(|fault| format!("deploy/k8s/overlays/{overlay}: {fault}")));
    }
    Ok(outcome)
}

/// All that the rules have against these objects.
fn judge(objects: &Objects<'_>) -> Vec<(&'static str, Fault)> {
    let faults = RULES.iter().map(|(name, rule)| rule(objects).into_iter().map(|fault| (*name, fault)));
    faults.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    #[test]
    fn every_rule_refuses_its_fixtures_and_nothing_else() {
        let mut outcome = Outcome::default();
        let fixtures = Fixtures::read(&workspace::root().join("deploy/checks/fixtures")).unwrap();
        fixtures.check(&mut outcome).unwrap();
        assert_eq!(outcome.failed, [""; 0]);
        assert!(outcome.passed.len() > RULES.len());
    }

    #[test]
    fn rules_have_names_of_their_own() {
        let mut names: Vec<_> = RULES.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), RULES.len());
    }
}
