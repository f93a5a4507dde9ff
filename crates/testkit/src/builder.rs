use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use pangaea_contracts::Timestamp;
use tokio::sync::Semaphore;

use crate::api::Api;
use crate::broker::Broker;
use crate::clock::DrivenClock;
use crate::folder::Folder;
use crate::host::Host;
use crate::placement::{Guest, Placement};
use crate::postgres::{Database, Postgres};
use crate::process::Process;
use crate::proxies::{Link, Proxies};
use crate::release::Release;
use crate::rights::Rights;
use crate::store::Store;
use crate::{free_port, program, workspace};

/// Stores at once in this process: each may be seven processes.
static PLACES: Semaphore = Semaphore::const_new(2);
/// Tells a process which faults it has.
const FAULTS: &str = "PANGAEA_FAULTS";

/// What a store is to be, before it starts.
#[derive(Debug)]
pub struct StoreBuilder {
    placement: Placement,
    /// The executable under test when not given.
    program: Option<PathBuf>,
    guests: Vec<Guest>,
    env: BTreeMap<String, String>,
    /// Variables of one module's processes, over those of all.
    own_env: Vec<(String, String, String)>,
    /// What the processes that host modules run; the version under test when not given.
    release: Option<Release>,
    without_broker: bool,
    on_postgres: bool,
    own_postgres: bool,
    with_proxies: bool,
    clock_from: Option<Timestamp>,
    shut: BTreeSet<Link>,
    has_least_rights: bool,
}

/// Where the servers of a store are.
#[derive(Debug)]
struct Servers {
    broker: Option<SocketAddr>,
    database: Option<Database>,
    provider: SocketAddr,
}

// === impl StoreBuilder ===

impl StoreBuilder {
    pub(crate) fn new(placement: Placement) -> Self {
        Self {
            placement,
            program: None,
            guests: Vec::new(),
            env: BTreeMap::new(),
            own_env: Vec::new(),
            release: None,
            without_broker: false,
            on_postgres: placement.has_postgres(),
            own_postgres: false,
            with_proxies: false,
            clock_from: None,
            shut: BTreeSet::new(),
            has_least_rights: asks_for_least_rights(placement),
        }
    }

    /// Each module has a user of its own on the broker and a role of its own on PostgreSQL, and may do there what it needs and
    /// nothing else. Streams and tables are made before, by `pangaea provision`. Placed apart only.
    #[must_use]
    pub fn with_least_rights(mut self) -> Self {
        self.has_least_rights = true;
        self
    }

    /// Modules make their tables and streams themselves, also where a run of the tests asks for least rights. For what is
    /// refused to a module that does not own its tables.
    #[must_use]
    pub fn with_all_rights(mut self) -> Self {
        self.has_least_rights = false;
        self
    }

    /// Every process runs this executable, which has the whole command line and modules of its own besides; see
    /// [`StoreBuilder::module`].
    #[must_use]
    pub fn program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = Some(program.into());
        self
    }

    /// Hosts this module too: the program has it, and the store's one address leads its path prefixes to it.
    #[must_use]
    pub fn module(mut self, guest: Guest) -> Self {
        self.guests.push(guest);
        self
    }

    /// Sets a configuration key of all processes, by the name of its environment variable without `PANGAEA__`.
    #[must_use]
    pub fn set(self, name: &str, value: &str) -> Self {
        self.variable(&format!("PANGAEA__{name}"), value)
    }

    /// Sets an environment variable of all processes that host modules.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Sets an environment variable of the processes that host `module`. [`Process::set_variable`] takes it away again.
    #[must_use]
    pub fn variable_of(mut self, module: &str, name: &str, value: &str) -> Self {
        self.own_env.push((module.to_owned(), name.to_owned(), value.to_owned()));
        self
    }

    /// The processes that host modules are of this release; [`Store::switch`] changes it one by one.
    #[must_use]
    pub fn release(mut self, release: &Release) -> Self {
        self.release = Some(release.clone());
        self
    }

    /// The processes start while their broker does not run; [`Store::broker`] starts it.
    #[must_use]
    pub fn without_broker(mut self) -> Self {
        self.without_broker = true;
        self
    }

    /// A database of its own on PostgreSQL in place of SQLite: on the server that `PANGAEA_TEST_POSTGRES_URL` names, else
    /// on a server of its own.
    #[must_use]
    pub fn on_postgres(mut self) -> Self {
        self.on_postgres = true;
        self
    }

    /// PostgreSQL on a server of its own, which can be killed: [`Store::postgres`].
    #[must_use]
    pub fn own_postgres(mut self) -> Self {
        self.own_postgres = true;
        self.on_postgres()
    }

    /// Every connection of a process that hosts modules goes through a proxy: [`Store::proxies`].
    #[must_use]
    pub fn with_proxies(mut self) -> Self {
        self.with_proxies = true;
        self
    }

    /// The time of all processes that host modules is a driven one, which begins then: [`Store::clock`]. It needs a program
    /// that was built with faults, as that of the tests is.
    #[must_use]
    pub fn clock_from(mut self, start: Timestamp) -> Self {
        self.clock_from = Some(start);
        self
    }

    /// The same, and this link is shut at the start, as if its server were not there yet.
    #[must_use]
    pub fn shut(mut self, link: Link) -> Self {
        self.shut.insert(link);
        self.with_proxies()
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
    /// When a server does not start.
    pub async fn spawn(mut self) -> Result<Store> {
        let place = PLACES.acquire().await.context("places are never closed")?;
        let (placement, folder) = (self.placement, Folder::new("store")?);
        let clock = self.clock_from.map(|start| DrivenClock::new(folder.path(), start)).transpose()?;
        if let Some(clock) = &clock {
            let faults = self.env.remove(FAULTS).map_or_else(String::new, |faults| format!(" {faults}"));
            self.env.insert(FAULTS.to_owned(), clock.fault() + &faults);
        }
        let program = self.program.clone().map_or_else(|| program().map(Path::to_owned), Ok)?;
        let mut broker = placement.has_broker().then(|| Broker::new(folder.path())).transpose()?;
        let (postgres, database) = if self.on_postgres { self.database(&folder).await? } else { (None, None) };
        let (mut provider, provider_address) = simulator(&program, &folder)?;
        provider.start()?;
        let provider_url = format!("http://{provider_address}");
        let servers = Servers { broker: broker.as_ref().map(Broker::address), database, provider: provider_address };
        let env = self.shared_env(&folder, &servers);
        // A proxy's address stands in the variables that a role's own URL would replace.
        let has_rights = self.has_least_rights && self.release.is_none() && !self.without_broker && !self.with_proxies;
        let mut rights = match &mut broker {
            Some(broker) if has_rights => {
                Some(Rights::prepare(&program, &folder, placement, &self.guests, &env, broker).await?)
            }
            _ => None,
        };
        if let Some(broker) = broker.as_mut().filter(|_| !self.without_broker) {
            broker.start().await?;
        }
        if let Some(rights) = &mut rights {
            if let Some(database) = &servers.database {
                rights.make_roles(database).await?;
            }
            rights.provision(&program, &folder, &env, placement).await?;
        }
        let (mut hosts, proxies) = self.hosts(&program, &env, &servers, &folder).await?;
        for host in &mut hosts {
            let own = rights.as_ref().and_then(|rights| host.part().modules().next().map(|module| rights.of(module)));
            for (name, value) in own.unwrap_or_default() {
                host.process().set_variable(name, Some(value));
            }
        }
        for host in &mut hosts {
            host.process().start()?;
        }
        let (edge, base) = edge(&hosts, &program, &folder)?;
        let (api, database) = (Api::new(&base)?, servers.database);
        Ok(Store {
            placement,
            api,
            edge,
            hosts,
            provider,
            provider_url,
            broker,
            postgres,
            database,
            proxies,
            clock,
            rights,
            env,
            folder,
            program,
            place,
        })
    }

    #[expect(clippy::disallowed_methods, reason = "where the test's servers are is said by the environment")]
    async fn database(&self, folder: &Folder) -> Result<(Option<Postgres>, Option<Database>)> {
        if let Some(url) = std::env::var("PANGAEA_TEST_POSTGRES_URL").ok().filter(|_| !self.own_postgres) {
            return Ok((None, Some(Database::create(&url).await.context("PANGAEA_TEST_POSTGRES_URL")?)));
        }
        let mut server = Postgres::new(folder.path()).await?;
        server.start().await?;
        let database = server.database().await?;
        Ok((Some(server), Some(database)))
    }

    /// What all processes of the store share of their environment, by the direct ways.
    fn shared_env(&self, folder: &Folder, servers: &Servers) -> Vec<(String, String)> {
        let database_url =
            servers.database.as_ref().map_or_else(|| format!("sqlite:{}", folder.join("{module}.db")), Database::url);
        let mut env = vec![
            ("DATABASE__URL", database_url),
            ("MODULES__PAYMENT__OPTIONS__PROVIDER__URL", format!("http://{}", servers.provider)),
            ("MODULES__USER__OPTIONS__SEALING_KEY_FILE", folder.join("sealing.key")),
            ("RUNTIME__REPLICAS", self.placement.replicas().to_string()),
        ];
        if let Some(broker) = servers.broker {
            env.push(("BUS__URL", format!("nats://{broker}")));
            env.push(("BUS__NAMESPACE", format!("test{}", free_port())));
            env.push(("BUS__KIND", "nats".to_owned()));
        }
        let env = env.into_iter().map(|(name, value)| (format!("PANGAEA__{name}"), value));
        env.chain(self.env.clone()).collect()
    }

    async fn hosts(
        &self,
        program: &Path,
        env: &[(String, String)],
        servers: &Servers,
        folder: &Folder,
    ) -> Result<(Vec<Host>, Proxies)> {
        let (mut hosts, mut proxies) = (Vec::new(), Proxies::default());
        let config = config_file(self.placement);
        for part in self.placement.parts(&self.guests) {
            for replica in 1..=self.placement.replicas() {
                let name = match self.placement.replicas() {
                    1 => part.name(),
                    _ => format!("{}-{replica}", part.name()),
                };
                let mut host = Host::new(part.clone(), &name, program, &["run", "--config", &config], folder)?;
                host.process().envs(env);
                if let Some(release) = &self.release {
                    host.run_by(release, self.placement);
                }
                if self.with_proxies {
                    let ways = servers.proxied(&name, &mut proxies).await?;
                    ways.iter().for_each(|(name, value)| {
                        host.process().set_variable(name, Some(value));
                    });
                }
                for (_, name, value) in self.own_env.iter().filter(|(module, ..)| part.hosts(module)) {
                    host.process().set_variable(name, Some(value));
                }
                hosts.push(host);
            }
        }
        self.shut.iter().flat_map(|link| proxies.of(*link)).for_each(|proxy| proxy.shut());
        Ok((hosts, proxies))
    }
}

// === impl Servers ===

impl Servers {
    /// Puts a proxy before each server for one process, and returns what leads it there.
    async fn proxied(&self, process: &str, proxies: &mut Proxies) -> Result<Vec<(&'static str, String)>> {
        let provider = proxies.add(Link::Provider, process, self.provider).await?;
        let mut ways = vec![("PANGAEA__MODULES__PAYMENT__OPTIONS__PROVIDER__URL", format!("http://{provider}"))];
        if let Some(broker) = self.broker {
            let broker = proxies.add(Link::Nats, process, broker).await?;
            ways.push(("PANGAEA__BUS__URL", format!("nats://{broker}")));
        }
        if let Some(database) = &self.database {
            let server = proxies.add(Link::Postgres, process, database.server).await?;
            ways.push(("PANGAEA__DATABASE__URL", database.url_by(server)));
        }
        Ok(ways)
    }
}

/// Whether the tests are told to run stores with least rights wherever they can.
#[expect(clippy::disallowed_methods, reason = "how a test run is to be is said by the environment")]
fn asks_for_least_rights(placement: Placement) -> bool {
    let is_apart = matches!(placement, Placement::Apart | Placement::ApartPostgres | Placement::ApartReplicas(_));
    is_apart && std::env::var_os("PANGAEA_TEST_LEAST_RIGHTS").is_some_and(|value| value == "1")
}

/// The provider outlives the store's processes, as a real one does: its ledger is the truth about money.
fn simulator(program: &Path, folder: &Folder) -> Result<(Process, SocketAddr)> {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let mut process = Process::new("simulate-provider", program, folder.path());
    let (listen, ledger) = (address.to_string(), folder.join("provider-ledger.jsonl"));
    process.args(&["simulate-provider", "--listen", &listen, "--ledger", &ledger]);
    Ok((process, address))
}

pub(crate) fn config_file(placement: Placement) -> String {
    workspace().join("config").join(placement.config()).display().to_string()
}

/// The one address of a store of several processes.
fn edge(hosts: &[Host], program: &Path, folder: &Folder) -> Result<(Option<Process>, String)> {
    if let [only] = hosts {
        return Ok((None, only.url().to_owned()));
    }
    let address = format!("127.0.0.1:{}", free_port());
    let mut process = Process::new("edge", program, folder.path());
    process.args(&["edge", "--listen", &address]);
    let mut targets: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for host in hosts {
        for prefix in host.part().prefixes() {
            targets.entry(prefix).or_default().push(host.url());
        }
    }
    for (prefix, urls) in targets {
        process.args(&["--route", &format!("{prefix}={}", urls.join(","))]);
    }
    process.start()?;
    Ok((Some(process), format!("http://{address}")))
}
