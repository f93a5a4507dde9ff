//! Rules for what makes pods: how many, where, and who changes their number.

use serde_json::Value;

use super::objects::{Fault, Objects, Workload, is_ours, list, takes, text};

/// More than one replica, and a drain of nodes may take them all at once.
pub(super) fn disruption_budget(objects: &Objects<'_>) -> Vec<Fault> {
    let is_covered = |workload: Workload<'_>| {
        objects.of_kind("PodDisruptionBudget").any(|budget| takes(&budget["spec"]["selector"], workload.labels()))
    };
    let wrong = several(objects).filter(|workload| !is_covered(*workload));
    wrong.map(|workload| Fault::new(workload.document, "it has replicas and no PodDisruptionBudget")).collect()
}

pub(super) fn topology_spread(objects: &Objects<'_>) -> Vec<Fault> {
    let takes_own = |workload: Workload<'_>| {
        let mut constraints = list(workload.pod(), "/topologySpreadConstraints").iter();
        constraints.any(|constraint| takes(&constraint["labelSelector"], workload.labels()))
    };
    let wrong = several(objects).filter(|workload| !takes_own(*workload));
    let why = "its replicas may all lie on one node: add topologySpreadConstraints that select them";
    wrong.map(|workload| Fault::new(workload.document, why)).collect()
}

/// With the bus in memory or the database in a file there is one process, also while it is being replaced.
pub(super) fn one_process(objects: &Objects<'_>) -> Vec<Fault> {
    let fault = |workload: Workload<'_>| {
        let why = workload.containers().iter().find_map(|container| held_by_one(*objects, container))?;
        let replicas = objects.replicas_max(workload);
        if replicas > 1 {
            return Some(Fault::new(workload.document, format!("{why}, with {replicas} replicas")));
        }
        let overlaps = text(workload.document, "/kind") == "Deployment"
            && text(workload.document, "/spec/strategy/type") != "Recreate";
        overlaps.then(|| Fault::new(workload.document, format!("{why}: its strategy must be Recreate")))
    };
    objects.workloads().filter(|workload| workload.is_service()).filter_map(fault).collect()
}

fn held_by_one<'a>(objects: Objects<'a>, container: &'a Value) -> Option<&'static str> {
    let command = list(container, "/args").first().and_then(Value::as_str).unwrap_or("run");
    if !is_ours(container) || command != "run" {
        return None;
    }
    let environment = objects.environment(container);
    if environment.get("PANGAEA__BUS__KIND").is_none_or(|kind| *kind == "memory") {
        return Some("its bus is in memory");
    }
    environment.get("PANGAEA__DATABASE__URL").filter(|url| url.starts_with("sqlite:")).map(|_| "its database is a file")
}

/// Two that set the number of replicas set it in turns.
pub(super) fn two_autoscalers(objects: &Objects<'_>) -> Vec<Fault> {
    let names = |workload: Workload<'_>| {
        let kinds = ["HorizontalPodAutoscaler", "ScaledObject"].into_iter();
        let found =
            kinds.flat_map(|kind| objects.autoscalers(kind, workload).map(move |s| (kind, text(s, "/metadata/name"))));
        found.map(|(kind, name)| format!("{kind} {name}")).collect::<Vec<_>>()
    };
    let all = objects.workloads().map(|workload| (workload, names(workload))).filter(|(_, names)| names.len() > 1);
    all.map(|(workload, names)| Fault::new(workload.document, format!("keep one of {}", names.join(", ")))).collect()
}

fn several<'a>(objects: &Objects<'a>) -> impl Iterator<Item = Workload<'a>> {
    let documents = *objects;
    let services = objects.workloads().filter(|w| matches!(text(w.document, "/kind"), "Deployment" | "StatefulSet"));
    services.filter(move |workload| documents.replicas_max(*workload) > 1)
}
