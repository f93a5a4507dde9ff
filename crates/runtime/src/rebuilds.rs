//! The rebuilds of a module in the replica that leads it: one at a time, for as long as somebody asks how it goes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use pangaea_journal::Database;
use pangaea_kernel::{
    Definition, Done, Problem, ProblemKind, Rebuild, RebuildError, RebuildFacts, RebuildOptions, RebuildProgress,
    RebuildReport, Steps, Work,
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::queue::Queue;

/// Without a question for so long, whoever wanted it has gone away.
const ASKED_MAX: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A rest is as long as the work before it, and no longer than this: the store keeps half of the machine at least.
const REST_MAX: Duration = Duration::from_millis(100);

/// Cheap to clone; the clones are of one leader's term.
#[derive(Clone)]
pub(crate) struct Rebuilds(Arc<Shared>);

struct Shared {
    definition: Arc<Definition>,
    database: Database,
    queue: Queue,
    /// Names this leader's rebuilds, with a number.
    epoch: i64,
    newest: Mutex<Newest>,
}

#[derive(Default)]
struct Newest {
    number: u64,
    running: Option<Running>,
}

struct Running {
    options: RebuildOptions,
    progress: Arc<RebuildProgress>,
    asked_at: Instant,
    end: Option<RebuildEnd>,
}

/// What is wanted of the leader. The names tell it from what else travels to a leader.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum RebuildRequest {
    #[serde(rename = "start_rebuild")]
    Start(RebuildOptions),
    /// How one goes, by its id, or the newest.
    #[serde(rename = "ask_rebuild")]
    Ask { id: Option<String> },
    /// Ends one before its next step, by its id, or the newest.
    #[serde(rename = "cancel_rebuild")]
    Cancel { id: Option<String> },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RebuildReply {
    State(RebuildState),
    /// This leader knows of none.
    Unknown,
    Problem(Problem),
}

/// How a rebuild goes, or how it ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RebuildState {
    pub(crate) id: String,
    pub(crate) options: RebuildOptions,
    pub(crate) progress: RebuildFacts,
    pub(crate) end: Option<RebuildEnd>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RebuildEnd {
    Done(RebuildReport),
    Problem(Problem),
}

// === impl Rebuilds ===

impl Rebuilds {
    pub(crate) fn new(definition: Arc<Definition>, database: Database, queue: Queue, epoch: i64) -> Self {
        Self(Arc::new(Shared { definition, database, queue, epoch, newest: Mutex::default() }))
    }

    pub(crate) fn answer(&self, request: RebuildRequest) -> RebuildReply {
        match request {
            RebuildRequest::Start(options) => self.start(options),
            RebuildRequest::Ask { id } => self.look(id.as_deref(), |running| running.asked_at = Instant::now()),
            RebuildRequest::Cancel { id } => self.look(id.as_deref(), |running| running.progress.cancel()),
        }
    }

    /// The term is over.
    pub(crate) fn end(&self) {
        self.look(None, |running| running.progress.cancel());
    }

    fn start(&self, options: RebuildOptions) -> RebuildReply {
        let mut newest = self.lock();
        if newest.running.as_ref().is_some_and(|running| running.end.is_none()) {
            let detail = format!("{} is being rebuilt already; wait for it, or cancel it", self.0.definition.name());
            return RebuildReply::Problem(Problem::new(ProblemKind::Conflict, detail));
        }
        let progress = Arc::new(RebuildProgress::default());
        let running =
            Running { options: options.clone(), progress: progress.clone(), asked_at: Instant::now(), end: None };
        newest.number += 1;
        newest.running = Some(running);
        tokio::spawn(self.clone().run(options, progress));
        tokio::spawn(self.clone().watch(newest.number));
        self.state(&newest)
    }

    async fn run(self, options: RebuildOptions, progress: Arc<RebuildProgress>) {
        let module = self.0.definition.name();
        tracing::info!(module, ?options, "a rebuild begins");
        let shared = self.0.clone();
        let rebuilding = tokio::spawn(async move {
            let mut steps = QueuedSteps { queue: shared.queue.clone(), rested: Instant::now() };
            let (definition, database) = (shared.definition.clone(), shared.database.clone());
            Rebuild::new(definition, database, options, &progress, &mut steps).run().await
        });
        let end = match rebuilding.await {
            Ok(Ok(report)) => {
                tracing::info!(module, inputs = report.inputs, tables = ?report.tables, "a rebuild has ended");
                RebuildEnd::Done(report)
            }
            Ok(Err(error)) => {
                tracing::warn!(module, %error, "a rebuild has come to no end");
                RebuildEnd::Problem(problem(&error))
            }
            Err(error) => {
                tracing::error!(module, %error, "a rebuild was broken off");
                RebuildEnd::Problem(Problem::new(ProblemKind::Internal, "the rebuild was broken off; see the log"))
            }
        };
        if let Some(running) = &mut self.lock().running {
            running.end = Some(end);
        }
    }

    /// Cancels one that nobody asks for any more: a standby that passed it on may be gone, and its client with it.
    async fn watch(self, number: u64) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let newest = self.lock();
            let running = newest.running.as_ref().filter(|running| newest.number == number && running.end.is_none());
            match running {
                Some(running) if running.asked_at.elapsed() > ASKED_MAX => return running.progress.cancel(),
                Some(_) => {}
                None => return,
            }
        }
    }

    fn look(&self, id: Option<&str>, touch: impl FnOnce(&mut Running)) -> RebuildReply {
        let mut newest = self.lock();
        if id.is_some_and(|id| id != self.id(newest.number)) {
            return RebuildReply::Unknown;
        }
        if let Some(running) = &mut newest.running {
            touch(running);
        }
        self.state(&newest)
    }

    fn state(&self, newest: &Newest) -> RebuildReply {
        let Some(running) = &newest.running else { return RebuildReply::Unknown };
        RebuildReply::State(RebuildState {
            id: self.id(newest.number),
            options: running.options.clone(),
            progress: running.progress.facts(),
            end: running.end.clone(),
        })
    }

    fn id(&self, number: u64) -> String {
        format!("rebuild_{}_{number}", self.0.epoch)
    }

    fn lock(&self) -> MutexGuard<'_, Newest> {
        self.0.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn problem(error: &RebuildError) -> Problem {
    let kind = match error {
        RebuildError::UnknownProjection { .. } => ProblemKind::NotFound,
        RebuildError::Lost(_) => ProblemKind::OutcomeUnknown,
        RebuildError::Database(_) => ProblemKind::Unavailable,
        _ => ProblemKind::Conflict,
    };
    Problem::new(kind, error.to_string())
}

/// Steps go the way of the results of effects, which a full lane of commands does not refuse.
struct QueuedSteps {
    queue: Queue,
    rested: Instant,
}

// === impl QueuedSteps ===

impl Steps for QueuedSteps {
    fn take(&mut self, work: Work) -> BoxFuture<'_, Result<Done, String>> {
        Box::pin(async move {
            let done = self.queue.result(work).await.ok().and_then(|done| done.into_iter().next());
            done.ok_or_else(|| {
                "this replica no longer leads. Unless it was swapping then, nothing has changed: rebuild again"
                    .to_owned()
            })
        })
    }

    fn rest(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            tokio::time::sleep(self.rested.elapsed().min(REST_MAX)).await;
            self.rested = Instant::now();
        })
    }
}
