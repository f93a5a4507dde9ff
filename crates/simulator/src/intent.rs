use serde::{Deserialize, Serialize};

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
