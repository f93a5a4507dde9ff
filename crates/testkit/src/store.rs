use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use pangaea_simulator::{Ledger, LedgerEntry, LedgerSummary};
use tokio::sync::SemaphorePermit;

use crate::api::{Account, Api};
use crate::broker::Broker;
use crate::builder::{StoreBuilder, config_file};
use crate::clock::DrivenClock;
use crate::folder::Folder;
use crate::host::{Host, stop, wait_answers};
use crate::placement::Placement;
use crate::postgres::{Database, Postgres};
use crate::process::{Output, Process};
use crate::program::{RUN_MAX, run_within};
use crate::proxies::Proxies;
use crate::rights::{OBSERVER, Rights};

/// A month of a real shop, recorded or replayed by a debug build on a busy machine.
const RECORDED_MAX: Duration = Duration::from_secs(600);

/// A running store. Dropped, everything of it is killed.
#[derive(Debug)]
pub struct Store {
    pub(crate) placement: Placement,
    pub(crate) api: Api,
    pub(crate) edge: Option<Process>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) provider: Process,
    pub(crate) provider_url: String,
    pub(crate) broker: Option<Broker>,
    pub(crate) postgres: Option<Postgres>,
    pub(crate) database: Option<Database>,
    pub(crate) proxies: Proxies,
    pub(crate) clock: Option<DrivenClock>,
    pub(crate) rights: Option<Rights>,
    /// What all processes of the store share of their environment.
    pub(crate) env: Vec<(String, String)>,
    pub(crate) folder: Folder,
    /// What all of its processes run, unless they are of another release.
    pub(crate) program: PathBuf,
    /// Held for as long as it runs.
    #[expect(dead_code, reason = "its drop is its use")]
    pub(crate) place: SemaphorePermit<'static>,
}

// === impl Store ===

impl Store {
    /// Starts a store and waits until it is ready.
    ///
    /// # Errors
    /// When a part does not start or is not ready in time; the end of its log is in the error.
    pub async fn start(placement: Placement) -> Result<Self> {
        Self::builder(placement).start().await
    }

    pub fn builder(placement: Placement) -> StoreBuilder {
        StoreBuilder::new(placement)
    }

    pub fn placement(&self) -> Placement {
        self.placement
    }

    /// A client without a token, on the store's one address.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// # Errors
    /// When the sign-in is refused.
    pub async fn customer(&self) -> Result<Api> {
        self.api.sign_in(Account::CUSTOMER).await
    }

    /// # Errors
    /// When the sign-in is refused.
    pub async fn staff(&self) -> Result<Api> {
        self.api.sign_in(Account::STAFF).await
    }

    /// The executable that it runs.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Everything of this store is in it.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The broker.
    ///
    /// # Panics
    /// In a placement that has none.
    pub fn broker(&mut self) -> &mut Broker {
        self.broker.as_mut().expect("this placement has a broker")
    }

    /// The PostgreSQL server.
    ///
    /// # Panics
    /// When the store has none of its own: [`StoreBuilder::own_postgres`].
    pub fn postgres(&mut self) -> &mut Postgres {
        self.postgres.as_mut().expect("this store has a PostgreSQL server of its own")
    }

    /// Its clock.
    ///
    /// # Panics
    /// When the store has the machine's: [`StoreBuilder::clock_from`].
    pub fn clock(&self) -> &DrivenClock {
        self.clock.as_ref().expect("this store's clock is driven")
    }

    /// The proxies on its connections; none where the store was started without: [`StoreBuilder::with_proxies`].
    pub fn proxies(&self) -> &Proxies {
        &self.proxies
    }

    /// The provider's process.
    pub fn provider(&mut self) -> &mut Process {
        &mut self.provider
    }

    /// Where the provider listens, as host and port.
    pub fn provider_address(&self) -> String {
        self.provider_url.trim_start_matches("http://").to_owned()
    }

    /// A client of the provider itself.
    ///
    /// # Errors
    /// When the system gives no client.
    pub fn provider_api(&self) -> Result<Api> {
        Api::new(&self.provider_url)
    }

    /// The value of an environment variable that all processes of the store got.
    pub fn env(&self, name: &str) -> Option<&str> {
        let found = self.env.iter().rev().find(|(key, _)| key.strip_prefix("PANGAEA__") == Some(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Where the broker is, for a test that looks into it; with least rights as a user who may do everything.
    pub fn broker_url(&self) -> Option<String> {
        let url = self.env("BUS__URL")?;
        match self.rights.is_some() {
            true => Some(url.replace("://", &format!("://{OBSERVER}:{OBSERVER}@"))),
            false => Some(url.to_owned()),
        }
    }

    /// The base URL of the process that hosts a module, past the edge.
    ///
    /// # Errors
    /// When no process hosts it.
    pub fn url_of(&self, module: &str) -> Result<&str> {
        Ok(self.first_of(module)?.url())
    }

    /// The names of the store's processes that host modules.
    pub fn part_names(&self) -> Vec<String> {
        self.hosts.iter().map(|host| host.name().to_owned()).collect()
    }

    /// The processes that host modules.
    pub fn hosts(&mut self) -> &mut [Host] {
        &mut self.hosts
    }

    /// The processes that host `module`, its replicas.
    pub fn hosts_of<'a>(&'a mut self, module: &'a str) -> impl Iterator<Item = &'a mut Host> {
        self.hosts.iter_mut().filter(move |host| host.part().hosts(module))
    }

    /// The process of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn host_named(&mut self, name: &str) -> Result<&mut Host> {
        let host = self.hosts.iter_mut().find(|host| host.name() == name);
        host.with_context(|| format!("no process is named {name}"))
    }

    /// The name of the process that leads `module`, if any says so now. One that does not answer does not lead.
    pub async fn leader_of(&self, module: &str) -> Option<&str> {
        for host in self.hosts.iter().filter(|host| host.part().hosts(module)) {
            if host.leads(module).await.unwrap_or(false) {
                return Some(host.name());
            }
        }
        None
    }

    /// The process ids of those that host modules and run.
    pub fn process_ids(&self) -> Vec<u32> {
        self.hosts.iter().filter_map(Host::id).collect()
    }

    /// Has the provisioner make the streams that the broker has lost, as an operator would. Modules with all rights make them
    /// themselves.
    ///
    /// # Errors
    /// When the broker or the database refuses.
    pub async fn provision(&self) -> Result<()> {
        let Some(rights) = &self.rights else { return Ok(()) };
        rights.provision(&self.program, &self.folder, &self.env, self.placement).await
    }

    /// SIGKILL for the process that hosts `module`.
    ///
    /// # Errors
    /// When none does, or it does not run.
    pub fn kill(&mut self, module: &str) -> Result<()> {
        self.process(module)?.kill()
    }

    /// Starts the process that hosts `module` again, and waits until it is ready.
    ///
    /// # Errors
    /// When it is not ready in time; the end of its log is in the error.
    pub async fn restart(&mut self, module: &str) -> Result<()> {
        self.host(module)?.restart().await
    }

    /// The process that hosts `module`.
    ///
    /// # Errors
    /// When none does.
    pub fn process(&mut self, module: &str) -> Result<&mut Process> {
        Ok(self.host(module)?.process())
    }

    /// A client of the operations listener of the process that hosts `module`.
    ///
    /// # Errors
    /// When none does.
    pub fn operations_of(&self, module: &str) -> Result<&Api> {
        Ok(self.first_of(module)?.operations())
    }

    /// What `/readyz` of the process that hosts `module` says.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn readiness(&self, module: &str) -> Result<crate::Answer> {
        self.first_of(module)?.readiness().await
    }

    /// What `/metrics` of the process that hosts `module` says.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn metrics(&self, module: &str) -> Result<String> {
        self.first_of(module)?.metrics().await
    }

    /// Waits until every process is ready, and the edge and the provider answer.
    ///
    /// # Errors
    /// When one is not in time; the end of its log is in the error.
    pub async fn wait_ready(&mut self) -> Result<()> {
        let provider = Api::new(&self.provider_url)?;
        wait_answers(&mut self.provider, &provider, "/v1/payment_intents?limit=1").await?;
        for host in &mut self.hosts {
            host.wait_ready().await?;
        }
        match &mut self.edge {
            Some(edge) => wait_answers(edge, &self.api, "/.well-known/jwks.json").await,
            None => Ok(()),
        }
    }

    /// Every line of the provider's ledger.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn ledger_entries(&self) -> Result<Vec<LedgerEntry>> {
        Ok(Ledger::read(self.ledger_file())?)
    }

    /// The provider's ledger, added up.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn ledger(&self) -> Result<LedgerSummary> {
        Ok(LedgerSummary::of(&self.ledger_entries()?))
    }

    /// Where the provider writes its ledger.
    pub fn ledger_file(&self) -> PathBuf {
        self.folder.path().join("provider-ledger.jsonl")
    }

    /// Runs a command of the program with the configuration of this store.
    ///
    /// # Errors
    /// When it does not start or does not end.
    pub async fn run(&self, args: &[&str]) -> Result<Output> {
        self.run_within(args, RUN_MAX).await
    }

    /// The same for a command that may take longer than five minutes.
    ///
    /// # Errors
    /// When it does not start or does not end `within`.
    pub async fn run_within(&self, args: &[&str], within: Duration) -> Result<Output> {
        run_within(&self.program, self.folder.path(), args, &self.env, within).await
    }

    /// `pangaea verify` over the live store must find nothing wrong.
    ///
    /// # Errors
    /// What it found.
    pub async fn verify(&self) -> Result<()> {
        self.verify_with(&[]).await
    }

    /// The same, with more arguments.
    ///
    /// # Errors
    /// What it found.
    pub async fn verify_with(&self, more: &[&str]) -> Result<()> {
        let (config, ledger) = (config_file(self.placement), self.ledger_file().display().to_string());
        let args = [&["verify", "--config", &config, "--ledger", &ledger], more].concat();
        self.run(&args).await?.success().context("pangaea verify")?;
        Ok(())
    }

    /// `pangaea record` over the live store, as `name` in its folder.
    ///
    /// # Errors
    /// When it fails.
    pub async fn record(&self, name: &str, more: &[&str]) -> Result<PathBuf> {
        self.record_by(&self.program, name, more).await
    }

    /// The same, by the program of another release.
    ///
    /// # Errors
    /// When it fails.
    pub async fn record_by(&self, program: &Path, name: &str, more: &[&str]) -> Result<PathBuf> {
        let config = config_file(self.placement);
        let args = [&["record", "--config", &config, "--output", name, "--json"], more].concat();
        let ended = run_within(program, self.folder.path(), &args, &self.env, RECORDED_MAX).await?;
        ended.success().context("pangaea record")?;
        Ok(self.folder.path().join(name))
    }

    /// `pangaea replay` of a recording: its report. Nothing may differ.
    ///
    /// # Errors
    /// What differs.
    pub async fn replays_clean(&self, file: &Path, more: &[&str]) -> Result<serde_json::Value> {
        let file = file.display().to_string();
        let args = [&["replay", &file, "--json"], more].concat();
        let output = self.run_within(&args, RECORDED_MAX).await?.success().context("pangaea replay")?;
        serde_json::from_str(&output.stdout).context("the report is JSON")
    }

    /// SIGTERM to everything, in the reverse order of the start; each process must drain and end with status 0.
    ///
    /// # Errors
    /// When one has died before, does not end in time or with another status.
    pub async fn stop(mut self) -> Result<()> {
        if let Some(edge) = &mut self.edge {
            stop(edge).await?;
        }
        for host in self.hosts.iter_mut().rev() {
            host.stop().await?;
        }
        stop(&mut self.provider).await?;
        if let (Some(database), None) = (&self.database, &self.postgres) {
            // The server is not ours.
            database.delete().await?;
        }
        self.folder.set_clean();
        Ok(())
    }

    fn first_of(&self, module: &str) -> Result<&Host> {
        let host = self.hosts.iter().find(|host| host.part().hosts(module));
        host.with_context(|| format!("no process hosts {module}"))
    }

    /// Of several replicas, the first.
    pub(crate) fn host(&mut self, module: &str) -> Result<&mut Host> {
        let host = self.hosts.iter_mut().find(|host| host.part().hosts(module));
        host.with_context(|| format!("no process hosts {module}"))
    }
}
