//! Rules for namespaces and for rights at the Kubernetes API.

use serde_json::Value;

use super::objects::{Fault, Objects, list, mark, text};

/// Without the label the cluster lets anything run.
pub(super) fn pod_security_label(objects: &Objects<'_>) -> Vec<Fault> {
    let is_open = |namespace: &&Value| mark(namespace, "labels", "pod-security.kubernetes.io/enforce") != "restricted";
    let open = objects.of_kind("Namespace").filter(is_open);
    open.map(|namespace| Fault::new(namespace, "label it pod-security.kubernetes.io/enforce: restricted")).collect()
}

pub(super) fn wide_role(objects: &Objects<'_>) -> Vec<Fault> {
    let is_wide = |role: &&Value| {
        list(role, "/rules").iter().any(|rule| {
            ["/verbs", "/resources", "/apiGroups"].iter().any(|at| list(rule, at).iter().any(|what| what == "*"))
        })
    };
    let roles = ["Role", "ClusterRole"].into_iter().flat_map(|kind| objects.of_kind(kind));
    roles.filter(is_wide).map(|role| Fault::new(role, "name each verb and each resource in place of *")).collect()
}

/// Rights for an account whose pods have no token are rights for whoever gets at one.
pub(super) fn unused_role(objects: &Objects<'_>) -> Vec<Fault> {
    let uses = |name: &str| {
        let mut pods = objects.workloads().map(|workload| workload.pod());
        pods.any(|pod| text(pod, "/serviceAccountName") == name && pod["automountServiceAccountToken"] != false)
    };
    let ours = |name: &str| objects.find("ServiceAccount", name).is_some();
    let bindings = ["RoleBinding", "ClusterRoleBinding"].into_iter().flat_map(|kind| objects.of_kind(kind));
    let unused = bindings.filter_map(|binding| {
        let accounts = list(binding, "/subjects").iter().filter(|subject| text(subject, "/kind") == "ServiceAccount");
        let mut names = accounts.map(|account| text(account, "/name"));
        let name = names.find(|name| ours(name) && !uses(name))?;
        Some(Fault::new(binding, format!("no pod uses the rights of {name}: remove it")))
    });
    unused.collect()
}
