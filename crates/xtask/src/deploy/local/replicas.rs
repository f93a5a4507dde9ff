//! The processes that were started: ready in time, drained in time, and stopped whatever happens.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::pods::{Pod, Pods};
use super::probes::probe;
use crate::deploy::objects::{is_ours, number};
use crate::deploy::running::Running;
use crate::process::Interrupt;
use crate::workspace;

const POLL: Duration = Duration::from_millis(200);

/// Children in the order of their start; what is left of them is stopped in the reverse order when this is dropped.
#[derive(Debug)]
pub(super) struct Children<'a> {
    started: Vec<Started>,
    interrupt: &'a Interrupt,
}

/// Which processes are to end.
#[derive(Debug, Clone, Copy)]
pub(super) enum Which {
    All,
    /// The first replica wherever there are more: the others have to go on.
    FirstOfSeveral,
}

#[derive(Debug)]
struct Started {
    /// `Deployment product`, and the pod's ordinal.
    of: (String, u64),
    running: Running,
    /// How long it may take to end after SIGTERM; none for what is not the store's.
    drain_max: Option<Duration>,
}

// === impl Children ===

impl<'a> Children<'a> {
    pub(super) fn new(interrupt: &'a Interrupt) -> Self {
        Self { started: Vec::new(), interrupt }
    }

    /// Starts a pod's process.
    pub(super) fn start(&mut self, pod: &Pod<'_>, command: Command) -> Result<()> {
        let of = (pod.title(), pod.ordinal);
        let log = pod.root.with_extension("log");
        let pre_stop_s = number(pod.container, "/lifecycle/preStop/sleep/seconds").unwrap_or_default();
        let drain_s = pod.workload.grace_s().saturating_sub(pre_stop_s);
        let drain_max = is_ours(pod.container).then(|| Duration::from_secs(drain_s));
        self.start_as(of, command, log, drain_max)
    }

    pub(super) fn start_as(
        &mut self,
        of: (String, u64),
        mut command: Command,
        log: PathBuf,
        drain_max: Option<Duration>,
    ) -> Result<()> {
        println!("{}-{}: $ {}", of.0, of.1, workspace::shown(&command));
        let running = Running::start_with_log(&format!("{}-{}", of.0, of.1), &mut command, log)?;
        self.started.push(Started { of, running, drain_max });
        Ok(())
    }

    /// Waits for the startup and the readiness probe of all that runs, then asks the liveness probe once.
    pub(super) fn wait_ready(&mut self, pods: &Pods<'_>) -> Result<Vec<String>> {
        let begun = Instant::now();
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for pod in pods.all() {
            let of = (pod.title(), pod.ordinal);
            if !self.started.iter().any(|started| started.of == of) {
                continue;
            }
            for name in ["startupProbe", "readinessProbe", "livenessProbe"] {
                let Some(probe) = probe(pod, name) else { continue };
                let until = Instant::now() + probe.patience();
                while let Err(answer) = probe.try_once() {
                    self.look()?;
                    if Instant::now() >= until {
                        let log = self.started.iter().find(|one| one.of == of).map(|one| one.running.last_lines());
                        bail!("{}-{}: {name}: {answer}; its last lines: {}", of.0, of.1, log.unwrap_or_default());
                    }
                    sleep(POLL);
                }
            }
            *counts.entry(of.0).or_default() += 1;
        }
        let seconds = begun.elapsed().as_secs_f64();
        let told = |(title, count)| {
            format!("{title}: {count} started, ready and alive by its probes, {seconds:.1} s after the start")
        };
        Ok(counts.into_iter().map(told).collect())
    }

    /// An error when one has ended by itself.
    pub(super) fn look(&mut self) -> Result<()> {
        ensure!(!self.interrupt.is_set(), "interrupted");
        self.started.iter_mut().try_for_each(|started| started.running.ensure_runs())
    }

    /// SIGTERM to these processes of the store, the last one first: each must end well within its grace period.
    pub(super) fn drain(&mut self, which: Which) -> Result<Vec<String>> {
        let second: BTreeSet<_> = self.started.iter().filter(|one| one.of.1 == 1).map(|one| one.of.0.clone()).collect();
        let is_meant = |one: &Started| match which {
            Which::All => true,
            Which::FirstOfSeveral => one.of.1 == 0 && second.contains(&one.of.0),
        };
        let mut slowest: BTreeMap<String, (f64, u64)> = BTreeMap::new();
        for at in (0..self.started.len()).rev() {
            let Some(drain_max) = self.started[at].drain_max.filter(|_| is_meant(&self.started[at])) else { continue };
            let mut started = self.started.remove(at);
            let seconds = started.end(drain_max)?;
            let entry = slowest.entry(started.of.0).or_insert((0.0, drain_max.as_secs()));
            entry.0 = entry.0.max(seconds);
        }
        let told =
            |(title, (seconds, max))| format!("{title}: drained after SIGTERM in {seconds:.1} s at most, of {max} s");
        Ok(slowest.into_iter().map(told).collect())
    }
}

impl Drop for Children<'_> {
    fn drop(&mut self) {
        while let Some(started) = self.started.pop() {
            drop(started);
        }
    }
}

// === impl Started ===

impl Started {
    /// How long it took to end after SIGTERM.
    fn end(&mut self, within: Duration) -> Result<f64> {
        let begun = Instant::now();
        let status = self.running.stop_within(within);
        let seconds = begun.elapsed().as_secs_f64();
        if status.is_some_and(|status| status.success()) && begun.elapsed() < within {
            return Ok(seconds);
        }
        let (title, ordinal) = &self.of;
        let max = within.as_secs();
        bail!(
            "{title}-{ordinal}: after SIGTERM it ended with {status:?} in {seconds:.1} s of {max} s; its last lines: {}",
            self.running.last_lines()
        )
    }
}
