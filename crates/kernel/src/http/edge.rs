use std::sync::Arc;

use axum::extract::FromRef;
use futures_util::future::BoxFuture;
use pangaea_journal::Database;
use tokio::sync::watch;

use crate::auth::TokenVerifier;
use crate::{Answer, Clock, Input, Problem};

pub type CommandFuture = BoxFuture<'static, Result<Answer, Problem>>;

/// The way to a module's writer, wherever it runs.
pub trait Commands: Send + Sync + 'static {
    /// Admits a command and waits for its answer. Dropping the future does not undo it.
    fn submit(&self, command: Input) -> CommandFuture;
}

/// What a module's routes may use: the read pool, the way to the writer, the clock. Cheap to clone.
#[derive(Clone)]
pub struct Edge(Arc<EdgeParts>);

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
        Self(Arc::new(parts))
    }

    pub fn database(&self) -> &Database {
        &self.0.database
    }

    pub fn clock(&self) -> &dyn Clock {
        &*self.0.clock
    }

    pub fn verifier(&self) -> &TokenVerifier {
        &self.0.verifier
    }

    pub fn settings(&self) -> &serde_json::Value {
        &self.0.settings
    }

    /// Wakes whenever the module has committed something.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.clone()
    }

    /// # Errors
    /// 503 when the writer cannot be reached or has too much waiting. Refusals are answers, not errors.
    pub async fn submit(&self, command: Input) -> Result<Answer, Problem> {
        self.0.commands.submit(command).await
    }
}

impl FromRef<Edge> for TokenVerifier {
    fn from_ref(edge: &Edge) -> Self {
        edge.0.verifier.clone()
    }
}
