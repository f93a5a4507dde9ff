use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pangaea_bus::{Bus, BusError, RequestHandler, ServiceHandle, ServiceSpec};
use pangaea_journal::{Database, DatabaseOptions, JournalError};
use pangaea_kernel::auth::TokenVerifier;
use pangaea_kernel::http::{Edge, EdgeParts};
use pangaea_kernel::{Clock, Definition, LetterOutcome, Module, Problem};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::CODE_VERSION;
use crate::config::Config;
use crate::election::Election;
use crate::forward::{Forward, LetterRequest, Way, nobody_leads};
use crate::gauges::Gauges;
use crate::rebuilds::{RebuildReply, RebuildRequest};
use crate::telemetry::Telemetry;
use crate::term::{Term, TermError};
use crate::ways::ask_for_key;
use crate::writer::Changes;

const CLOSE_WAIT: Duration = Duration::from_secs(1);
const OBSERVE_WAIT: Duration = Duration::from_millis(500);

/// What a module's replica has whether it leads or stands by.
pub(crate) struct Member {
    pub(crate) module: Arc<dyn Module>,
    pub(crate) definition: Arc<Definition>,
    pub(crate) database: Database,
    pub(crate) edge: Edge,
    pub(crate) way: Way,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) changes: Changes,
    pub(crate) config: Config,
    pub(crate) telemetry: Telemetry,
    /// Cancelled when the logs of all co-hosted modules can be read.
    pub(crate) may_read: CancellationToken,
}

/// One module as it runs here: its edge for as long as the process serves, and a term whenever it leads.
pub(crate) struct ModuleHost {
    pub(crate) handle: ModuleHandle,
    member: Arc<Member>,
    queries: Option<ServiceHandle>,
    election: Option<JoinHandle<Option<Term>>>,
    settled: Option<oneshot::Receiver<Result<(), TermError>>>,
    retire: CancellationToken,
    term: Option<Term>,
}

/// The way to a hosted module. Cheap to clone.
#[derive(Clone)]
pub struct ModuleHandle {
    module: &'static str,
    edge: Edge,
    way: Way,
    bus: Arc<dyn Bus>,
    gauges: Gauges,
}

// === impl Member ===

impl Member {
    pub(crate) fn name(&self) -> &'static str {
        self.definition.name()
    }
}

// === impl ModuleHost ===

impl ModuleHost {
    /// Opens the module's database for reading. Nothing runs yet.
    ///
    /// # Errors
    /// When the database cannot be opened.
    pub(crate) async fn build(
        module: Arc<dyn Module>,
        config: &Config,
        clock: Arc<dyn Clock>,
        bus: &Arc<dyn Bus>,
        may_read: CancellationToken,
        telemetry: Telemetry,
    ) -> Result<Self, JournalError> {
        let definition = Arc::new(module.define());
        let name = definition.name();
        let options = DatabaseOptions {
            url: config.database.url.clone(),
            read_connections_max: config.database.read_connections_max,
            synchronous_full: config.database.synchronous_full,
        };
        let database = Database::open(name, &options).await?;
        let database = if config.database.migrate { database } else { database.migrated_elsewhere() };
        let (changes, changed) = Changes::new(0);
        let way = Way::new();
        let edge = Edge::new(EdgeParts {
            verifier: TokenVerifier::new(database.clone(), clock.clone()).asking(ask_for_key(bus.clone())),
            database: database.clone(),
            clock: clock.clone(),
            commands: Arc::new(Forward { module: name, bus: bus.clone(), way: way.clone() }),
            settings: config.modules.get(name).map(|module| module.settings.clone()).unwrap_or_default(),
            changes: changed,
        });
        let gauges = Gauges::of(&definition, database.clone());
        let handle = ModuleHandle { module: name, edge: edge.clone(), way: way.clone(), bus: bus.clone(), gauges };
        let (bus, config) = (bus.clone(), config.clone());
        let member =
            Member { module, definition, database, edge, way, bus, clock, changes, config, telemetry, may_read };
        Ok(Self {
            handle,
            member: Arc::new(member),
            queries: None,
            election: None,
            settled: None,
            retire: CancellationToken::new(),
            term: None,
        })
    }

    /// Stands for election, and from now on leads whenever it can.
    pub(crate) fn stand(&mut self, failed: &CancellationToken) {
        let (settled, receiver) = oneshot::channel();
        let election = Election {
            member: self.member.clone(),
            settled: Some(settled),
            stop: self.retire.clone(),
            failed: failed.clone(),
        };
        let guard = failed.clone().drop_guard();
        self.election = Some(tokio::spawn(async move {
            let term = election.run().await;
            // Not after a panic: then the guard ends the process.
            guard.disarm();
            term
        }));
        self.settled = Some(receiver);
    }

    /// Waits until the module is led, here or by another replica, and answers requests of other modules from then on.
    ///
    /// # Errors
    /// Why this replica can do neither.
    pub(crate) async fn settled(&mut self) -> Result<(), TermError> {
        if let Some(settled) = self.settled.take() {
            settled.await.unwrap_or_else(|_| Err(TermError::Module("the election has ended".to_owned())))?;
        }
        self.queries = serve_queries(&self.member).await?;
        Ok(())
    }

    pub(crate) fn name(&self) -> &'static str {
        self.member.name()
    }

    /// Requests that wait for something to happen are answered now.
    pub(crate) fn end_waits(&self) {
        self.member.changes.close();
    }

    /// Stands no more. No more deliveries and requests are taken; what is under way is finished.
    pub(crate) async fn stop_intake(&mut self) {
        if let Some(queries) = self.queries.take() {
            queries.stop().await;
        }
        self.retire.cancel();
        if let Some(election) = self.election.take() {
            self.term = election.await.unwrap_or_default();
        }
        if let Some(term) = &mut self.term {
            term.stop_intake().await;
        }
    }

    /// No more tries begin; calls under way, then the queue, are finished, and another replica may lead.
    pub(crate) async fn finish(&mut self) {
        if let Some(term) = &mut self.term {
            term.finish().await;
        }
    }

    /// After the time to drain: nothing more begins, and the writer gets a moment to commit what it holds.
    pub(crate) async fn cut_short(&mut self) {
        if let Some(term) = &mut self.term {
            term.cut_short().await;
        }
    }

    pub(crate) async fn close(mut self) {
        if let Some(term) = self.term.take() {
            term.close().await;
        }
        // A read that a dead network holds must not hold the stop.
        let _ = tokio::time::timeout(CLOSE_WAIT, self.member.database.close()).await;
    }
}

/// Requests that only read are answered by any replica.
async fn serve_queries(member: &Member) -> Result<Option<ServiceHandle>, BusError> {
    let subjects: Vec<String> = member.definition.served().map(str::to_owned).collect();
    if subjects.is_empty() {
        return Ok(None);
    }
    let (edge, definition) = (member.edge.clone(), member.definition.clone());
    let handler: RequestHandler = Arc::new(move |request| {
        let (edge, serve) = (edge.clone(), definition.server(&request.subject).cloned());
        Box::pin(async move {
            let serve = serve.ok_or_else(|| format!("{} is not served here", request.subject))?;
            serve(edge, &request.payload).await.map(Bytes::from)
        })
    });
    let name = member.name();
    let service = ServiceSpec {
        name: name.to_owned(),
        version: CODE_VERSION.to_owned(),
        description: format!("what the {name} module answers"),
        subjects,
    };
    member.bus.serve(service, handler).await.map(Some)
}

// === impl ModuleHandle ===

impl ModuleHandle {
    pub fn module(&self) -> &'static str {
        self.module
    }

    pub fn edge(&self) -> &Edge {
        &self.edge
    }

    /// Whether this module can serve: its database answers, and it leads or the leader can be reached. While the broker is
    /// away nobody can be reached, which degrades all replicas alike and is no reason to take them out of service.
    ///
    /// # Errors
    /// Says what is missing.
    pub async fn ready(&self) -> Result<(), String> {
        let ping = tokio::time::timeout(Duration::from_secs(2), self.edge.database().ping()).await;
        ping.map_err(|_| "the database does not answer within 2 s".to_owned())?.map_err(|error| error.to_string())?;
        if !self.bus.healthy() && self.way.is_led() {
            return Ok(());
        }
        self.way.ping(self.module, &*self.bus).await
    }

    /// Whether anybody leads who could redrive or abandon letters.
    ///
    /// # Errors
    /// A problem when nobody does at the moment.
    pub(crate) fn takes_letters(&self) -> Result<(), Problem> {
        if self.way.is_led() { Ok(()) } else { Err(nobody_leads(self.module)) }
    }

    /// Has the leader deal with a letter, wherever it leads.
    ///
    /// # Errors
    /// A problem when the leader cannot be reached, or does not answer.
    pub(crate) async fn deal_with(&self, letter: LetterRequest) -> Result<LetterOutcome, Problem> {
        self.way.deal_with(self.module, &*self.bus, letter).await
    }

    /// Asks the leader about a rebuild, wherever it leads.
    ///
    /// # Errors
    /// A problem when the leader cannot be reached, or does not answer.
    pub(crate) async fn rebuild(&self, request: RebuildRequest) -> Result<RebuildReply, Problem> {
        self.way.rebuild(self.module, &*self.bus, request).await
    }

    pub fn leads(&self) -> bool {
        self.way.is_here()
    }

    /// Sets the gauges of what is looked at only when somebody asks.
    pub(crate) async fn observe(&self) {
        let (database, module) = (self.edge.database(), self.module);
        let (open, idle) = database.read_connections();
        for (state, count) in [("idle", idle), ("used", open.saturating_sub(idle))] {
            metrics::gauge!(
                "db_client_connection_count",
                "db_client_connection_pool_name" => module, "db_client_connection_state" => state
            )
            .set(count as f64);
        }
        let Some(queue) = self.way.queue_here() else { return };
        queue.admission().observe(module, queue.commands_waiting());
        // A database that is away leaves what was known: the scrape is not made to wait for it.
        let due = database.timers_due_count(self.edge.clock().now());
        if let Ok(Ok(due)) = tokio::time::timeout(OBSERVE_WAIT, due).await {
            metrics::gauge!("pangaea_timers_due", "module" => module).set(due as f64);
        }
        self.gauges.observe().await;
    }
}
