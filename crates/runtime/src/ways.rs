//! The ways out of a module's edge: to its writer, and to the module that publishes token keys.

use std::sync::Arc;
use std::time::Duration;

use pangaea_bus::Bus;
use pangaea_contracts::Message;
use pangaea_contracts::user::TokenKeyRequest;
use pangaea_kernel::auth::AskForKey;
use pangaea_kernel::http::{CommandFuture, Commands};
use pangaea_kernel::{Done, Input, LetterOutcome, Problem, ProblemKind, Work};

use crate::ModuleHandle;
use crate::queue::{Queue, QueueError};

/// How long an operator's redrive of one letter may take: a database that is away is waited for by the writer.
const LETTER_TIMEOUT: Duration = Duration::from_secs(30);
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

// === impl ModuleHandle: letters ===

impl ModuleHandle {
    /// Whether letters of this module can be redriven and abandoned here.
    ///
    /// # Errors
    /// A problem when the module's writer is not in this process.
    pub(crate) fn takes_letters(&self) -> Result<(), Problem> {
        if self.leads() {
            return Ok(());
        }
        let detail = format!("this process does not lead {}; ask the one that does", self.module());
        Err(Problem::new(ProblemKind::Unavailable, detail).with_retry_after(1))
    }

    /// Has the writer redrive or abandon a letter. It goes the way of the results of effects, because it was accepted
    /// long ago: too many commands in the queue do not refuse it.
    pub(crate) async fn submit_letter(&self, work: Work) -> Result<LetterOutcome, Problem> {
        self.takes_letters()?;
        let done = tokio::time::timeout(LETTER_TIMEOUT, self.queue().result(work)).await;
        match done.ok().and_then(Result::ok).and_then(|done| done.into_iter().next()) {
            Some(Done::Letter(outcome)) => Ok(outcome),
            _ => {
                let detail = "the writer did not answer; ask again, what has been done is not done twice";
                Err(Problem::new(ProblemKind::OutcomeUnknown, detail).with_retry_after(1))
            }
        }
    }
}
