use serde::{Deserialize, Serialize};

use crate::ledger::{EntryKind, LedgerEntry};
use crate::token::Token;

/// A payment intent, in memory and as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Intent {
    /// `pi_` and 24 hexadecimal digits, derived from the seed and the idempotency key.
    pub id: String,
    /// Where the intent stands.
    pub status: IntentStatus,
    /// Authorized (or asked for) amount in minor units.
    pub amount: i64,
    /// Three upper-case letters.
    pub currency: String,
    /// Captured so far, in minor units; never above `amount`.
    pub amount_captured: i64,
    /// Refunded so far, in minor units; never above `amount_captured`.
    pub amount_refunded: i64,
    /// The caller's own name for the payment.
    pub reference: String,
    /// Chooses the behaviour of later calls; not shown.
    #[serde(skip)]
    pub token: Token,
}

/// Where an intent stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntentStatus {
    /// Waits for the payer; nothing is authorized.
    RequiresAction,
    /// Authorized, not captured.
    RequiresCapture,
    /// Captured.
    Succeeded,
    /// Voided before a capture.
    Canceled,
    /// Declined.
    Failed,
}

// === impl Intent ===

impl Intent {
    /// As it is before the entry that creates it is taken in.
    pub(crate) fn created(entry: &LedgerEntry, token: Token) -> Self {
        Self {
            id: entry.intent.clone(),
            status: IntentStatus::RequiresAction,
            amount: entry.amount,
            currency: entry.currency.clone(),
            amount_captured: 0,
            amount_refunded: 0,
            reference: entry.reference.clone(),
            token,
        }
    }

    /// What an entry does to its intent.
    pub(crate) fn take(&mut self, entry: &LedgerEntry) {
        match entry.kind {
            EntryKind::Authorized => self.status = IntentStatus::RequiresCapture,
            EntryKind::ActionRequired => self.status = IntentStatus::RequiresAction,
            EntryKind::Declined => self.status = IntentStatus::Failed,
            EntryKind::Voided => self.status = IntentStatus::Canceled,
            EntryKind::Captured => {
                self.status = IntentStatus::Succeeded;
                self.amount_captured += entry.amount;
            }
            EntryKind::Refunded => self.amount_refunded += entry.amount,
            EntryKind::Refused => {}
        }
    }
}

// === impl IntentStatus ===

impl IntentStatus {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RequiresAction => "requires_action",
            Self::RequiresCapture => "requires_capture",
            Self::Succeeded => "succeeded",
            Self::Canceled => "canceled",
            Self::Failed => "failed",
        }
    }
}
