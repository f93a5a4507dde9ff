use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use pangaea_contracts::order::Reason;
use pangaea_contracts::{Message, Timestamp};
use pangaea_faults::{Plant, planted, unguarded};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Something to be done in the world outside: its subject is of the `eff` form. It has one journalled result.
pub trait Effect: Message + Clone {
    type Output: Serialize + DeserializeOwned + Send + 'static;

    /// No try starts later than this after the effect was asked for; then the result is [`Outcome::Unknown`].
    const DEADLINE_MS: i64;
    /// A single try takes at most this long.
    const TRY_TIMEOUT_MS: i64;
}

/// What became of an effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome<T> {
    Done(T),
    /// The other side said no, for good.
    Refused(Reason),
    /// The deadline passed without an answer that can be trusted.
    Unknown(Reason),
}

/// The input of a result's handler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Performed<E: Effect> {
    pub effect: E,
    pub outcome: Outcome<E::Output>,
}

/// One try of an effect.
#[derive(Clone, Debug)]
pub struct Call<E> {
    /// The same for every try: the idempotency key to give to the other side.
    pub operation_id: String,
    pub effect: E,
    /// From 1.
    pub attempt: u32,
    pub deadline_at: Timestamp,
    pub timeout: Duration,
    pub traceparent: Option<String>,
}

/// Why a try gave no outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TryError {
    /// Nothing can have happened (refused connection, 429, 503 before any work): try again.
    #[error("not done: {0}")]
    NotDone(String),
    /// It may have happened: ask before trying again.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
}

/// Does an effect.
pub trait Performer<E: Effect>: Send + Sync + 'static {
    /// Names the other side: one circuit breaker per target.
    fn target(&self) -> &str;

    /// Does it, with `call.operation_id` as the idempotency key.
    fn perform<'a>(&'a self, call: &'a Call<E>) -> BoxFuture<'a, Result<Outcome<E::Output>, TryError>>;

    /// Asks what became of an earlier try. `None`: the other side does not know of it.
    fn query<'a>(&'a self, call: &'a Call<E>) -> BoxFuture<'a, Result<Option<Outcome<E::Output>>, TryError>>;
}

/// A performer with its types forgotten: payloads as JSON text.
#[derive(Clone)]
pub struct ErasedPerformer {
    pub target: String,
    pub deadline_ms: i64,
    pub try_timeout_ms: i64,
    run: RunTry,
    give_up: GiveUp,
}

/// `(call, ask_first)`: the JSON of a [`Performed`], or why there is none.
type RunTry = Arc<dyn Fn(Call<String>, bool) -> BoxFuture<'static, Result<String, TryError>> + Send + Sync>;
type GiveUp = Arc<dyn Fn(&str, Reason) -> Result<String, String> + Send + Sync>;

// === impl ErasedPerformer ===

impl ErasedPerformer {
    pub(crate) fn new<E: Effect>(performer: Arc<dyn Performer<E>>) -> Self {
        Self {
            target: performer.target().to_owned(),
            deadline_ms: E::DEADLINE_MS,
            try_timeout_ms: E::TRY_TIMEOUT_MS,
            run: Arc::new(move |call, ask_first| Box::pin(run(performer.clone(), call, ask_first))),
            give_up: Arc::new(|payload, reason| {
                let effect: E = serde_json::from_str(payload).map_err(|error| error.to_string())?;
                serde_json::to_string(&Performed { effect, outcome: Outcome::Unknown(reason) })
                    .map_err(|error| error.to_string())
            }),
        }
    }

    /// One try; `ask_first` when an earlier one may have happened. The answer is the result input's payload.
    ///
    /// # Errors
    /// When the try gave no outcome.
    pub async fn run(&self, call: Call<String>, ask_first: bool) -> Result<String, TryError> {
        (self.run)(call, ask_first).await
    }

    /// The result input's payload for an effect whose deadline has passed.
    ///
    /// # Errors
    /// When the stored effect cannot be read any more.
    pub fn give_up(&self, payload: &str, reason: Reason) -> Result<String, String> {
        (self.give_up)(payload, reason)
    }
}

async fn run<E: Effect>(
    performer: Arc<dyn Performer<E>>,
    call: Call<String>,
    ask_first: bool,
) -> Result<String, TryError> {
    let effect: E = serde_json::from_str(&call.effect)
        .map_err(|error| TryError::NotDone(format!("the stored effect cannot be read: {error}")))?;
    let call = Call {
        operation_id: call.operation_id,
        effect,
        attempt: call.attempt,
        deadline_at: call.deadline_at,
        timeout: call.timeout,
        traceparent: call.traceparent,
    };
    // One limit for question and call together: the try that was recorded expires with it. A panic says nothing of what
    // the other side did.
    let tried = tokio::time::timeout(
        call.timeout,
        AssertUnwindSafe(ask_and_perform(&*performer, &call, ask_first)).catch_unwind(),
    );
    let outcome = match tried.await {
        Ok(Ok(outcome)) => outcome?,
        Ok(Err(_)) => return Err(TryError::Unknown("the performer panicked".to_owned())),
        Err(_) => return Err(TryError::Unknown(format!("no answer within {} ms", call.timeout.as_millis()))),
    };
    let performed = Performed { effect: call.effect, outcome };
    serde_json::to_string(&performed).map_err(|error| TryError::Unknown(error.to_string()))
}

async fn ask_and_perform<E: Effect>(
    performer: &dyn Performer<E>,
    call: &Call<E>,
    ask_first: bool,
) -> Result<Outcome<E::Output>, TryError> {
    let asks = ask_first && !unguarded(Plant::EffectRetriedUnderANewKey);
    if asks && let Some(outcome) = performer.query(call).await? {
        return Ok(outcome);
    }
    if planted(Plant::EffectRetriedUnderANewKey) && call.attempt > 1 {
        return performer.perform(&under_a_new_key(call)).await;
    }
    performer.perform(call).await
}

/// A planted bug: to the other side this try is another operation.
fn under_a_new_key<E: Effect>(call: &Call<E>) -> Call<E> {
    Call { operation_id: format!("{}-{}", call.operation_id, call.attempt), ..call.clone() }
}
