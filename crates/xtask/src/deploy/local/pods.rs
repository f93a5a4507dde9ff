//! Which pods there would be, and what each of them is started with here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::files;
use super::map::Map;
use crate::deploy::environment::{Given, Sources, given};
use crate::deploy::objects::{self, Workload, container_port, kind, list, name, number, selects};
use crate::process::{Signal, free_port, tied_to_us};

/// What a pod is in the store: `module`, `broker`, `database` …
pub(super) const COMPONENT: &str = "app.kubernetes.io/component";

/// The main container of one pod.
#[derive(Debug)]
pub(super) struct Pod<'a> {
    pub(super) workload: Workload<'a>,
    pub(super) container: &'a Value,
    pub(super) ordinal: u64,
    /// As the manifests give it, before anything is mapped.
    pub(super) given: Given,
    pub(super) root: PathBuf,
    pub(super) mounts: Vec<String>,
    pub(super) map: Map,
}

/// All pods, and where their Services lead.
#[derive(Debug)]
pub(super) struct Pods<'a> {
    all: Vec<Pod<'a>>,
    services: BTreeMap<(String, u64), Vec<u16>>,
    folder: PathBuf,
}

// === impl Pods ===

impl<'a> Pods<'a> {
    /// Gives every port of every pod a free one here, and writes what is mounted. The database listens already.
    ///
    /// # Errors
    /// When a reference leads nowhere, or a pod is of a kind that is not known here.
    pub(super) fn plan(sources: Sources<'a>, folder: &Path, database: Option<u16>) -> Result<Self> {
        let mut all = Vec::new();
        let nowhere = free_port()?;
        for workload in objects::workloads(sources.documents) {
            let [container] = workload.containers() else {
                bail!("{}: one container to a pod is expected here", workload.title());
            };
            let replicas = if kind(workload.document) == "Job" { 1 } else { workload.replicas() };
            for ordinal in 0..replicas {
                let root = folder.join(format!("{}-{ordinal}", workload.name()));
                std::fs::create_dir_all(&root)?;
                let mounts = files::mount(&workload, container, sources, &root).with_context(|| workload.title())?;
                let given = given(&workload, container, sources, ordinal);
                ensure!(given.faults.is_empty(), "{}: {}", workload.title(), given.faults.join("; "));
                let map = Map {
                    services: BTreeMap::new(),
                    ports: match database.filter(|_| workload.label(COMPONENT) == "database") {
                        Some(port) => BTreeMap::from([(5432, port)]),
                        None => ports(container)?,
                    },
                    mounts: mounts.clone(),
                    root: root.clone(),
                    nowhere,
                };
                all.push(Pod { workload, container, ordinal, given, root, mounts, map });
            }
        }
        let services = services(sources.documents, &all);
        let first: BTreeMap<_, _> =
            services.iter().filter_map(|(key, ports)| Some((key.clone(), *ports.first()?))).collect();
        all.iter_mut().for_each(|pod| pod.map.services.clone_from(&first));
        Ok(Self { all, services, folder: folder.to_owned() })
    }

    pub(super) fn all(&self) -> &[Pod<'a>] {
        &self.all
    }

    /// Where the pods' files and logs are.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The local ports behind a Service's port.
    pub(super) fn behind(&self, service: &str, port: u64) -> &[u16] {
        self.services.get(&(service.to_owned(), port)).map(Vec::as_slice).unwrap_or_default()
    }

    /// Prints what differs from what the manifests say.
    pub(super) fn show(&self) {
        for ((service, port), behind) in &self.services {
            let first = behind.first().map(u16::to_string).unwrap_or_default();
            println!("mapped: Service {service}:{port} → 127.0.0.1:{first}, the first of {behind:?}");
        }
        // The other replicas differ in ports alone.
        for pod in self.all.iter().filter(|pod| pod.ordinal == 0) {
            let variables = pod.given.environment.iter().map(|(key, value)| (key.as_str(), value.as_str()));
            let words = pod.given.command.iter().chain(&pod.given.args).map(|word| ("argument", word.as_str()));
            for (key, value) in variables.chain(words) {
                let mapped = pod.map.value(value);
                if mapped != value && key.contains("URL") {
                    // A password may stand in it.
                    println!("mapped: {}-{}: {key} leads to this machine", pod.title(), pod.ordinal);
                } else if mapped != value {
                    println!("mapped: {}-{}: {key}: {value} → {mapped}", pod.title(), pod.ordinal);
                }
            }
        }
    }
}

fn ports(container: &Value) -> Result<BTreeMap<u64, u16>> {
    let numbers: BTreeSet<u64> =
        list(container, "/ports").iter().filter_map(|port| number(port, "/containerPort")).collect();
    numbers.into_iter().map(|number| Ok((number, free_port()?))).collect()
}

fn services(documents: &[Value], pods: &[Pod<'_>]) -> BTreeMap<(String, u64), Vec<u16>> {
    let mut services = BTreeMap::new();
    for service in objects::of_kind(documents, "Service") {
        let chosen: Vec<_> =
            pods.iter().filter(|pod| selects(service.pointer("/spec/selector"), pod.workload.labels())).collect();
        for port in list(service, "/spec/ports") {
            let target = port.get("targetPort").or_else(|| port.get("port")).unwrap_or(&Value::Null);
            let local = chosen.iter().filter_map(|pod| pod.local(target)).map(|address| address.port()).collect();
            services.insert((name(service).to_owned(), number(port, "/port").unwrap_or_default()), local);
        }
    }
    services
}

// === impl Pod ===

impl Pod<'_> {
    pub(super) fn title(&self) -> String {
        self.workload.title()
    }

    pub(super) fn is_job(&self) -> bool {
        kind(self.workload.document) == "Job"
    }

    /// Where a port of the container, by name or number, listens here.
    pub(super) fn local(&self, port: &Value) -> Option<SocketAddr> {
        let number = container_port(self.container, port)?;
        Some(SocketAddr::from(([127, 0, 0, 1], *self.map.ports.get(&number)?)))
    }

    /// The environment, mapped.
    pub(super) fn environment(&self) -> BTreeMap<String, String> {
        let pairs = self.given.environment.iter();
        pairs.map(|(key, value)| (key.clone(), self.map.value(value))).collect()
    }

    /// `args`, mapped; a `command` in the manifest names the image's program, which `program` stands for here.
    pub(super) fn words(&self) -> Vec<String> {
        self.given.command.iter().skip(1).chain(&self.given.args).map(|word| self.map.value(word)).collect()
    }

    /// The command with the pod's own environment and no other.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = tied_to_us(program, Signal::Term);
        command.args(self.words()).env_clear().envs(self.environment()).current_dir(&self.root);
        command
    }
}
