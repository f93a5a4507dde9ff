//! A term of leadership: everything that only the replica which leads a module does.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use pangaea_bus::{BusError, Cursor, LogSource, ServiceHandle};
use pangaea_contracts::digest_text;
use pangaea_journal::{JournalError, Kind, Writer};
use pangaea_kernel::{Executor, ExecutorError, Input, InputKind, Reading, SettingsRow, Work, settings_subject};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::CODE_VERSION;
use crate::admission::{Admission, Bounds};
use crate::appends::Appends;
use crate::config::BusKind;
use crate::effects::{EffectInbox, EffectsTask};
use crate::handling::{Handlings, Waits};
use crate::module_host::Member;
use crate::module_log::ModuleLog;
use crate::queue::Queue;
use crate::reader::ReaderTask;
use crate::rebuilds::Rebuilds;
use crate::recovered;
use crate::writer::WriterTask;

const LAST_COMMIT_WAIT: Duration = Duration::from_secs(1);
const RELAY_WAIT: Duration = Duration::from_secs(2);
const HEAD_LOOKS_MAX: u32 = 20;
const HEAD_LOOK_WAIT: Duration = Duration::from_secs(2);
const HEAD_LOOK_PAUSE: Duration = Duration::from_millis(500);

/// The tasks of a leader, and the way to stop them.
pub(crate) struct Term {
    member: Arc<Member>,
    log: Arc<ModuleLog>,
    queue: Queue,
    rebuilds: Rebuilds,
    tasks: Tasks,
    end: End,
}

/// Who is told that a term ends by itself, and why. Cheap to clone.
#[derive(Clone)]
struct End {
    member: Arc<Member>,
    epoch: i64,
    /// Another leads, or this one's session is over.
    lost: CancellationToken,
    /// A part has ended that must not: an error that an operator has to see, or a panic.
    failed: CancellationToken,
}

/// How a term ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Lost,
    Failed,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum TermError {
    #[error("{0}")]
    Database(#[from] JournalError),
    #[error("the bus: {0}")]
    Bus(#[from] BusError),
    #[error("{0}")]
    Module(String),
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

// === impl Term: beginning ===

impl Term {
    /// Starts to lead with a writer that has been elected: the writer and the effects run, changed settings and seeds are
    /// admitted, and the log is shown to the bus. Readers begin as soon as `member.may_read` says that all co-hosted logs are
    /// there.
    ///
    /// # Errors
    /// When the journal holds what this build cannot read, or the bus refuses the log or the service.
    pub(crate) async fn begin(member: Arc<Member>, writer: Writer) -> Result<Self, TermError> {
        let Member { definition, database, config, clock, .. } = &*member;
        let name = definition.name();
        let (waits, spans) = (Waits::default(), member.telemetry.spans().clone());
        let handlings = Handlings::of(definition, spans.clone(), waits.clone());
        let executor = Executor::new(writer, definition.clone(), CODE_VERSION).await?.observed_by(Box::new(handlings));
        let head = executor.writer().head().clone();
        if !head.previous_stop_clean {
            // Beside the start: nobody waits for spans, and many for a leader.
            tokio::spawn(recovered::export(spans.clone(), name, database.clone(), head.clone()));
        }
        let appends = (config.bus.kind == BusKind::Nats).then(|| Appends::new(spans.clone()));
        let (log_id, log_end, ring_rows) = (head.log_id.clone(), head.outbox_end, config.bus.ring_rows);
        let log = Arc::new(ModuleLog::new(database.clone(), log_id, log_end, ring_rows, appends));
        let admission = Arc::new(Admission::new(Bounds::from(config), log.readers().clone(), log.end()));
        admission.set_effects_pending(executor.effects_pending());
        let (queue, lanes) = Queue::new(admission.clone());
        let (lost, failed) = (CancellationToken::new(), CancellationToken::new());
        let (tasks, end) = (Tasks::default(), End { member: member.clone(), epoch: head.epoch, lost, failed });
        let inbox = EffectInbox::default();
        let inherited: HashSet<String> = executor.effects().map(|row| row.id.clone()).collect();
        inbox.push(executor.effects().cloned().collect());
        let readings = definition.readings().into_iter().map(|reading| {
            let cursor = executor.cursor_of(&reading.reader, &reading.source).map(|row| Cursor {
                log_id: row.log_id.clone(),
                position: row.position,
                message_id: row.message_id.clone(),
            });
            (reading, cursor.unwrap_or_default())
        });
        let readings = readings.collect();
        let effects = EffectsTask {
            module: name,
            definition: definition.clone(),
            inbox: inbox.clone(),
            queue: queue.clone(),
            clock: clock.clone(),
            config: config.effects.clone(),
            inherited,
            spans: spans.clone(),
            shutdown: tasks.stop_effects.clone(),
        };
        let writer = WriterTask {
            module: name,
            executor,
            lanes,
            clock: clock.clone(),
            log: log.clone(),
            effects: inbox,
            admission,
            changes: member.changes.clone(),
            spans,
            waits,
            swept: None,
            drain: tasks.stop_writing.clone(),
        };
        let rebuilds = Rebuilds::new(definition.clone(), database.clone(), queue.clone(), head.epoch);
        let mut term = Self { member: member.clone(), log, queue, rebuilds, tasks, end };
        term.spawn_writer(writer);
        term.spawn_effects(effects);
        member.way.leads_here(term.queue.clone(), term.rebuilds.clone());
        if let Err(error) = term.open(head.epoch, readings).await {
            term.abandon().await;
            return Err(error);
        }
        Ok(term)
    }

    async fn open(&mut self, epoch: i64, readings: Vec<(Reading, Cursor)>) -> Result<(), TermError> {
        let member = self.member.clone();
        self.admit_settings().await;
        for command in member.module.seed() {
            let id = command.id.clone();
            match member.edge.submit(command).await {
                Ok(answer) if answer.status < 400 => {}
                Ok(answer) => {
                    tracing::warn!(module = member.name(), id, answer = %answer.body, "a seed was refused");
                }
                Err(problem) => tracing::warn!(module = member.name(), id, %problem, "a seed was not taken"),
            }
        }
        member.bus.attach(self.log.clone()).await?;
        self.spawn_relay();
        let service = crate::forward::serve_leader(&member, epoch, self.queue.clone(), self.rebuilds.clone()).await?;
        self.tasks.service = Some(service);
        self.spawn_readers(readings);
        member.module.start(member.edge.clone()).await.map_err(TermError::Module)
    }

    /// Every task holds a guard that ends the process when the task ends by itself, by an error or a panic: a part that is
    /// silently gone would leave a process that looks ready.
    fn spawn_writer(&self, writer: WriterTask) {
        let (guard, end) = (self.end.failed.clone().drop_guard(), self.end.clone());
        self.tasks.writer.spawn(async move {
            let Err(error) = writer.run().await else { return drop(guard.disarm()) };
            let (ExecutorError::Fatal(reason) | ExecutorError::Transient(reason)) = &error;
            let passes = matches!(reason, JournalError::Superseded { .. }) || reason.is_transient();
            if passes && end.member.database.kind() == Kind::Postgres {
                end.lose(&error);
                drop(guard.disarm());
            } else {
                tracing::error!(module = end.member.name(), %error, "the writer has stopped");
            }
        });
    }

    fn spawn_effects(&self, effects: EffectsTask) {
        let guard = self.end.failed.clone().drop_guard();
        self.tasks.effects.spawn(async move {
            effects.run().await;
            guard.disarm();
        });
    }

    fn spawn_relay(&mut self) {
        let Some(relay) = self.member.bus.relay(self.log.clone()) else { return };
        let (shutdown, end) = (self.tasks.stop_relay.clone(), self.end.clone());
        let guard = end.failed.clone().drop_guard();
        let relayed = watch::Sender::new(0);
        self.tasks.relayed = Some(relayed.subscribe());
        let (module, log, clock) = (self.member.name(), self.log.clone(), self.member.clock.clone());
        self.tasks.relay.spawn(async move {
            match crate::relay::run(module, relay, log, clock, relayed, shutdown).await {
                Ok(()) => drop(guard.disarm()),
                Err(error) if end.is_over().await => {
                    end.lose(&error);
                    drop(guard.disarm());
                }
                Err(error) => tracing::error!(module, %error, "the relay has stopped"),
            }
        });
    }

    fn spawn_readers(&self, readings: Vec<(Reading, Cursor)>) {
        for (reading, cursor) in readings {
            let reader = ReaderTask {
                module: self.member.name(),
                reading,
                bus: self.member.bus.clone(),
                queue: self.queue.clone(),
                performs: self.member.definition.performs_effects(),
                cursor,
                clock: self.member.clock.clone(),
                shutdown: self.tasks.stop_reading.clone(),
            };
            let (module, end) = (self.member.name(), self.end.clone());
            let guard = end.failed.clone().drop_guard();
            let (may_read, stop) = (self.member.may_read.clone(), self.tasks.stop_reading.clone());
            self.tasks.readers.spawn(async move {
                tokio::select! {
                    () = may_read.cancelled() => {}
                    () = stop.cancelled() => {}
                }
                match reader.run().await {
                    Ok(()) => drop(guard.disarm()),
                    Err(error) if end.is_over().await => {
                        end.lose(&error);
                        drop(guard.disarm());
                    }
                    Err(error) => tracing::error!(module, %error, "a log cannot be read any further"),
                }
            });
        }
    }

    /// Handlers see settings as inputs: what is configured is admitted when it differs from what was last admitted.
    async fn admit_settings(&self) {
        let (name, edge) = (self.member.name(), &self.member.edge);
        let mut wanted = self.member.definition.default_settings().clone();
        if let (Some(wanted), Some(configured)) = (wanted.as_object_mut(), edge.settings().as_object()) {
            wanted.extend(configured.clone());
        }
        let stored = SettingsRow::stored(edge.database()).await.unwrap_or_default();
        if wanted.is_null() || stored.as_ref() == Some(&wanted) {
            return;
        }
        let payload = wanted.to_string();
        let inbox_end = *edge.changes().borrow();
        let id = format!("set_{}", digest_text(&[name.as_bytes(), payload.as_bytes(), &inbox_end.to_be_bytes()], 26));
        let input = Input::new(InputKind::Settings, id, &settings_subject(name), name, payload);
        if self.queue.result(Work::Input(input)).await.is_err() {
            tracing::warn!(module = name, "the settings were not taken");
        }
    }
}

// === impl Term: ending ===

impl Term {
    /// Waits until the term ends by itself.
    pub(crate) async fn ended(&self) -> Ended {
        tokio::select! {
            () = self.end.lost.cancelled() => Ended::Lost,
            () = self.end.failed.cancelled() => Ended::Failed,
        }
    }

    /// Another leads: nothing more is said or called in this one's name. What was under way and not committed is as if it
    /// had not been; its commands are sent to the new leader under the same ids.
    pub(crate) async fn abandon(mut self) {
        self.member.way.leads_elsewhere();
        self.rebuilds.end();
        self.tasks.stop_reading.cancel();
        self.tasks.stop_effects.cancel();
        self.tasks.stop_relay.cancel();
        self.tasks.stop_writing.cancel();
        drop(self.tasks.service.take());
        self.member.bus.detach(self.member.name());
        let stopped = async {
            stopped(&self.tasks.readers).await;
            stopped(&self.tasks.relay).await;
            stopped(&self.tasks.writer).await;
        };
        // Calls to the provider that are under way end by their own time limit; their results find no writer.
        let _ = tokio::time::timeout(LAST_COMMIT_WAIT, stopped).await;
    }

    /// No more deliveries and requests are taken; what is under way is finished.
    pub(crate) async fn stop_intake(&mut self) {
        self.rebuilds.end();
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

    /// The log is relayed to its end if that takes no longer than a moment; else the next leader goes on.
    pub(crate) async fn close(mut self) {
        self.member.way.leads_elsewhere();
        if let Some(relayed) = self.tasks.relayed.as_mut().filter(|_| self.member.bus.healthy()) {
            let end = self.log.last();
            let _ = tokio::time::timeout(RELAY_WAIT, relayed.wait_for(|position| *position >= end)).await;
        }
        self.tasks.stop_relay.cancel();
        stopped(&self.tasks.relay).await;
        self.member.bus.detach(self.member.name());
    }
}

// === impl End ===

impl End {
    fn lose(&self, error: &dyn std::fmt::Display) {
        tracing::warn!(module = self.member.name(), %error, "this replica no longer leads");
        self.lost.cancel();
    }

    /// Whether another replica has led since. To a leader that stood still for a while the world looks wrong before its
    /// writer finds out: the stream holds what its own outbox did not yet hold then.
    async fn is_over(&self) -> bool {
        for _ in 0..HEAD_LOOKS_MAX {
            match tokio::time::timeout(HEAD_LOOK_WAIT, self.member.database.head()).await {
                Ok(Ok(head)) => return head.is_some_and(|head| head.epoch != self.epoch),
                Ok(Err(_)) | Err(_) => tokio::time::sleep(HEAD_LOOK_PAUSE).await,
            }
        }
        false
    }
}

async fn stopped(tasks: &TaskTracker) {
    tasks.close();
    tasks.wait().await;
}
