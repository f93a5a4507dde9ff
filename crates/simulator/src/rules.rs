//! What the provider decides about a call on an intent, as pure functions of the intent.

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::api_error::ApiError;
use crate::derive;
use crate::intent::{Intent, IntentStatus};
use crate::ledger::{Answer, EntryKind, OperationKind};
use crate::token::Token;

/// A decision on a call, not yet booked: the intent as it will be.
pub(crate) struct Ruling {
    pub(crate) kind: EntryKind,
    pub(crate) operation: OperationKind,
    pub(crate) amount: i64,
    pub(crate) intent: Intent,
    pub(crate) creates: bool,
    pub(crate) error: Option<ApiError>,
}

#[derive(Serialize)]
struct RefundBody<'a> {
    id: String,
    status: &'static str,
    amount: i64,
    currency: &'a str,
    payment_intent: &'a str,
}

// === impl Ruling ===

impl Ruling {
    pub(crate) fn authorize(mut intent: Intent) -> Self {
        let (kind, status, error) = match intent.token {
            Token::Declined => {
                let error = ApiError::payment_required("card_declined", "the card was declined; ask for another one");
                (EntryKind::Declined, IntentStatus::Failed, Some(error))
            }
            Token::ActionRequired => (EntryKind::ActionRequired, IntentStatus::RequiresAction, None),
            _ => (EntryKind::Authorized, IntentStatus::RequiresCapture, None),
        };
        intent.status = status;
        Self { kind, operation: OperationKind::Authorize, amount: intent.amount, intent, creates: true, error }
    }

    pub(crate) fn confirm(mut intent: Intent) -> Self {
        let amount = intent.amount;
        if intent.status != IntentStatus::RequiresAction {
            let error =
                wrong_state(&intent, "intent_not_confirmable", "only one that requires_action can be confirmed");
            return Self::refused(OperationKind::Authorize, amount, intent, error);
        }
        intent.status = IntentStatus::RequiresCapture;
        Self::done(EntryKind::Authorized, OperationKind::Authorize, amount, intent)
    }

    pub(crate) fn capture(mut intent: Intent, amount: Option<i64>) -> Self {
        let amount = amount.unwrap_or(intent.amount);
        let error = if intent.status != IntentStatus::RequiresCapture {
            wrong_state(
                &intent,
                "intent_not_capturable",
                "an intent is captured once, and only when it requires_capture",
            )
        } else if amount > intent.amount {
            ApiError::unprocessable(
                "amount_too_large",
                format!("{amount} is more than the {} authorized", intent.amount),
            )
        } else if intent.token == Token::CaptureFails {
            ApiError::payment_required("capture_failed", "the card issuer refused the capture; void the authorization")
        } else {
            intent.status = IntentStatus::Succeeded;
            intent.amount_captured += amount;
            return Self::done(EntryKind::Captured, OperationKind::Capture, amount, intent);
        };
        Self::refused(OperationKind::Capture, amount, intent, error)
    }

    pub(crate) fn void(mut intent: Intent) -> Self {
        let held = match intent.status {
            IntentStatus::RequiresCapture => intent.amount,
            IntentStatus::RequiresAction => 0,
            IntentStatus::Succeeded | IntentStatus::Canceled | IntentStatus::Failed => {
                let error = wrong_state(&intent, "intent_not_cancelable", "after a capture, refund it instead");
                return Self::refused(OperationKind::Void, 0, intent, error);
            }
        };
        intent.status = IntentStatus::Canceled;
        Self::done(EntryKind::Voided, OperationKind::Void, held, intent)
    }

    pub(crate) fn refund(mut intent: Intent, amount: i64) -> Self {
        let left = intent.amount_captured - intent.amount_refunded;
        let error = if intent.status != IntentStatus::Succeeded {
            wrong_state(&intent, "intent_not_refundable", "only a captured intent can be refunded")
        } else if amount > left {
            let message = format!("{amount} is more than the {left} captured and not yet refunded");
            ApiError::unprocessable("refund_exceeds_captured", message)
        } else {
            intent.amount_refunded += amount;
            return Self::done(EntryKind::Refunded, OperationKind::Refund, amount, intent);
        };
        Self::refused(OperationKind::Refund, amount, intent, error)
    }

    fn done(kind: EntryKind, operation: OperationKind, amount: i64, intent: Intent) -> Self {
        Self { kind, operation, amount, intent, creates: false, error: None }
    }

    fn refused(operation: OperationKind, amount: i64, intent: Intent, error: ApiError) -> Self {
        Self { kind: EntryKind::Refused, operation, amount, intent, creates: false, error: Some(error) }
    }
}

pub(crate) fn answer(ruling: &Ruling, seed: u64, key: &str) -> Result<Answer, ApiError> {
    let intent = &ruling.intent;
    if let Some(error) = &ruling.error {
        return Ok(Answer { status: error.status.as_u16(), body: raw(&error.body(Some(&intent.id)))? });
    }
    let body = if ruling.kind == EntryKind::Refunded {
        raw(&RefundBody {
            id: derive::id("re_", seed, "refund", key),
            status: "succeeded",
            amount: ruling.amount,
            currency: &intent.currency,
            payment_intent: &intent.id,
        })?
    } else {
        raw(intent)?
    };
    Ok(Answer { status: StatusCode::OK.as_u16(), body })
}

pub(crate) fn raw(body: &impl Serialize) -> Result<Box<RawValue>, ApiError> {
    to_raw_value(body).map_err(|error| ApiError::internal(error.to_string()))
}

fn wrong_state(intent: &Intent, code: &'static str, rule: &str) -> ApiError {
    ApiError::conflict(code, format!("the intent is {}; {rule}", intent.status.as_str()))
}
