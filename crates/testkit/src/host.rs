use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::api::{Answer, Api};
use crate::folder::Folder;
use crate::free_port;
use crate::placement::{Part, Placement};
use crate::process::Process;
use crate::release::Release;
use crate::wait::eventually;

/// A slow machine that runs two stores of many processes each is given its time.
const READY_MAX: Duration = Duration::from_secs(60);
/// A process that runs says at once whether it leads.
const LEADS_MAX: Duration = Duration::from_secs(1);
/// Longer than the store's own bounds on a drain.
const STOP_MAX: Duration = Duration::from_secs(30);

/// One process of the store that hosts modules.
#[derive(Debug)]
pub struct Host {
    part: Part,
    process: Process,
    http: String,
    operations: Api,
}

// === impl Host ===

impl Host {
    pub(crate) fn new(part: Part, name: &str, program: &Path, args: &[&str], folder: &Folder) -> Result<Self> {
        let address = || format!("127.0.0.1:{}", free_port());
        let (http, operations) = (address(), address());
        let mut process = Process::new(name, program, folder.path());
        process.args(args).envs(&[
            ("PANGAEA__RUNTIME__MODULES".to_owned(), part.names(",")),
            ("PANGAEA__HTTP__LISTEN".to_owned(), http.clone()),
            ("PANGAEA__OPERATIONS__LISTEN".to_owned(), operations.clone()),
        ]);
        let operations = Api::new(&format!("http://{operations}"))?;
        Ok(Self { part, process, http: format!("http://{http}"), operations })
    }

    /// The modules that it hosts.
    pub fn part(&self) -> &Part {
        &self.part
    }

    /// The modules' names, and the replica's number where there are several.
    pub fn name(&self) -> &str {
        self.process.name()
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Its process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// The base URL of its API, past the edge.
    pub fn url(&self) -> &str {
        &self.http
    }

    /// A client of its operations listener.
    pub fn operations(&self) -> &Api {
        &self.operations
    }

    /// It runs this release from its next start on.
    pub(crate) fn run_by(&mut self, release: &Release, placement: Placement) {
        let config = release.config_file(placement);
        self.process.replace(release.program(), &["run", "--config", &config]);
    }

    /// What `/readyz` says.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn readiness(&self) -> Result<Answer> {
        self.operations.get("/readyz").send().await
    }

    /// What `/metrics` says.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn metrics(&self) -> Result<String> {
        Ok(self.operations.get("/metrics").send().await?.expect(200)?.text)
    }

    /// Whether it says that it leads `module`.
    ///
    /// # Errors
    /// When it does not answer soon: it may be stopped.
    pub async fn leads(&self, module: &str) -> Result<bool> {
        let series = format!("pangaea_leader{{module=\"{module}\"}} 1");
        let metrics = tokio::time::timeout(LEADS_MAX, self.metrics());
        Ok(metrics.await.context("it does not answer")??.lines().any(|line| line == series))
    }

    /// Starts it again, and waits until it is ready.
    ///
    /// # Errors
    /// When it is not ready in time; the end of its log is in the error.
    pub async fn restart(&mut self) -> Result<()> {
        self.process.start()?;
        self.wait_ready().await
    }

    /// # Errors
    /// When it is not ready in time; the end of its log is in the error.
    pub async fn wait_ready(&mut self) -> Result<()> {
        wait_answers(&mut self.process, &self.operations, "/readyz").await
    }

    /// SIGTERM: it must drain and end with status 0.
    ///
    /// # Errors
    /// When it has died before, does not end in time or with another status.
    pub async fn stop(&mut self) -> Result<()> {
        stop(&mut self.process).await
    }
}

pub(crate) async fn stop(process: &mut Process) -> Result<()> {
    process.must_run()?;
    let status = process.terminate(STOP_MAX).await?;
    let (name, tail) = (process.name(), process.log_tail());
    ensure!(status.success(), "{name} ended with {status} after SIGTERM; its log ends:\n{tail}");
    Ok(())
}

pub(crate) async fn wait_answers(process: &mut Process, api: &Api, path: &str) -> Result<()> {
    let mut last = String::new();
    let what = format!("{} to answer GET {path} with 200", process.name());
    let answered = eventually(&what, READY_MAX, async || {
        process.must_run()?;
        match api.get(path).send().await {
            Ok(answer) if answer.status == 200 => return Ok(Some(())),
            Ok(answer) => last = format!("{} {}", answer.status, answer.text),
            Err(error) => last = format!("{error:#}"),
        }
        Ok(None)
    });
    answered.await.with_context(|| format!("last: {last}\nits log ends:\n{}", process.log_tail()))
}
