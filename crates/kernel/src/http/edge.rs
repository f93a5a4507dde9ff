use std::sync::Arc;

use axum::extract::FromRef;
use futures_util::future::BoxFuture;
use pangaea_journal::Database;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::auth::TokenVerifier;
use crate::{Answer, Clock, Input, Problem};

/// Requests of one module that wait for its commits at once: each reads again after many of them.
const WAITS_MAX: usize = 1_024;

pub type CommandFuture = BoxFuture<'static, Result<Answer, Problem>>;

/// The way to a module's writer, wherever it runs.
pub trait Commands: Send + Sync + 'static {
    /// Admits a command and waits for its answer. Dropping the future does not undo it.
    fn submit(&self, command: Input) -> CommandFuture;
}

/// What a module's routes may use: the read pool, the way to the writer, the clock. Cheap to clone.
#[derive(Clone)]
pub struct Edge(Arc<Inner>);

struct Inner {
    parts: EdgeParts,
    waits: Arc<Semaphore>,
}

/// Leave to wait for a module's commits, given back when this is dropped.
#[derive(Debug)]
pub struct WaitPermit {
    _permit: OwnedSemaphorePermit,
}

/// What the host gives an [`Edge`].
pub struct EdgeParts {
    pub database: Database,
    pub clock: Arc<dyn Clock>,
    pub commands: Arc<dyn Commands>,
    pub verifier: TokenVerifier,
    /// The module's settings as configured, for decisions at the edge.
    pub settings: serde_json::Value,
    /// The end of the module's inbox as last committed: changes whenever anything may have changed.
    pub changes: watch::Receiver<u64>,
}

// === impl Edge ===

impl Edge {
    pub fn new(parts: EdgeParts) -> Self {
        Self(Arc::new(Inner { parts, waits: Arc::new(Semaphore::new(WAITS_MAX)) }))
    }

    pub fn database(&self) -> &Database {
        &self.0.parts.database
    }

    pub fn clock(&self) -> &dyn Clock {
        &*self.0.parts.clock
    }

    pub fn verifier(&self) -> &TokenVerifier {
        &self.0.parts.verifier
    }

    pub fn settings(&self) -> &serde_json::Value {
        &self.0.parts.settings
    }

    /// Wakes whenever the module has committed something.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.parts.changes.clone()
    }

    /// For a request that stays to wait for [`changes`](Self::changes); `None` when as many wait as may.
    pub fn wait_permit(&self) -> Option<WaitPermit> {
        self.0.waits.clone().try_acquire_owned().ok().map(|permit| WaitPermit { _permit: permit })
    }

    /// # Errors
    /// 503 when the writer cannot be reached or has too much waiting. Refusals are answers, not errors.
    pub async fn submit(&self, command: Input) -> Result<Answer, Problem> {
        self.0.parts.commands.submit(command).await
    }
}

impl FromRef<Edge> for TokenVerifier {
    fn from_ref(edge: &Edge) -> Self {
        edge.0.parts.verifier.clone()
    }
}
