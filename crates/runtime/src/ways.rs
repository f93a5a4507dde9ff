//! The ways out of a module's edge: to its writer, and to the module that publishes token keys.

use std::sync::Arc;
use std::time::Duration;

use pangaea_bus::Bus;
use pangaea_contracts::Message;
use pangaea_contracts::user::TokenKeyRequest;
use pangaea_kernel::auth::AskForKey;
use pangaea_kernel::http::{CommandFuture, Commands};
use pangaea_kernel::{Done, Input, Problem, ProblemKind, Work};

use crate::queue::{Queue, QueueError};

const KEY_REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// The way to a writer in this process.
pub(crate) struct LocalCommands {
    pub(crate) module: &'static str,
    pub(crate) queue: Queue,
}

/// A module that meets an unknown key asks whoever publishes keys, once, by request/reply.
pub(crate) fn ask_for_key(bus: Arc<dyn Bus>) -> AskForKey {
    Arc::new(move |request| {
        let bus = bus.clone();
        Box::pin(async move {
            let payload = serde_json::to_vec(&request).ok()?;
            let reply = bus.request(TokenKeyRequest::SUBJECT, payload.into(), None, KEY_REQUEST_TIMEOUT).await;
            serde_json::from_slice(&reply.ok()?).ok()?
        })
    })
}

// === impl LocalCommands ===

impl Commands for LocalCommands {
    fn submit(&self, command: Input) -> CommandFuture {
        let module = self.module;
        let admitted = self.queue.command(Work::Input(command));
        Box::pin(async move {
            let unknown = || {
                Problem::new(ProblemKind::OutcomeUnknown, "send the same request again with the same Idempotency-Key")
                    .with_retry_after(1)
            };
            let reply = match admitted {
                Ok(reply) => reply,
                Err(QueueError::Full) => {
                    metrics::counter!("pangaea_shed_total", "module" => module).increment(1);
                    return Err(Problem::new(ProblemKind::Overloaded, "come again a little later").with_retry_after(1));
                }
                Err(QueueError::Stopped) => {
                    return Err(Problem::new(ProblemKind::Unavailable, "this process is stopping").with_retry_after(1));
                }
            };
            match reply.await.ok().and_then(|done| done.into_iter().next()) {
                Some(Done::Answered(answer)) => Ok(answer),
                _ => Err(unknown()),
            }
        })
    }
}
