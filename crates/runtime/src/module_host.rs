use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pangaea_bus::{Bus, BusError, Cursor, RequestHandler, ServiceHandle, ServiceSpec};
use pangaea_contracts::{Actor, Kind, Subject, digest_text};
use pangaea_journal::{Database, DatabaseOptions, JournalError};
use pangaea_kernel::auth::TokenVerifier;
use pangaea_kernel::http::{Edge, EdgeParts};
use pangaea_kernel::{
    Answer, Clock, Definition, Executor, Input, InputKind, Module, SettingsRow, Work, settings_subject,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::CODE_VERSION;
use crate::config::Config;
use crate::effects::{EffectInbox, EffectsTask};
use crate::module_log::ModuleLog;
use crate::queue::Queue;
use crate::reader::ReaderTask;
use crate::ways::{LocalCommands, ask_for_key};
use crate::writer::{Changes, WriterTask};

const LAST_COMMIT_WAIT: Duration = Duration::from_secs(1);
const RELAY_WAIT: Duration = Duration::from_secs(2);

/// One module as it runs here: its tasks, and the way to them.
pub(crate) struct ModuleHost {
    pub(crate) definition: Arc<Definition>,
    pub(crate) handle: ModuleHandle,
    pub(crate) log: Arc<ModuleLog>,
    changes: Changes,
    cursors: Vec<(String, Cursor)>,
    writer: Option<WriterTask>,
    effects: Option<EffectsTask>,
    tasks: Tasks,
}

/// The tasks of a module, by the order in which they stop.
#[derive(Default)]
struct Tasks {
    service: Option<ServiceHandle>,
    readers: TaskTracker,
    effects: TaskTracker,
    writer: TaskTracker,
    relay: TaskTracker,
    /// How far the relay is; none where readers read the log itself.
    relayed: Option<watch::Receiver<u64>>,
    stop_reading: CancellationToken,
    stop_effects: CancellationToken,
    stop_writing: CancellationToken,
    stop_relay: CancellationToken,
}

/// The way to a hosted module. Cheap to clone.
#[derive(Clone)]
pub struct ModuleHandle {
    module: &'static str,
    edge: Edge,
    queue: Queue,
    leading: watch::Receiver<bool>,
}

// === impl ModuleHost: building ===

impl ModuleHost {
    /// Opens the module's database and becomes its writer. Nothing runs yet.
    ///
    /// # Errors
    /// When the database cannot be opened, is led by another process, or holds what this build cannot read.
    pub(crate) async fn build(
        module: &dyn Module,
        config: &Config,
        clock: Arc<dyn Clock>,
        bus: &Arc<dyn Bus>,
    ) -> Result<Self, JournalError> {
        let definition = Arc::new(module.define());
        let name = definition.name();
        let options = DatabaseOptions {
            url: config.database.url.clone(),
            read_connections_max: config.database.read_connections_max,
            synchronous_full: config.database.synchronous_full,
        };
        let database = Database::open(name, &options).await?;
        let writer = database.writer(definition.all_migrations(), CODE_VERSION).await?;
        let executor = Executor::new(writer, definition.clone(), CODE_VERSION).await?;

        let head = executor.writer().head().clone();
        let log =
            Arc::new(ModuleLog::new(database.clone(), head.log_id.clone(), head.outbox_end, config.bus.ring_rows));
        let (queue, lanes) = Queue::new(config.writer.queue_max, config.writer.batch_max);
        let (changes, changed) = Changes::new(head.inbox_end);
        let leading = watch::Sender::new(false);
        let inbox = EffectInbox::default();
        let inherited: HashSet<String> = executor.effects().map(|row| row.id.clone()).collect();
        inbox.push(executor.effects().cloned().collect());

        let settings = config.modules.get(name).map(|module| module.settings.clone()).unwrap_or_default();
        let edge = Edge::new(EdgeParts {
            verifier: TokenVerifier::new(database.clone(), clock.clone()).asking(ask_for_key(bus.clone())),
            database: database.clone(),
            clock: clock.clone(),
            commands: Arc::new(LocalCommands { module: name, queue: queue.clone() }),
            settings,
            changes: changed,
        });
        let handle = ModuleHandle { module: name, edge, queue: queue.clone(), leading: leading.subscribe() };
        let cursors = definition.consumed().into_keys().map(|source| {
            let cursor = executor.cursor(&source).map(|row| Cursor {
                log_id: row.log_id.clone(),
                position: row.position,
                message_id: row.message_id.clone(),
            });
            (source, cursor.unwrap_or_default())
        });
        let cursors = cursors.collect();
        let tasks = Tasks::default();
        let effects = EffectsTask {
            module: name,
            definition: definition.clone(),
            inbox: inbox.clone(),
            queue,
            clock: clock.clone(),
            config: config.effects.clone(),
            inherited,
            shutdown: tasks.stop_effects.clone(),
        };
        let writer = WriterTask {
            module: name,
            executor,
            lanes,
            clock,
            log: log.clone(),
            effects: inbox,
            changes: changes.clone(),
            leading,
            swept: None,
            drain: tasks.stop_writing.clone(),
        };
        Ok(Self { definition, handle, log, changes, cursors, writer: Some(writer), effects: Some(effects), tasks })
    }
}

// === impl ModuleHost: running ===

impl ModuleHost {
    /// Starts the writer and the effects, admits changed settings and seeds, and shows the log to the bus.
    ///
    /// Every task holds a guard that ends the process when the task ends by itself, by an error or a panic: a part that is
    /// silently gone would leave a process that looks ready.
    ///
    /// # Errors
    /// When the bus refuses the log or the service.
    pub(crate) async fn start(
        &mut self,
        module: &dyn Module,
        bus: &Arc<dyn Bus>,
        failed: &CancellationToken,
    ) -> Result<(), BusError> {
        let name = self.definition.name();
        if let Some(writer) = self.writer.take() {
            let guard = failed.clone().drop_guard();
            self.tasks.writer.spawn(async move {
                match writer.run().await {
                    Ok(()) => drop(guard.disarm()),
                    Err(error) => tracing::error!(module = name, %error, "the writer has stopped"),
                }
            });
        }
        if let Some(effects) = self.effects.take() {
            let guard = failed.clone().drop_guard();
            self.tasks.effects.spawn(async move {
                effects.run().await;
                guard.disarm();
            });
        }
        self.admit_settings().await;
        for command in module.seed() {
            let id = command.id.clone();
            match self.handle.edge.submit(command).await {
                Ok(answer) if answer.status < 400 => {}
                Ok(answer) => tracing::warn!(module = name, id, answer = %answer.body, "a seed was refused"),
                Err(problem) => tracing::warn!(module = name, id, %problem, "a seed was not taken"),
            }
        }
        bus.attach(self.log.clone()).await?;
        if let Some(relay) = bus.relay(self.log.clone()) {
            let (shutdown, guard) = (self.tasks.stop_relay.clone(), failed.clone().drop_guard());
            let relayed = watch::Sender::new(0);
            self.tasks.relayed = Some(relayed.subscribe());
            self.tasks.relay.spawn(async move {
                match crate::relay::run(name, relay, relayed, shutdown).await {
                    Ok(()) => drop(guard.disarm()),
                    Err(error) => tracing::error!(module = name, %error, "the relay has stopped"),
                }
            });
        }
        self.tasks.service = Some(self.serve(bus).await?);
        Ok(())
    }

    /// Starts reading the logs of others; all co-hosted logs are attached by then.
    pub(crate) fn start_reading(&mut self, bus: &Arc<dyn Bus>, failed: &CancellationToken) {
        let mut subjects = self.definition.consumed();
        for (source, cursor) in std::mem::take(&mut self.cursors) {
            let reader = ReaderTask {
                module: self.definition.name(),
                subjects: subjects.remove(&source).unwrap_or_default(),
                source,
                bus: bus.clone(),
                queue: self.handle.queue.clone(),
                cursor,
                shutdown: self.tasks.stop_reading.clone(),
            };
            let (module, guard) = (self.definition.name(), failed.clone().drop_guard());
            self.tasks.readers.spawn(async move {
                match reader.run().await {
                    Ok(()) => drop(guard.disarm()),
                    Err(error) => tracing::error!(module, %error, "a log cannot be read any further"),
                }
            });
        }
    }

    /// Handlers see settings as inputs: what is configured is admitted when it differs from what was last admitted.
    async fn admit_settings(&self) {
        let name = self.definition.name();
        let configured = self.handle.edge.settings();
        let mut wanted = self.definition.default_settings().clone();
        if let (Some(wanted), Some(configured)) = (wanted.as_object_mut(), configured.as_object()) {
            wanted.extend(configured.clone());
        }
        let stored = SettingsRow::stored(self.handle.edge.database()).await.unwrap_or_default();
        if wanted.is_null() || stored.as_ref() == Some(&wanted) {
            return;
        }
        let payload = wanted.to_string();
        let inbox_end = *self.handle.edge.changes().borrow();
        let id = format!("set_{}", digest_text(&[name.as_bytes(), payload.as_bytes(), &inbox_end.to_be_bytes()], 26));
        let input = Input {
            kind: InputKind::Settings,
            subject: settings_subject(name),
            key: name.to_owned(),
            causation_id: id.clone(),
            correlation_id: id.clone(),
            actor: Actor::system(),
            traceparent: None,
            payload,
            secrets: Vec::new(),
            id,
        };
        if self.handle.queue.result(Work::Input(input)).await.is_err() {
            tracing::warn!(module = name, "the settings were not taken");
        }
    }

    /// Shows the module as a micro service: its commands can be sent by request/reply by whoever may publish there.
    async fn serve(&self, bus: &Arc<dyn Bus>) -> Result<ServiceHandle, BusError> {
        let is_request = |subject: &&str| Subject::parse(subject).is_ok_and(|subject| subject.kind == Kind::Request);
        let commands = self.definition.handled().filter(is_request);
        let subjects: Vec<String> = commands.chain(self.definition.served()).map(str::to_owned).collect();
        let (edge, definition) = (self.handle.edge.clone(), self.definition.clone());
        let handler: RequestHandler = Arc::new(move |request| {
            let edge = edge.clone();
            let serve = definition.server(&request.subject).cloned();
            Box::pin(async move {
                if let Some(serve) = serve {
                    return serve(edge, &request.payload).await.map(Bytes::from);
                }
                let input: Input =
                    serde_json::from_slice(&request.payload).map_err(|error| format!("not an input: {error}"))?;
                if input.subject != request.subject || !input.is_command() {
                    return Err(format!("{} is not a command for {}", input.subject, request.subject));
                }
                let answer = edge.submit(input).await.unwrap_or_else(Answer::from);
                serde_json::to_vec(&answer).map(Bytes::from).map_err(|error| error.to_string())
            })
        });
        let name = self.definition.name();
        let service = ServiceSpec {
            name: name.to_owned(),
            version: CODE_VERSION.to_owned(),
            description: format!("the {name} module"),
            subjects,
        };
        bus.serve(service, handler).await
    }

    /// Requests that wait for something to happen are answered now.
    pub(crate) fn end_waits(&self) {
        self.changes.close();
    }

    /// No more deliveries and requests are taken; what is under way is finished.
    pub(crate) async fn stop_intake(&mut self) {
        if let Some(service) = self.tasks.service.take() {
            service.stop().await;
        }
        self.tasks.stop_reading.cancel();
        stopped(&self.tasks.readers).await;
    }

    /// No more tries begin; calls under way, then the queue, are finished.
    pub(crate) async fn finish(&mut self) {
        self.tasks.stop_effects.cancel();
        stopped(&self.tasks.effects).await;
        self.tasks.stop_writing.cancel();
        stopped(&self.tasks.writer).await;
    }

    /// After the time to drain: nothing more begins, and the writer gets a moment to commit what it holds.
    pub(crate) async fn cut_short(&mut self) {
        self.tasks.stop_effects.cancel();
        self.tasks.stop_writing.cancel();
        let _ = tokio::time::timeout(LAST_COMMIT_WAIT, stopped(&self.tasks.writer)).await;
    }

    /// The log is relayed to its end if that takes no longer than a moment; else the next start goes on.
    pub(crate) async fn close(mut self, bus: &Arc<dyn Bus>) {
        if let Some(relayed) = self.tasks.relayed.as_mut().filter(|_| bus.healthy()) {
            let end = self.log.last();
            let _ = tokio::time::timeout(RELAY_WAIT, relayed.wait_for(|position| *position >= end)).await;
        }
        self.tasks.stop_relay.cancel();
        stopped(&self.tasks.relay).await;
        bus.detach(self.definition.name());
        // A read that a dead network holds must not hold the stop.
        let _ = tokio::time::timeout(LAST_COMMIT_WAIT, self.handle.edge.database().close()).await;
    }
}

async fn stopped(tasks: &TaskTracker) {
    tasks.close();
    tasks.wait().await;
}

// === impl ModuleHandle ===

impl ModuleHandle {
    pub fn module(&self) -> &'static str {
        self.module
    }

    pub fn edge(&self) -> &Edge {
        &self.edge
    }

    /// Whether this module can serve: its database answers, and its writer leads.
    ///
    /// # Errors
    /// Says what is missing.
    pub async fn ready(&self) -> Result<(), String> {
        if !self.leads() {
            return Err("the writer does not lead".to_owned());
        }
        let ping = tokio::time::timeout(Duration::from_secs(2), self.edge.database().ping()).await;
        ping.map_err(|_| "the database does not answer within 2 s".to_owned())?.map_err(|error| error.to_string())
    }

    pub(crate) fn leads(&self) -> bool {
        *self.leading.borrow()
    }

    pub(crate) fn queue(&self) -> &Queue {
        &self.queue
    }

    pub(crate) fn commands_waiting(&self) -> usize {
        self.queue.commands_waiting()
    }
}
