use std::collections::BTreeMap;

use anyhow::{Context, Result};
use tokio::sync::Semaphore;

use crate::api::Api;
use crate::broker::Broker;
use crate::folder::Folder;
use crate::placement::{Part, Placement};
use crate::process::Process;
use crate::store::{Host, Store};
use crate::{free_port, program, workspace};

/// Stores at once in this process: each may be seven processes.
static PLACES: Semaphore = Semaphore::const_new(2);

/// What a store is to be, before it starts.
#[derive(Debug)]
pub struct StoreBuilder {
    placement: Placement,
    env: BTreeMap<String, String>,
    /// Of the processes that host modules only.
    variables: Vec<(String, String)>,
    without_broker: bool,
}

// === impl StoreBuilder ===

impl StoreBuilder {
    pub(crate) fn new(placement: Placement) -> Self {
        Self { placement, env: BTreeMap::new(), variables: Vec::new(), without_broker: false }
    }

    /// Sets a configuration key of all processes, by the name of its environment variable without `PANGAEA__`.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.env.insert(format!("PANGAEA__{name}"), value.to_owned());
        self
    }

    /// Sets an environment variable, which is no configuration, of the processes that host modules. One process alone gets
    /// one by [`Process::envs`] before it is started again.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The processes start while their broker does not run; [`Store::broker`] starts it.
    #[must_use]
    pub fn without_broker(mut self) -> Self {
        self.without_broker = true;
        self
    }

    /// Starts all of it and waits until it is ready.
    ///
    /// # Errors
    /// When a part does not start or is not ready in time; the end of its log is in the error.
    pub async fn start(self) -> Result<Store> {
        let mut store = self.spawn().await?;
        store.wait_ready().await?;
        Ok(store)
    }

    /// Starts all processes without waiting for them.
    ///
    /// # Errors
    /// When broker or provider do not start.
    pub async fn spawn(self) -> Result<Store> {
        let Self { placement, env, variables, without_broker } = self;
        let place = PLACES.acquire().await.context("places are never closed")?;
        let folder = Folder::new("store")?;
        let mut broker = placement.has_broker().then(|| Broker::new(folder.path())).transpose()?;
        if let Some(broker) = broker.as_mut().filter(|_| !without_broker) {
            broker.start().await?;
        }
        let (mut provider, provider_url) = simulator(&folder)?;
        provider.start()?;
        let mut env: Vec<_> = shared_env(&folder, broker.as_ref(), &provider_url).into_iter().chain(env).collect();
        env.extend(placement.has_broker().then(|| ("PANGAEA__BUS__KIND".to_owned(), "nats".to_owned())));
        let mut parts =
            placement.parts().iter().map(|part| host(placement, part, &env, &folder)).collect::<Result<Vec<_>>>()?;
        for host in &mut parts {
            host.process.envs(&variables).start()?;
        }
        let (edge, base) = edge(&parts, &folder)?;
        let api = Api::new(&base)?;
        Ok(Store { placement, api, edge, parts, provider, provider_url, broker, env, folder, place })
    }
}

/// The provider outlives the store's processes, as a real one does: its ledger is the truth about money.
fn simulator(folder: &Folder) -> Result<(Process, String)> {
    let address = format!("127.0.0.1:{}", free_port());
    let mut process = Process::new("simulate-provider", program()?, folder.path());
    process.args(&["simulate-provider", "--listen", &address, "--ledger", &folder.join("provider-ledger.jsonl")]);
    Ok((process, format!("http://{address}")))
}

fn shared_env(folder: &Folder, broker: Option<&Broker>, provider_url: &str) -> Vec<(String, String)> {
    let mut env = vec![
        ("DATABASE__URL", format!("sqlite:{}", folder.join("{module}.db"))),
        ("MODULES__PAYMENT__OPTIONS__PROVIDER__URL", provider_url.to_owned()),
        ("MODULES__USER__OPTIONS__SEALING_KEY_FILE", folder.join("sealing.key")),
    ];
    if let Some(broker) = broker {
        env.push(("BUS__URL", broker.url()));
        env.push(("BUS__NAMESPACE", format!("test{}", free_port())));
    }
    env.into_iter().map(|(name, value)| (format!("PANGAEA__{name}"), value)).collect()
}

fn host(placement: Placement, part: &'static Part, env: &[(String, String)], folder: &Folder) -> Result<Host> {
    let address = || format!("127.0.0.1:{}", free_port());
    let (http, operations) = (address(), address());
    let mut process = Process::new(&part.name(), program()?, folder.path());
    process.args(&["run", "--config", &config_file(placement)]).envs(env).envs(&[
        ("PANGAEA__RUNTIME__MODULES".to_owned(), part.modules.join(",")),
        ("PANGAEA__HTTP__LISTEN".to_owned(), http.clone()),
        ("PANGAEA__OPERATIONS__LISTEN".to_owned(), operations.clone()),
    ]);
    Ok(Host { part, process, http: format!("http://{http}"), operations: format!("http://{operations}") })
}

pub(crate) fn config_file(placement: Placement) -> String {
    workspace().join("config").join(placement.config()).display().to_string()
}

/// The one address of a store of several processes.
fn edge(parts: &[Host], folder: &Folder) -> Result<(Option<Process>, String)> {
    if let [only] = parts {
        return Ok((None, only.http.clone()));
    }
    let address = format!("127.0.0.1:{}", free_port());
    let mut process = Process::new("edge", program()?, folder.path());
    process.args(&["edge", "--listen", &address]);
    for host in parts {
        for prefix in host.part.prefixes() {
            process.args(&["--route", &format!("{prefix}={}", host.http)]);
        }
    }
    process.start()?;
    Ok((Some(process), format!("http://{address}")))
}
