//! An overlay, run as processes of this machine: the pods' own environment, arguments, files and probes.
//!
//! What a cluster gives and one machine cannot is mapped, and every mapping is printed: names of Services become ports
//! of 127.0.0.1, listening ports become free ones, and what is mounted lies in a temporary folder.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use self::pods::{COMPONENT, Pod, Pods};
use self::replicas::{Children, Which};
use super::environment::Sources;
use super::objects::{self, Workload, is_ours};
use super::program::{Program, said};
use super::render::render;
use super::running::{Folder, Running};
use super::secrets;
use super::{Context, Outcome};
use crate::postgres::Server;
use crate::process::Interrupt;
use crate::tools;

mod broker;
mod database;
mod edge;
mod files;
mod map;
mod pods;
mod probes;
mod replicas;

/// The overlays that run on one machine as they are: the others add a mesh or a cloud.
const OVERLAYS: [&str; 2] = ["minikube-together", "minikube-apart"];
const JOB_MAX: Duration = Duration::from_secs(120);
const ORDERS: u64 = 80;
/// They take four seconds.
const IN_THE_MIDDLE: Duration = Duration::from_secs(2);

/// Runs each overlay, places orders through its address, and stops it.
///
/// # Errors
/// When there is no program to run, or no temporary folder can be made.
pub(crate) fn check(ctx: &Context) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let program = Program::of(ctx);
    let interrupt = Interrupt::listen()?;
    let mut found = None;
    for overlay in OVERLAYS {
        println!("\n== {overlay}");
        let documents = render(ctx, overlay)?;
        let mut secrets = Vec::new();
        if needs_secrets(&documents) {
            match secrets::fresh(&program) {
                Ok(fresh) => secrets = fresh,
                Err(error) => {
                    outcome.failed.push(format!("deploy/k8s/overlays/{overlay}: it was not run: {error:#}"));
                    continue;
                }
            }
        }
        let tools = found.get_or_insert_with(|| tools::find_or_install(false));
        let servers = Servers { nats: tools.nats.as_deref(), postgres: tools.postgres.as_ref() };
        let run = Run { program: &program, servers, sources: Sources { documents: &documents, secrets: &secrets } };
        match run.whole(overlay, &interrupt) {
            Ok(facts) => outcome.passed.extend(facts.into_iter().map(|fact| format!("{overlay}: {fact}"))),
            Err(error) => outcome.failed.push(format!("deploy/k8s/overlays/{overlay}: {error:#}")),
        }
        if interrupt.is_set() {
            bail!("interrupted");
        }
    }
    if let Some(tools) = &found {
        outcome.missing.extend(
            tools
                .missing
                .iter()
                .filter(|one| one.name != "nats-server-old")
                .map(|one| (one.name.clone(), one.why.clone())),
        );
    }
    Ok(outcome)
}

/// Whether a pod needs a Secret that the overlay does not hold.
fn needs_secrets(documents: &[Value]) -> bool {
    let own = secrets::known(&objects::of_kind(documents, "Secret").cloned().collect::<Vec<_>>());
    let needed: BTreeSet<_> = super::agree::secrets_of(documents).into_keys().collect();
    needed.iter().any(|name| !own.contains_key(name))
}

#[derive(Debug, Clone, Copy)]
struct Servers<'a> {
    nats: Option<&'a Path>,
    postgres: Option<&'a tools::Postgres>,
}

#[derive(Debug, Clone, Copy)]
struct Run<'a> {
    program: &'a Program,
    servers: Servers<'a>,
    sources: Sources<'a>,
}

// === impl Run ===

impl Run<'_> {
    /// Servers, then the jobs, then everything else; orders; and the end. Returns what was seen.
    fn whole(self, overlay: &str, interrupt: &Interrupt) -> Result<Vec<String>> {
        let folder = Folder::make(overlay)?;
        let database = self.database(interrupt)?;
        let pods = Pods::plan(self.sources, folder.path(), database.as_ref().map(|(_, port)| *port))?;
        pods.show();
        let mut facts = Vec::new();
        let mut children = Children::new(interrupt);
        for pod in pods.all().iter().filter(|pod| !is_ours(pod.container)) {
            match pod.workload.label(COMPONENT) {
                "broker" => {
                    let nats = self.servers.nats.context("there is no nats-server")?;
                    children.start(pod, broker::command(pod, nats)?)?;
                    facts.push(format!("a nats-server runs on the configuration of {}", pod.title()));
                }
                "database" => {
                    let (programs, (_, port)) =
                        self.servers.postgres.zip(database.as_ref()).context("there is no PostgreSQL")?;
                    database::set_up(pod, *port, programs)?;
                    facts.push(format!("a PostgreSQL runs with the first scripts of {}", pod.title()));
                }
                _ => println!("{}: not run: its image is not this project's", pod.title()),
            }
        }
        children.wait_ready(&pods)?;
        for job in pods.all().iter().filter(|pod| pod.is_job() && is_ours(pod.container)) {
            self.job(job)?;
            facts.push(format!("{} ended well", job.title()));
        }
        let ours: Vec<&Pod<'_>> = pods.all().iter().filter(|pod| !pod.is_job() && is_ours(pod.container)).collect();
        for pod in &ours {
            children.start(pod, pod.command(self.program.path()))?;
        }
        facts.extend(children.wait_ready(&pods)?);
        // A module by itself is a Deployment of several: one of them has to go in the middle.
        let modules: BTreeSet<_> = ours.iter().map(|pod| pod.title()).collect();
        facts.extend(self.orders(&pods, &mut children, modules.len() > 1)?);
        facts.extend(children.drain(Which::All)?);
        for pod in &ours {
            files::nothing_written_outside(pod)?;
        }
        facts.push("no process wrote outside of what is mounted".to_owned());
        drop(database);
        Ok(facts)
    }

    /// A server for the pod that is a database, if there is one, and its port.
    fn database(self, interrupt: &Interrupt) -> Result<Option<(Server, u16)>> {
        let is_database = |workload: &Workload<'_>| workload.label(COMPONENT) == "database";
        if !objects::workloads(self.sources.documents).iter().any(is_database) {
            return Ok(None);
        }
        let server = Server::start(self.servers.postgres.context("there is no PostgreSQL")?, interrupt)?;
        let port = server.url().rsplit_once(':').and_then(|(_, rest)| rest.split('/').next()?.parse().ok());
        Ok(Some((server, port.context("PostgreSQL has no port")?)))
    }

    /// A job's pod is run to its end, as often as it may fail.
    fn job(self, pod: &Pod<'_>) -> Result<()> {
        let tries = objects::number(pod.workload.document, "/spec/backoffLimit").unwrap_or(6) + 1;
        let until = Instant::now() + JOB_MAX;
        for tried in 1..=tries {
            let mut command = pod.command(self.program.path());
            println!("{}: $ {}", pod.title(), crate::workspace::shown(&command));
            let mut running = Running::start_with_log(&pod.title(), &mut command, pod.root.with_extension("log"))?;
            let ended = running.wait_end(until)?;
            if ended.is_some_and(|status| status.success()) {
                return Ok(());
            }
            let told = format!("{}: try {tried}: {ended:?}: {}", pod.title(), running.last_lines());
            ensure!(tried < tries && Instant::now() < until, "{told}");
            println!("{told}");
            sleep(Duration::from_secs(1));
        }
        Ok(())
    }

    /// `pangaea load` places orders through the overlay's address and waits until they are settled. In the middle the first
    /// replica of each module goes, which may be the one that leads.
    fn orders(self, pods: &Pods<'_>, children: &mut Children<'_>, is_apart: bool) -> Result<Vec<String>> {
        let edge = edge::start(pods, self.sources.documents, self.program, children)?;
        let (email, password) = self.staff(pods);
        let orders = ORDERS.to_string();
        let mut load = Command::new(self.program.path());
        load.args(["load", "--json", "--seed", "1", "--rate", "20", "--orders", &orders, "--settle-s", "60"]);
        load.args(["--url", &format!("http://{edge}")]).env_clear().stdin(Stdio::null());
        if let Some((email, password)) = email.zip(password) {
            load.args(["--email", &email, "--password", &password]);
        }
        println!("$ {}", crate::workspace::shown(&load));
        load.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut load = load.spawn().context("`pangaea load` does not start")?;
        sleep(IN_THE_MIDDLE);
        let drained = children.drain(Which::FirstOfSeveral);
        if drained.is_err() {
            let _ = load.kill();
        }
        let mut facts: Vec<_> =
            drained?.into_iter().map(|fact| format!("while orders flow, the first of {fact}")).collect();
        let output = load.wait_with_output().context("`pangaea load`")?;
        ensure!(
            !is_apart || !facts.is_empty(),
            "no module has a second replica, so that none could go while orders flowed"
        );
        children.look()?;
        ensure!(output.status.success(), "`pangaea load`: {}", said(&output));
        let report: Value = serde_json::from_slice(&output.stdout).context("`pangaea load --json` printed no JSON")?;
        let [accepted, confirmed] =
            ["/accepted", "/confirmed"].map(|key| objects::number(&report, key).unwrap_or_default());
        ensure!(
            accepted == ORDERS && confirmed > 0,
            "of {ORDERS} orders {accepted} were accepted and {confirmed} confirmed: {report}"
        );
        facts.push(format!("{accepted} orders accepted through HTTP, {confirmed} confirmed, all settled"));
        Ok(facts)
    }

    /// The account that may see the stock: the manifests' first administrator; with demo accounts, load's own default.
    fn staff(self, pods: &Pods<'_>) -> (Option<String>, Option<String>) {
        let key = |name: &str| {
            let name = format!("PANGAEA__MODULES__USER__OPTIONS__{name}");
            let value = pods.all().iter().find_map(|pod| pod.given.environment.get(&name).cloned());
            value.filter(|value| !value.is_empty())
        };
        if key("DEMO_ACCOUNTS").is_some_and(|demo| demo == "false") {
            return (key("FIRST_ADMIN_EMAIL"), key("FIRST_ADMIN_PASSWORD"));
        }
        (None, None)
    }
}
