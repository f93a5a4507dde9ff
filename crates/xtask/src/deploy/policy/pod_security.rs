//! Kubernetes' own profile "restricted", judged here so that a fault shows before a cluster refuses the pod.

use serde_json::Value;

use super::objects::{Fault, Objects, Workload, in_containers, is_true, list, number, text};

/// Volumes that the profile allows.
const VOLUMES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];
/// Settings of the kernel that a pod may change without touching others.
const SYSCTLS: [&str; 9] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
];

pub(super) fn privileged(objects: &Objects<'_>) -> Vec<Fault> {
    in_containers(objects, |_, container| {
        is_true(container, "/securityContext/privileged").then(|| "remove securityContext.privileged".to_owned())
    })
}

pub(super) fn privilege_escalation(objects: &Objects<'_>) -> Vec<Fault> {
    in_containers(objects, |_, container| {
        let is_off = container.pointer("/securityContext/allowPrivilegeEscalation") == Some(&Value::Bool(false));
        (!is_off).then(|| "set securityContext.allowPrivilegeEscalation to false".to_owned())
    })
}

pub(super) fn capabilities(objects: &Objects<'_>) -> Vec<Fault> {
    in_containers(objects, |_, container| {
        let drops = list(container, "/securityContext/capabilities/drop");
        if !drops.iter().any(|capability| capability == "ALL") {
            return Some("drop ALL in securityContext.capabilities".to_owned());
        }
        let mut added = list(container, "/securityContext/capabilities/add").iter();
        let wrong = added.find(|capability| *capability != "NET_BIND_SERVICE")?;
        Some(format!("it adds the capability {wrong}; only NET_BIND_SERVICE may be"))
    })
}

pub(super) fn root_user(objects: &Objects<'_>) -> Vec<Fault> {
    in_containers(objects, |workload, container| {
        if setting(workload, container, "runAsUser").and_then(Value::as_u64) == Some(0) {
            return Some("runAsUser is 0".to_owned());
        }
        let is_safe = setting(workload, container, "runAsNonRoot") == Some(&Value::Bool(true));
        (!is_safe).then(|| "set runAsNonRoot to true".to_owned())
    })
}

pub(super) fn seccomp(objects: &Objects<'_>) -> Vec<Fault> {
    in_containers(objects, |workload, container| {
        let profile = setting(workload, container, "seccompProfile").map(|profile| text(profile, "/type"));
        let is_safe = matches!(profile, Some("RuntimeDefault" | "Localhost"));
        (!is_safe).then(|| "set seccompProfile.type to RuntimeDefault".to_owned())
    })
}

pub(super) fn host_namespace(objects: &Objects<'_>) -> Vec<Fault> {
    let shared = |workload: Workload<'_>| {
        let found = ["hostNetwork", "hostPID", "hostIPC"].into_iter().filter(move |key| workload.pod()[key] == true);
        found.map(move |key| Fault::new(workload.document, format!("remove {key}"))).collect::<Vec<_>>()
    };
    objects.workloads().flat_map(shared).collect()
}

pub(super) fn host_port(objects: &Objects<'_>) -> Vec<Fault> {
    in_containers(objects, |_, container| {
        let mut ports = list(container, "/ports").iter().filter_map(|port| number(port, "/hostPort"));
        let port = ports.find(|port| *port != 0)?;
        Some(format!("remove hostPort {port}; a Service gives it an address"))
    })
}

pub(super) fn volume_type(objects: &Objects<'_>) -> Vec<Fault> {
    let wrong = |workload: Workload<'_>| {
        let volumes = list(workload.pod(), "/volumes").iter().filter_map(Value::as_object);
        let types = volumes.flat_map(|volume| volume.keys()).filter(|key| *key != "name");
        let wrong = types.filter(|key| !VOLUMES.contains(&key.as_str()));
        let told = wrong.map(|key| Fault::new(workload.document, format!("a volume of the type {key} is not allowed")));
        told.collect::<Vec<_>>()
    };
    objects.workloads().flat_map(wrong).collect()
}

/// The rest of the profile: procMount, sysctls, SELinux and AppArmor.
pub(super) fn unsafe_options(objects: &Objects<'_>) -> Vec<Fault> {
    let of_pods = objects.workloads().flat_map(|workload| {
        let sysctls = list(workload.pod(), "/securityContext/sysctls").iter().map(|sysctl| text(sysctl, "/name"));
        let wrong = sysctls.filter(|name| !SYSCTLS.contains(name));
        wrong.map(move |name| Fault::new(workload.document, format!("remove the sysctl {name}"))).collect::<Vec<_>>()
    });
    let of_containers = in_containers(objects, |workload, container| {
        if !matches!(text(container, "/securityContext/procMount"), "" | "Default") {
            return Some("remove securityContext.procMount".to_owned());
        }
        if setting(workload, container, "appArmorProfile").is_some_and(|profile| text(profile, "/type") == "Unconfined")
        {
            return Some("an AppArmor profile of the type Unconfined is not allowed".to_owned());
        }
        let selinux = setting(workload, container, "seLinuxOptions")?;
        let is_changed = selinux.get("user").is_some() || selinux.get("role").is_some();
        is_changed.then(|| "remove user and role of seLinuxOptions".to_owned())
    });
    of_pods.chain(of_containers).collect()
}

/// The container's own setting, else its pod's.
fn setting<'a>(workload: Workload<'a>, container: &'a Value, key: &str) -> Option<&'a Value> {
    let of = |value: &'a Value| value.get("securityContext").and_then(|context| context.get(key));
    of(container).or_else(|| of(workload.pod()))
}
