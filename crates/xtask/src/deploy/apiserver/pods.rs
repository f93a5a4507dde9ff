//! PodSecurity refuses Pods and not the Deployments that make them: so each pod template is tried as a Pod.

use anyhow::Result;
use serde_json::{Value, json};

use crate::deploy::kubernetes::Kubectl;
use crate::deploy::objects::{Workload, of_kind, workloads};

const NAMESPACE: &str = "restricted";
const LEVEL: &str = "pod-security.kubernetes.io/enforce";

/// How many templates the overlay has, and what the server says against them.
///
/// # Errors
/// When the namespace for them cannot be made.
pub(super) fn faults(kubectl: &Kubectl, overlay: &str, documents: &[Value]) -> Result<(usize, Vec<String>)> {
    prepare(kubectl, documents)?;
    let pods: Vec<_> = workloads(documents).iter().map(|workload| (workload.title(), bare(workload))).collect();
    let all: Vec<&Value> = pods.iter().map(|(_, pod)| pod).collect();
    if kubectl.create_dry(&all)?.is_ok() {
        return Ok((pods.len(), Vec::new()));
    }
    let mut faults = Vec::new();
    for (title, pod) in &pods {
        if let Err(refusal) = kubectl.create_dry(&[pod])? {
            faults.push(format!("deploy/k8s/overlays/{overlay}: {title}: as a bare Pod: refused: {refusal}"));
        }
    }
    Ok((pods.len(), faults))
}

/// A namespace that enforces "restricted", with the overlay's ServiceAccounts: a Pod of an account that is not there is
/// refused for that alone.
pub(super) fn prepare(kubectl: &Kubectl, documents: &[Value]) -> Result<()> {
    let labels = json!({ LEVEL: "restricted", format!("{LEVEL}-version"): "latest" });
    let namespace =
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE, "labels": labels } });
    // Controllers make this one in a whole cluster.
    let usual = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "default", "namespace": NAMESPACE } });
    let accounts = of_kind(documents, "ServiceAccount").map(|account| super::moved(account, NAMESPACE));
    let documents: Vec<_> = [namespace, usual].into_iter().chain(accounts).collect();
    kubectl.make(&documents.iter().collect::<Vec<_>>())
}

/// The Pod that a controller would make of the template.
fn bare(workload: &Workload<'_>) -> Value {
    let mut spec = workload.pod().clone();
    spec["volumes"] = workload.volumes().into();
    let metadata = json!({
        "name": format!("{}-0", workload.name()),
        "namespace": NAMESPACE,
        "labels": workload.labels(),
        "annotations": workload.template.pointer("/metadata/annotations").unwrap_or(&Value::Null),
    });
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_has_the_volumes_that_its_set_claims() {
        let set = json!({ "kind": "StatefulSet", "metadata": { "name": "nats" }, "spec": {
            "template": { "metadata": { "labels": { "a": "b" } }, "spec": { "volumes": [{ "name": "tmp", "emptyDir": {} }] } },
            "volumeClaimTemplates": [{ "metadata": { "name": "data" } }],
        } });
        let pod = bare(&workloads(&[set])[0]);
        assert_eq!(pod["metadata"]["name"], "nats-0");
        assert_eq!(
            pod["spec"]["volumes"][1],
            json!({ "name": "data", "persistentVolumeClaim": { "claimName": "data" } })
        );
    }
}
