//! Where calls meet the books: decide under the lock, wait for the disk, answer.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::api_error::ApiError;
use crate::books::{Books, Call, Outcome};
use crate::clock;
use crate::intent::Intent;
use crate::ledger::{Answer, LedgerEntry, OperationKind};
use crate::token::Token;
use crate::webhook::WebhookSender;
use crate::writer::Durable;

/// Shared by all requests; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Desk(Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) seed: u64,
    pub(crate) latency: Duration,
    pub(crate) hold: Duration,
    pub(crate) books: Arc<Mutex<Books>>,
    pub(crate) entries: mpsc::Sender<Arc<LedgerEntry>>,
    pub(crate) durable: watch::Receiver<Durable>,
    pub(crate) webhooks: Option<WebhookSender>,
    pub(crate) shutdown: CancellationToken,
}

/// What the caller of a state-changing call gets.
#[derive(Debug)]
pub(crate) enum Reply {
    Answer {
        answer: Answer,
        replayed: bool,
    },
    /// The connection is closed without an answer.
    HangUp,
}

// === impl Desk ===

impl Desk {
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// Performs a call once per key and waits until its entry is on disk.
    ///
    /// A caller that goes away cancels nothing: once the lock is taken, decision and hand-over to the writer happen
    /// without a point where the task could stop.
    pub(crate) async fn call(&self, call: Call) -> Result<Reply, ApiError> {
        // The place in the queue comes first, so that a full queue makes callers wait before anything is decided, and
        // entries enter the queue in the order of their positions.
        let place = self.0.entries.reserve().await.map_err(|_| stopped())?;
        let outcome = {
            let mut books = self.books()?;
            let outcome = books.perform(call, clock::now_ms())?;
            if let Outcome::Performed { entry, .. } = &outcome {
                place.send(Arc::clone(entry));
            }
            outcome
        };
        match outcome {
            Outcome::Performed { entry, intent } => self.finish(&entry, *intent).await,
            Outcome::Replayed(first) => {
                self.wait_durable(first.seq).await?;
                self.delay().await;
                Ok(Reply::Answer { answer: first.answer.clone(), replayed: true })
            }
            Outcome::Hold => {
                self.pause(self.0.hold).await;
                Ok(Reply::HangUp)
            }
        }
    }

    /// Reads the books and waits until what was read is on disk: a reader must not see what a crash could undo.
    pub(crate) async fn read<T>(&self, read: impl FnOnce(&Books) -> Result<T, ApiError>) -> Result<T, ApiError> {
        let (seq, value) = {
            let books = self.books()?;
            (books.seq(), read(&books)?)
        };
        self.wait_durable(seq).await?;
        self.delay().await;
        Ok(value)
    }

    /// What was done under a key.
    pub(crate) async fn operation(&self, key: &str) -> Result<Arc<LedgerEntry>, ApiError> {
        let missing = || ApiError::not_found("operation_not_found", format!("nothing was done under the key {key:?}"));
        self.read(|books| books.operation(key)?.ok_or_else(missing)).await
    }

    async fn finish(&self, entry: &LedgerEntry, intent: Intent) -> Result<Reply, ApiError> {
        self.wait_durable(entry.seq).await?;
        let hang_up = intent.token == Token::ChargedReplyLost && entry.operation == OperationKind::Authorize;
        if let Some(webhooks) = &self.0.webhooks {
            webhooks.announce(self.0.seed, entry, &intent);
        }
        self.delay().await;
        Ok(if hang_up { Reply::HangUp } else { Reply::Answer { answer: entry.answer.clone(), replayed: false } })
    }

    async fn wait_durable(&self, seq: u64) -> Result<(), ApiError> {
        let mut durable = self.0.durable.clone();
        let reached = durable.wait_for(|durable| durable.failed || durable.seq >= seq).await.map_err(|_| stopped())?;
        if reached.failed && reached.seq < seq { Err(stopped()) } else { Ok(()) }
    }

    async fn delay(&self) {
        if !self.0.latency.is_zero() {
            self.pause(self.0.latency).await;
        }
    }

    async fn pause(&self, duration: Duration) {
        tokio::select! {
            () = tokio::time::sleep(duration) => {}
            () = self.0.shutdown.cancelled() => {}
        }
    }

    fn books(&self) -> Result<MutexGuard<'_, Books>, ApiError> {
        self.0
            .books
            .lock()
            .map_err(|_| ApiError::internal("the books are inconsistent after a panic; restart the simulator"))
    }
}

fn stopped() -> ApiError {
    ApiError::unavailable(
        "ledger_unavailable",
        "the ledger cannot be written, so the outcome is unknown; restart the simulator and query the key",
    )
}
