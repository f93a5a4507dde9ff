//! The provider's state: a function of the ledger. Live calls and a rebuild change it through the same
//! [`Books::book`], so that a restart cannot come to another result.

use std::collections::BTreeMap;

use crate::api_error::ApiError;
use crate::derive;
use crate::intent::{Intent, IntentStatus};
use crate::ledger::{Answer, EntryKind, LedgerEntry, OperationKind};
use crate::rules::{self, Ruling};
use crate::token::Token;

/// `tok_flaky` refuses one call in this many.
const FLAKY_ONE_IN: u64 = 3;

/// Intents, the answers given to keys, and how often a key without an answer was tried.
///
/// Nothing is ever forgotten: the maps grow with the number of payments, and `attempts` with the number of flaky keys
/// that gave up. Ordered maps, because keys that are derived in time order then stay close together in memory.
#[derive(Debug, Default)]
pub(crate) struct Books {
    seed: u64,
    seq: u64,
    /// In the order of creation.
    intents: Vec<Intent>,
    by_id: BTreeMap<String, usize>,
    operations: BTreeMap<String, Operation>,
    attempts: BTreeMap<String, u32>,
}

/// What was done under a key.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) seq: u64,
    pub(crate) kind: OperationKind,
    pub(crate) answer: Answer,
    fingerprint: String,
}

/// A state-changing call.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) key: String,
    pub(crate) fingerprint: String,
    pub(crate) command: Command,
}

/// What a call asks for; amounts are positive minor units.
#[derive(Clone, Debug)]
pub enum Command {
    Authorize { amount: i64, currency: String, token: Token, reference: String },
    Confirm { intent: String },
    Capture { intent: String, amount: Option<i64> },
    Void { intent: String },
    Refund { intent: String, amount: i64 },
}

/// What became of a call.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Booked in memory; to be answered once the entry is on disk.
    Performed { entry: Box<LedgerEntry>, intent: Box<Intent> },
    /// The key has an answer already.
    Replayed(Operation),
    /// Nothing is done and nothing is answered.
    Hold,
}

// === impl Books ===

impl Books {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Position of the newest entry.
    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    pub(crate) fn intent(&self, id: &str) -> Option<&Intent> {
        self.intents.get(*self.by_id.get(id)?)
    }

    pub(crate) fn operation(&self, key: &str) -> Option<&Operation> {
        self.operations.get(key)
    }

    /// Newest first, beginning after the intent `after`; and whether there are more.
    pub(crate) fn page(&self, limit: usize, after: Option<&str>) -> Result<(Vec<Intent>, bool), ApiError> {
        let end = match after {
            None => self.intents.len(),
            Some(id) => *self.by_id.get(id).ok_or_else(|| unknown_intent(id))?,
        };
        let start = end.saturating_sub(limit);
        Ok((self.intents[start..end].iter().rev().cloned().collect(), start > 0))
    }

    /// Performs a call, or finds what was done under its key.
    ///
    /// # Errors
    /// Refusals that the key does not keep: the caller may mend the request and use the key again.
    pub(crate) fn perform(&mut self, call: Call, at_ms: u64) -> Result<Outcome, ApiError> {
        if let Some(operation) = self.operations.get(&call.key) {
            if operation.fingerprint == call.fingerprint {
                return Ok(Outcome::Replayed(operation.clone()));
            }
            return Err(ApiError::unprocessable(
                "idempotency_key_reused",
                "this Idempotency-Key was used for another request; send a new key, or the first request unchanged",
            ));
        }
        let token = match &call.command {
            Command::Authorize { token, .. } => *token,
            Command::Confirm { intent }
            | Command::Capture { intent, .. }
            | Command::Void { intent }
            | Command::Refund { intent, .. } => self.intent(intent).ok_or_else(|| unknown_intent(intent))?.token,
        };
        if token == Token::Timeout {
            return Ok(Outcome::Hold);
        }
        if token == Token::Flaky {
            self.try_flaky(&call.key)?;
        }
        let ruling = self.rule(&call.key, call.command)?;
        let answer = rules::answer(&ruling, self.seed, &call.key)?;
        let intent = ruling.intent;
        let entry = LedgerEntry {
            seq: self.seq + 1,
            at_ms,
            kind: ruling.kind,
            key: call.key,
            intent: intent.id.clone(),
            amount: ruling.amount,
            currency: intent.currency.clone(),
            reference: intent.reference.clone(),
            operation: ruling.operation,
            payment_method: ruling.creates.then_some(intent.token),
            fingerprint: call.fingerprint,
            answer,
        };
        self.book(&entry).map_err(ApiError::internal)?;
        Ok(Outcome::Performed { entry: Box::new(entry), intent: Box::new(intent) })
    }

    /// Takes an entry into the state.
    ///
    /// # Errors
    /// The entry does not follow from those before it.
    pub(crate) fn book(&mut self, entry: &LedgerEntry) -> Result<(), String> {
        if self.operations.contains_key(&entry.key) {
            return Err(format!("the key {:?} is used twice", entry.key));
        }
        let position = match entry.payment_method {
            Some(token) => self.insert(entry, token)?,
            None => *self.by_id.get(&entry.intent).ok_or_else(|| format!("the intent {} is unknown", entry.intent))?,
        };
        let intent = &mut self.intents[position];
        match entry.kind {
            EntryKind::Authorized => intent.status = IntentStatus::RequiresCapture,
            EntryKind::ActionRequired => intent.status = IntentStatus::RequiresAction,
            EntryKind::Declined => intent.status = IntentStatus::Failed,
            EntryKind::Voided => intent.status = IntentStatus::Canceled,
            EntryKind::Captured => {
                intent.status = IntentStatus::Succeeded;
                intent.amount_captured += entry.amount;
            }
            EntryKind::Refunded => intent.amount_refunded += entry.amount,
            EntryKind::Refused => {}
        }
        self.attempts.remove(&entry.key);
        self.operations.insert(
            entry.key.clone(),
            Operation {
                seq: entry.seq,
                kind: entry.operation,
                answer: entry.answer.clone(),
                fingerprint: entry.fingerprint.clone(),
            },
        );
        self.seq = entry.seq;
        Ok(())
    }

    fn insert(&mut self, entry: &LedgerEntry, token: Token) -> Result<usize, String> {
        let position = self.intents.len();
        if self.by_id.insert(entry.intent.clone(), position).is_some() {
            return Err(format!("the intent {} is created twice", entry.intent));
        }
        self.intents.push(Intent {
            id: entry.intent.clone(),
            status: IntentStatus::RequiresAction,
            amount: entry.amount,
            currency: entry.currency.clone(),
            amount_captured: 0,
            amount_refunded: 0,
            reference: entry.reference.clone(),
            token,
        });
        Ok(position)
    }

    /// Counts the attempt and refuses some of them. The count starts again with the process: the point is that a
    /// caller must retry, not that a provider remembers its bad moments.
    fn try_flaky(&mut self, key: &str) -> Result<(), ApiError> {
        let attempt = self.attempts.entry(key.to_owned()).or_insert(0);
        *attempt = attempt.saturating_add(1);
        if derive::chance(self.seed, key, *attempt, FLAKY_ONE_IN) {
            return Err(ApiError::unavailable(
                "temporarily_unavailable",
                "the provider is busy and did nothing; try again with the same Idempotency-Key",
            ));
        }
        Ok(())
    }

    fn rule(&self, key: &str, command: Command) -> Result<Ruling, ApiError> {
        let known = |id: &str| self.intent(id).cloned().ok_or_else(|| unknown_intent(id));
        Ok(match command {
            Command::Authorize { amount, currency, token, reference } => {
                let id = derive::id("pi_", self.seed, "intent", key);
                let status = IntentStatus::RequiresAction;
                Ruling::authorize(Intent {
                    id,
                    status,
                    amount,
                    currency,
                    amount_captured: 0,
                    amount_refunded: 0,
                    reference,
                    token,
                })
            }
            Command::Confirm { intent } => Ruling::confirm(known(&intent)?),
            Command::Capture { intent, amount } => Ruling::capture(known(&intent)?, amount),
            Command::Void { intent } => Ruling::void(known(&intent)?),
            Command::Refund { intent, amount } => Ruling::refund(known(&intent)?, amount),
        })
    }
}

fn unknown_intent(id: &str) -> ApiError {
    ApiError::not_found("intent_not_found", format!("no payment intent has the id {id:?}"))
}
