use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use pangaea_contracts::Money;
use pangaea_contracts::order::Reason;
use pangaea_faults::{Failpoint, reach};
use pangaea_kernel::{Outcome, TryError};
use pangaea_payment::{Answered, Provider, ProviderCall, Receipt};
use pangaea_simulator::{Answer, Command, LedgerEntry, LedgerSummary, Offline, Token};

use crate::random::Random;

/// How long after it was sent a delayed call may still arrive, in milliseconds: past the caller's own timeout of 5 s, so
/// that the caller has asked what became of it, and perhaps tried again, by then.
const LATE_MS_MAX: i64 = 12_000;

/// The payment provider: the simulator's own books, behind a network that the scheduler makes bad.
///
/// What is lost, late or refused is drawn at each call. The ledger is the second opinion about money.
#[derive(Clone)]
pub(crate) struct Till(Arc<Mutex<Desk>>);

struct Desk {
    offline: Offline,
    random: Random,
    now_ms: i64,
    away_until_ms: i64,
    calm: bool,
    late: Vec<Late>,
    counts: ProviderCounts,
    /// What happened since the last [`Till::take_notes`], for the trace.
    notes: Vec<String>,
}

/// A call that the network still holds, after its caller has given it up.
struct Late {
    arrives_at_ms: i64,
    key: String,
    command: Command,
}

/// What the network did to calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProviderCounts {
    pub calls: u64,
    /// Done, and the answer lost.
    pub replies_lost: u64,
    /// Never arrived, or not in time.
    pub lost: u64,
    /// Arrived after the caller had given up.
    pub late: u64,
    /// Refused before any work.
    pub refused: u64,
}

/// What becomes of one call.
#[derive(Clone, Copy)]
enum Fate {
    Answered,
    ReplyLost,
    Lost,
    Late,
    Refused,
}

// === impl Till ===

impl Till {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Desk {
            offline: Offline::new(seed),
            random: Random::new(seed, 2),
            now_ms: 0,
            away_until_ms: 0,
            calm: false,
            late: Vec::new(),
            counts: ProviderCounts::default(),
            notes: Vec::new(),
        })))
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_now(&self, now_ms: i64) {
        self.desk().now_ms = now_ms;
    }

    /// Nothing answers until then.
    pub(crate) fn go_away(&self, until_ms: i64) {
        self.desk().away_until_ms = until_ms;
    }

    /// Whether from now on every call arrives and is answered.
    pub(crate) fn set_calm(&self, calm: bool) {
        let mut desk = self.desk();
        desk.calm = calm;
        desk.away_until_ms = 0;
    }

    /// When the next delayed call arrives.
    pub(crate) fn next_late_ms(&self) -> Option<i64> {
        self.desk().late.iter().map(|late| late.arrives_at_ms).min()
    }

    /// Lets the delayed calls in whose time has come.
    ///
    /// # Errors
    /// When the books cannot answer: a bug.
    pub(crate) fn let_late_in(&self) -> Result<(), String> {
        let mut desk = self.desk();
        let now_ms = desk.now_ms;
        let (due, later) = desk.late.drain(..).partition(|late| late.arrives_at_ms <= now_ms);
        desk.late = later;
        let due: Vec<Late> = due;
        for Late { key, command, .. } in due {
            let answer = desk.offline.call(&key, command, now_ms as u64)?;
            let status = answer.map_or(0, |answer| answer.status);
            desk.counts.late += 1;
            desk.notes.push(format!("{key} arrives late: {status}"));
        }
        Ok(())
    }

    /// The payer does what the provider has asked for.
    ///
    /// # Errors
    /// When the books cannot answer: a bug.
    pub(crate) fn confirm(&self, intent: &str) -> Result<u16, String> {
        let mut desk = self.desk();
        let now_ms = desk.now_ms as u64;
        let command = Command::Confirm { intent: intent.to_owned() };
        let answer = desk.offline.call(&format!("confirm-{intent}"), command, now_ms)?;
        Ok(answer.map_or(0, |answer| answer.status))
    }

    /// Intents that wait for their payer.
    pub(crate) fn waiting_for_payer(&self) -> Vec<String> {
        let desk = self.desk();
        let ids = desk.offline.entries().iter().filter(|entry| entry.payment_method.is_some());
        let waits = |id: &&String| {
            desk.offline
                .intent(id)
                .is_some_and(|intent| intent.status == pangaea_simulator::IntentStatus::RequiresAction)
        };
        ids.map(|entry| &entry.intent).filter(waits).cloned().collect()
    }

    pub(crate) fn take_notes(&self) -> Vec<String> {
        std::mem::take(&mut self.desk().notes)
    }

    pub(crate) fn counts(&self) -> ProviderCounts {
        self.desk().counts
    }

    pub(crate) fn summary(&self) -> LedgerSummary {
        LedgerSummary::of(self.desk().offline.entries())
    }

    /// The ledger, as its file would hold it.
    pub(crate) fn entries(&self) -> Vec<LedgerEntry> {
        self.desk().offline.entries().to_vec()
    }

    /// A call that changes something.
    fn post(&self, key: &str, command: Command) -> Answered<'static> {
        let (till, key) = (self.clone(), key.to_owned());
        Box::pin(async move {
            reach(Failpoint::ProviderCallBefore).await.map_err(|injected| TryError::NotDone(injected.to_string()))?;
            let answer = till.desk().send(&key, command);
            reach(Failpoint::ProviderCallAfter).await.map_err(|injected| TryError::Unknown(injected.to_string()))?;
            let outcome = answer.and_then(|answer| interpret(&answer));
            reach(Failpoint::ProviderReplyBefore).await.map_err(|injected| TryError::Unknown(injected.to_string()))?;
            reach(Failpoint::ProviderReplyAfter).await.map_err(|injected| TryError::Unknown(injected.to_string()))?;
            outcome
        })
    }

    /// A call that only looks.
    fn look<T: Send + 'static>(
        &self,
        what: String,
        look: impl FnOnce(&Offline) -> Result<T, TryError> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, TryError>> {
        let till = self.clone();
        Box::pin(async move {
            let mut desk = till.desk();
            match desk.fate(&what) {
                Fate::Answered => look(&desk.offline),
                Fate::Refused => Err(TryError::NotDone("the provider is away".to_owned())),
                Fate::ReplyLost | Fate::Lost | Fate::Late => Err(TryError::Unknown(format!("no answer to {what}"))),
            }
        })
    }
}

impl Provider for Till {
    fn target(&self) -> &str {
        "provider"
    }

    fn authorize<'a>(
        &'a self,
        operation: ProviderCall<'a>,
        amount: Money,
        token: &'a str,
        reference: &'a str,
    ) -> Answered<'a> {
        let Some(token) = Token::parse(token) else {
            let reason = Reason::new("unknown_payment_method", "there is no such means of payment");
            return Box::pin(async { Ok(Outcome::Refused(reason)) });
        };
        let (currency, reference) = (amount.currency.to_string(), reference.to_owned());
        self.post(operation.key, Command::Authorize { amount: amount.amount, currency, token, reference })
    }

    fn capture<'a>(&'a self, operation: ProviderCall<'a>, intent: &'a str, amount: i64) -> Answered<'a> {
        self.post(operation.key, Command::Capture { intent: intent.to_owned(), amount: Some(amount) })
    }

    fn void<'a>(&'a self, operation: ProviderCall<'a>, intent: &'a str) -> Answered<'a> {
        self.post(operation.key, Command::Void { intent: intent.to_owned() })
    }

    fn refund<'a>(&'a self, operation: ProviderCall<'a>, intent: &'a str, amount: i64) -> Answered<'a> {
        self.post(operation.key, Command::Refund { intent: intent.to_owned(), amount })
    }

    fn query<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Outcome<Receipt>>, TryError>> {
        let key = key.to_owned();
        self.look(format!("query {key}"), move |offline| {
            offline.operation(&key).map(|answer| interpret(&answer)).transpose()
        })
    }

    fn show<'a>(&'a self, intent: &'a str) -> Answered<'a> {
        let intent = intent.to_owned();
        self.look(format!("show {intent}"), move |offline| {
            let Some(found) = offline.intent(&intent) else {
                let reason = Reason::new("intent_not_found", format!("no payment intent has the id {intent}"));
                return Ok(Outcome::Refused(reason));
            };
            let text = serde_json::to_string(found).map_err(|error| TryError::Unknown(error.to_string()))?;
            receipt(&text).map(Outcome::Done)
        })
    }
}

// === impl Desk ===

impl Desk {
    fn send(&mut self, key: &str, command: Command) -> Result<Answer, TryError> {
        let fate = self.fate(&format!("{key} {command:?}"));
        let unknown = || TryError::Unknown("no answer from the provider".to_owned());
        match fate {
            Fate::Refused => Err(TryError::NotDone("the provider is away".to_owned())),
            Fate::Lost => Err(unknown()),
            Fate::Late => {
                let arrives_at_ms = self.now_ms + self.random.between(1, LATE_MS_MAX);
                self.late.push(Late { arrives_at_ms, key: key.to_owned(), command });
                Err(unknown())
            }
            Fate::Answered | Fate::ReplyLost => {
                let answer = self.offline.call(key, command, self.now_ms as u64).map_err(TryError::Unknown)?;
                if matches!(fate, Fate::ReplyLost) { Err(unknown()) } else { answer.ok_or_else(unknown) }
            }
        }
    }

    fn fate(&mut self, what: &str) -> Fate {
        self.counts.calls += 1;
        if self.calm {
            self.notes.push(what.to_owned());
            return Fate::Answered;
        }
        let weights =
            [(72, Fate::Answered), (9, Fate::ReplyLost), (6, Fate::Lost), (6, Fate::Late), (7, Fate::Refused)];
        let drawn = self.random.weighted(&weights).unwrap_or(Fate::Answered);
        let fate = if self.now_ms < self.away_until_ms { Fate::Refused } else { drawn };
        let told = match fate {
            Fate::Answered => "answered",
            Fate::ReplyLost => "reply lost",
            Fate::Lost => "lost",
            Fate::Late => "late",
            Fate::Refused => "refused",
        };
        match fate {
            Fate::Answered | Fate::Late => {}
            Fate::ReplyLost => self.counts.replies_lost += 1,
            Fate::Lost => self.counts.lost += 1,
            Fate::Refused => self.counts.refused += 1,
        }
        self.notes.push(format!("{what}: {told}"));
        fate
    }
}

/// As a client of the provider's HTTP reads its answers.
fn interpret(answer: &Answer) -> Result<Outcome<Receipt>, TryError> {
    let text = answer.body.get();
    if answer.status == 200 {
        return receipt(text).map(Outcome::Done);
    }
    let body: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let field = |name: &str| body["error"][name].as_str().unwrap_or_default().to_owned();
    match answer.status {
        503 => Err(TryError::NotDone(field("message"))),
        400..500 => Ok(Outcome::Refused(Reason::new(field("code"), field("message")))),
        status => Err(TryError::Unknown(format!("the provider answered {status}"))),
    }
}

fn receipt(text: &str) -> Result<Receipt, TryError> {
    serde_json::from_str(text).map_err(|error| TryError::Unknown(format!("the answer is not understood: {error}")))
}
