use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pangaea_bus::{Bus, BusError, MemoryBus, NatsBus, NatsConfig, NatsCredentials};
use pangaea_journal::JournalError;
use pangaea_kernel::{Clock, Module};
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;

use crate::ModuleHandle;
use crate::config::{BusKind, Config, ConfigError};
use crate::http::{self, HttpError};
use crate::module_host::ModuleHost;
use crate::telemetry::Telemetry;
use crate::term::TermError;
use crate::topology::Topology;

/// Clients that may wait to be accepted: beyond it the system makes them try again after seconds. The system's own bound may
/// be lower.
const BACKLOG: u32 = 4_096;

/// A process that runs some of the modules of a catalogue.
///
/// `build` binds the listeners, so that a port in use is known before anything else happens; `run` opens the databases,
/// starts everything, serves until shutdown, and stops in the reverse order of the start.
pub struct Host {
    config: Config,
    modules: Vec<Arc<dyn Module>>,
    clock: Arc<dyn Clock>,
    api: TcpListener,
    operations: TcpListener,
    telemetry: Telemetry,
}

/// What runs, once everything has started.
#[derive(Clone)]
pub struct Started {
    pub api: SocketAddr,
    pub operations: SocketAddr,
    pub modules: Vec<ModuleHandle>,
}

#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error(
        "cannot listen on {address} ({key}): {reason}; set {key} to a free address, e.g. PANGAEA__{env}=127.0.0.1:0"
    )]
    Listen { address: SocketAddr, key: &'static str, env: &'static str, reason: std::io::Error },
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("the modules do not fit together: {}", .0.join("; "))]
    Topology(Vec<String>),
    #[error("{module}: {reason}")]
    Database { module: &'static str, reason: JournalError },
    #[error("the bus: {0}")]
    Bus(#[from] BusError),
    #[error("{0}")]
    Http(#[from] HttpError),
    #[error("{module} could not start: {reason}")]
    Start { module: &'static str, reason: String },
    #[error("a part has stopped by itself; the log says which and why")]
    Failed,
}

// === impl Host ===

impl Host {
    /// Chooses the modules that run here and binds the listeners.
    ///
    /// # Errors
    /// When the modules do not fit together, or a port is in use.
    pub async fn build(
        config: Config,
        catalogue: Vec<Arc<dyn Module>>,
        clock: Arc<dyn Clock>,
        telemetry: Telemetry,
    ) -> Result<Self, HostError> {
        let modules = choose(&config, catalogue)?;
        let api = listen(config.http.listen, "http.listen", "HTTP__LISTEN")?;
        let operations = listen(config.operations.listen, "operations.listen", "OPERATIONS__LISTEN")?;
        Ok(Self { config, modules, clock, api, operations, telemetry })
    }

    /// Runs until `shutdown`, or until a part fails that cannot go on. `started` is called once everything serves.
    ///
    /// # Errors
    /// What kept it from starting, or [`HostError::Failed`].
    pub async fn run(self, shutdown: CancellationToken, started: impl FnOnce(Started) + Send) -> Result<(), HostError> {
        let Self { config, modules, clock, api, operations, telemetry } = self;
        let failed = CancellationToken::new();
        let health = http::Health::default();
        let operations_address = operations.local_addr().unwrap_or(config.operations.listen);
        let api_address = api.local_addr().unwrap_or(config.http.listen);
        let stop_operations = CancellationToken::new();
        let operations_task = http::serve_operations(
            operations,
            health.clone(),
            telemetry.clone(),
            &config.http,
            stop_operations.clone(),
        );

        let bus = open_bus(&config).await?;
        health.watch_bus(bus.clone());
        let may_read = CancellationToken::new();
        let mut hosts = Vec::new();
        for module in &modules {
            let opened = open_module(module, &config, &clock, &bus, &shutdown, &may_read, &telemetry).await?;
            let Some(host) = opened else { return Ok(()) };
            hosts.push(host);
        }
        let drain = Duration::from_millis(config.runtime.drain_timeout_ms);
        tokio::select! {
            begun = start_modules(&mut hosts, &failed) => begun?,
            // A database that went away meanwhile would be waited for; a stop is not made to wait for it.
            () = shutdown.cancelled() => {
                drain_modules(hosts, drain).await;
                return Ok(());
            }
        }
        may_read.cancel();
        let handles: Vec<ModuleHandle> = hosts.iter().map(|host| host.handle.clone()).collect();
        let routes = http::api_router(&modules, &handles, &config, telemetry.spans())?;
        let stop_api = CancellationToken::new();
        let api_task = tokio::spawn(http::serve_http("api", api, routes, config.http.clone(), stop_api.clone()));
        health.set_modules(handles.clone());
        started(Started { api: api_address, operations: operations_address, modules: handles });

        tokio::select! {
            () = shutdown.cancelled() => tracing::info!("draining"),
            () = failed.cancelled() => tracing::error!("stopping, because a part has failed"),
        }
        health.set_draining();
        stop_api.cancel();
        hosts.iter().for_each(ModuleHost::end_waits);
        if tokio::time::timeout(drain, api_task).await.is_err() {
            tracing::warn!("some requests did not end in time");
        }
        drain_modules(hosts, drain).await;
        bus.close().await;
        stop_operations.cancel();
        let _ = operations_task.await;
        if failed.is_cancelled() { Err(HostError::Failed) } else { Ok(()) }
    }
}

/// Lets every module stand for election and waits until each is led, here or elsewhere.
async fn start_modules(hosts: &mut [ModuleHost], failed: &CancellationToken) -> Result<(), HostError> {
    for host in hosts.iter_mut() {
        host.stand(failed);
    }
    for host in hosts.iter_mut() {
        let module = host.name();
        host.settled().await.map_err(|error| match error {
            TermError::Database(reason) => HostError::Database { module, reason },
            TermError::Bus(reason) => HostError::Bus(reason),
            TermError::Module(reason) => HostError::Start { module, reason },
        })?;
    }
    Ok(())
}

/// Stops in the reverse order of the start, each phase for all modules before the next: one may still wait for another.
async fn drain_modules(mut hosts: Vec<ModuleHost>, timeout: Duration) {
    let finished = tokio::time::timeout(timeout, async {
        for host in hosts.iter_mut().rev() {
            host.stop_intake().await;
        }
        for host in hosts.iter_mut().rev() {
            host.finish().await;
        }
    });
    if finished.await.is_err() {
        tracing::warn!("not all work was finished in time; the next start goes on with it");
        for host in hosts.iter_mut().rev() {
            host.cut_short().await;
        }
    }
    for host in hosts.into_iter().rev() {
        host.close().await;
    }
}

/// The modules that `runtime.modules` names; none or `*` means all.
fn choose(config: &Config, catalogue: Vec<Arc<dyn Module>>) -> Result<Vec<Arc<dyn Module>>, HostError> {
    let definitions: Vec<_> = catalogue.iter().map(|module| Arc::new(module.define())).collect();
    let known: Vec<&str> = definitions.iter().map(|definition| definition.name()).collect();
    let hosted = config.hosted(&known)?;
    let mut faults: Vec<String> = definitions.iter().flat_map(|definition| definition.faults().to_vec()).collect();
    faults.extend(Topology::from_definitions(&definitions).faults(&hosted, config.bus.kind == BusKind::Memory));
    for definition in &definitions {
        let settings = config.modules.get(definition.name()).map(|module| &module.settings);
        let parsed =
            settings.filter(|settings| settings.is_object()).map(|settings| definition.parse_settings(settings));
        faults.extend(
            parsed.and_then(Result::err).map(|fault| format!("modules.{}.settings: {fault}", definition.name())),
        );
    }
    if !faults.is_empty() {
        return Err(HostError::Topology(faults));
    }
    let is_hosted: Vec<bool> = known.iter().map(|name| hosted.contains(name)).collect();
    Ok(catalogue.into_iter().zip(is_hosted).filter_map(|(module, hosted)| hosted.then_some(module)).collect())
}

fn listen(address: SocketAddr, key: &'static str, env: &'static str) -> Result<TcpListener, HostError> {
    let bound = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // As the standard library does, so that a restart need not wait for the connections of the former life.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bound().map_err(|reason| HostError::Listen { address, key, env, reason })
}

async fn open_bus(config: &Config) -> Result<Arc<dyn Bus>, HostError> {
    match config.bus.kind {
        BusKind::Memory => Ok(Arc::new(MemoryBus::new(config.bus.namespace.as_str()))),
        BusKind::Nats => Ok(Arc::new(NatsBus::connect(nats_config(config)).await?)),
    }
}

/// How the configuration says that the broker is reached.
pub fn nats_config(config: &Config) -> NatsConfig {
    let bus = &config.bus;
    let mut nats = NatsConfig::new(&bus.url, &bus.namespace);
    nats.replicas = bus.stream_replicas;
    nats.inbox_prefix.clone_from(&bus.inbox_prefix);
    nats.provides_streams = bus.provision;
    if let Some(file) = &bus.credentials_file {
        nats.credentials = NatsCredentials::File(file.clone());
    }
    nats
}

/// Opens a module's database; a server that is not there yet is waited for. `None` when told to stop meanwhile.
async fn open_module(
    module: &Arc<dyn Module>,
    config: &Config,
    clock: &Arc<dyn Clock>,
    bus: &Arc<dyn Bus>,
    shutdown: &CancellationToken,
    may_read: &CancellationToken,
    telemetry: &Telemetry,
) -> Result<Option<ModuleHost>, HostError> {
    let is_server = config.database.url.starts_with("postgres");
    loop {
        let built =
            ModuleHost::build(module.clone(), config, clock.clone(), bus, may_read.clone(), telemetry.clone()).await;
        let reason = match built {
            Ok(host) => return Ok(Some(host)),
            Err(reason) => reason,
        };
        let name = module.define().name();
        // Rights come a moment after tables, when the job that grants them runs meanwhile.
        let waits = is_server && (reason.is_away() || matches!(reason, JournalError::Denied(_)));
        if !waits {
            return Err(HostError::Database { module: name, reason });
        }
        tracing::warn!(module = name, %reason, "waiting for the database");
        tokio::select! {
            () = shutdown.cancelled() => return Ok(None),
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
}
