//! The provider's state: a function of the ledger. Live calls and a rebuild change it through the same
//! [`Books::book`], so that a restart cannot come to another result.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::api_error::ApiError;
use crate::archive::Shelf;
use crate::derive;
use crate::intent::{Intent, IntentStatus};
use crate::ledger::LedgerEntry;
use crate::recent::Recent;
use crate::rules::{self, Ruling};
use crate::token::Token;

/// `tok_flaky` refuses one call in this many.
const FLAKY_ONE_IN: u64 = 3;
/// Keys whose attempts are counted, at most. Beyond it all counts start again, as they do with the process.
const ATTEMPTS_MAX: usize = 16_384;

/// Intents, the answers given to keys, and how often a key without an answer was tried.
///
/// What is not recent is asked of the shelf. Without one, nothing is ever forgotten.
#[derive(Debug, Default)]
pub(crate) struct Books {
    seed: u64,
    seq: u64,
    /// Intents there are; the next one's position.
    created: u64,
    recent: Recent,
    shelf: Option<Shelf>,
    attempts: BTreeMap<String, u32>,
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
    Performed { entry: Arc<LedgerEntry>, intent: Box<Intent> },
    /// The key has an answer already.
    Replayed(Arc<LedgerEntry>),
    /// Nothing is done and nothing is answered.
    Hold,
}

// === impl Books ===

impl Books {
    /// All in memory.
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Going on after what is on the shelf: `created` intents, and entries up to `seq`.
    pub(crate) fn with_shelf(seed: u64, shelf: Shelf, seq: u64, created: u64) -> Self {
        Self { seq, created, shelf: Some(shelf), ..Self::new(seed) }
    }

    /// Takes the newer shelf, which has all entries up to `seq`, and drops from memory what is on it.
    pub(crate) fn shelve(&mut self, shelf: Shelf, seq: u64) {
        self.shelf = Some(shelf);
        self.recent.forget(seq);
    }

    /// Position of the newest entry.
    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    pub(crate) fn intent(&self, id: &str) -> Result<Option<Intent>, ApiError> {
        let Some(position) = self.position(id).map_err(ApiError::internal)? else { return Ok(None) };
        self.intent_at(position).map(Some).map_err(ApiError::internal)
    }

    /// What was done under a key.
    pub(crate) fn operation(&self, key: &str) -> Result<Option<Arc<LedgerEntry>>, ApiError> {
        if let Some(entry) = self.recent.entry(key) {
            return Ok(Some(Arc::clone(entry)));
        }
        let Some(shelf) = &self.shelf else { return Ok(None) };
        Ok(shelf.entry(key).map_err(ApiError::internal)?.map(Arc::new))
    }

    /// What is in memory, and that is all where there is no shelf.
    pub(crate) fn recent(&self) -> &Recent {
        &self.recent
    }

    /// Newest first, beginning after the intent `after`; and whether there are more.
    pub(crate) fn page(&self, limit: usize, after: Option<&str>) -> Result<(Vec<Intent>, bool), ApiError> {
        let end = match after {
            None => self.created,
            Some(id) => self.position(id).map_err(ApiError::internal)?.ok_or_else(|| unknown_intent(id))?,
        };
        let start = end.saturating_sub(limit as u64);
        let intents: Result<_, _> = (start..end).rev().map(|position| self.intent_at(position)).collect();
        Ok((intents.map_err(ApiError::internal)?, start > 0))
    }

    /// Performs a call, or finds what was done under its key.
    ///
    /// # Errors
    /// Refusals that the key does not keep: the caller may mend the request and use the key again.
    pub(crate) fn perform(&mut self, call: Call, at_ms: u64) -> Result<Outcome, ApiError> {
        if let Some(first) = self.operation(&call.key)? {
            if first.fingerprint == call.fingerprint {
                return Ok(Outcome::Replayed(first));
            }
            return Err(ApiError::unprocessable(
                "idempotency_key_reused",
                "this Idempotency-Key was used for another request; send a new key, or the first request unchanged",
            ));
        }
        let intent = self.subject(&call.key, &call.command)?;
        let token = intent.token;
        if token == Token::Timeout {
            return Ok(Outcome::Hold);
        }
        if token == Token::Flaky {
            self.try_flaky(&call.key)?;
        }
        let ruling = rule(call.command, intent);
        let answer = rules::answer(&ruling, self.seed, &call.key)?;
        let intent = ruling.intent;
        let entry = Arc::new(LedgerEntry {
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
        });
        self.enter(&entry).map_err(ApiError::internal)?;
        Ok(Outcome::Performed { entry, intent: Box::new(intent) })
    }

    /// Takes an entry into the state.
    ///
    /// # Errors
    /// The entry does not follow from those before it.
    pub(crate) fn book(&mut self, entry: &Arc<LedgerEntry>) -> Result<(), String> {
        let is_old = |shelf: &Shelf| shelf.has(&entry.key);
        if self.recent.entry(&entry.key).is_some() || self.shelf.as_ref().map_or(Ok(false), is_old)? {
            return Err(format!("the key {:?} is used twice", entry.key));
        }
        self.enter(entry)
    }

    /// As [`Self::book`], with a key that is known to be new.
    fn enter(&mut self, entry: &Arc<LedgerEntry>) -> Result<(), String> {
        let known = self.position(&entry.intent)?;
        let (position, mut intent) = match (entry.payment_method, known) {
            (Some(_), Some(_)) => return Err(format!("the intent {} is created twice", entry.intent)),
            (Some(token), None) => (self.created, Intent::created(entry, token)),
            (None, Some(position)) => (position, self.intent_at(position)?),
            (None, None) => return Err(format!("the intent {} is unknown", entry.intent)),
        };
        intent.take(entry);
        self.created = self.created.max(position + 1);
        self.attempts.remove(&entry.key);
        self.recent.put(Arc::clone(entry), position, intent);
        self.seq = entry.seq;
        Ok(())
    }

    fn position(&self, id: &str) -> Result<Option<u64>, String> {
        match (self.recent.position(id), &self.shelf) {
            (None, Some(shelf)) => shelf.position(id),
            (known, _) => Ok(known),
        }
    }

    fn intent_at(&self, position: u64) -> Result<Intent, String> {
        let found = match (self.recent.intent(position), &self.shelf) {
            (None, Some(shelf)) => shelf.intent(position)?,
            (known, _) => known.cloned(),
        };
        found.ok_or_else(|| format!("the index has no intent at position {position}"))
    }

    /// The intent that a call is about, as it is before the call.
    fn subject(&self, key: &str, command: &Command) -> Result<Intent, ApiError> {
        let id = match command {
            Command::Authorize { amount, currency, token, reference } => {
                return Ok(Intent {
                    id: derive::id("pi_", self.seed, "intent", key),
                    status: IntentStatus::RequiresAction,
                    amount: *amount,
                    currency: currency.clone(),
                    amount_captured: 0,
                    amount_refunded: 0,
                    reference: reference.clone(),
                    token: *token,
                });
            }
            Command::Confirm { intent }
            | Command::Capture { intent, .. }
            | Command::Void { intent }
            | Command::Refund { intent, .. } => intent,
        };
        self.intent(id)?.ok_or_else(|| unknown_intent(id))
    }

    /// Counts the attempt and refuses some of them. The count starts again with the process: the point is that a
    /// caller must retry, not that a provider remembers its bad moments.
    fn try_flaky(&mut self, key: &str) -> Result<(), ApiError> {
        if self.attempts.len() >= ATTEMPTS_MAX && !self.attempts.contains_key(key) {
            self.attempts.clear();
        }
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
}

fn rule(command: Command, intent: Intent) -> Ruling {
    match command {
        Command::Authorize { .. } => Ruling::authorize(intent),
        Command::Confirm { .. } => Ruling::confirm(intent),
        Command::Capture { amount, .. } => Ruling::capture(intent, amount),
        Command::Void { .. } => Ruling::void(intent),
        Command::Refund { amount, .. } => Ruling::refund(intent, amount),
    }
}

fn unknown_intent(id: &str) -> ApiError {
    ApiError::not_found("intent_not_found", format!("no payment intent has the id {id:?}"))
}
