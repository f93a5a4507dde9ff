//! The parts of the store's answers that the retail tools read.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::answer::Failure;

/// The only currency of the file.
pub(crate) const CURRENCY: &str = "GBP";

#[derive(Debug, Deserialize)]
pub(crate) struct Money {
    /// Minor units.
    pub(crate) amount: i64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Order {
    pub(crate) id: String,
    pub(crate) state: String,
    pub(crate) total: Money,
    pub(crate) lines: Vec<Value>,
    #[serde(default)]
    pub(crate) reason: Option<Value>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Refund {
    pub(crate) id: String,
    pub(crate) state: String,
    pub(crate) amount: Money,
    #[serde(default)]
    pub(crate) reason: Option<Value>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct BulkResult {
    pub(crate) index: usize,
    #[serde(default)]
    pub(crate) error: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Balance {
    currency: String,
    captured: i64,
    refunded: i64,
}

/// Where an order stands, as far as placing is concerned.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Confirmed or later: the money is captured.
    Accepted,
    /// Cancelled, or left to people.
    Failed,
    /// Not settled yet.
    Pending,
}

// === impl Order ===

impl Order {
    pub(crate) fn standing(&self) -> Standing {
        match self.state.as_str() {
            "confirmed" | "fulfilled" | "completed" | "returned" | "partially_refunded" | "refunded" => {
                Standing::Accepted
            }
            "cancelled" | "manual_review" => Standing::Failed,
            _ => Standing::Pending,
        }
    }
}

// === impl Refund ===

impl Refund {
    pub(crate) fn standing(&self) -> Standing {
        match self.state.as_str() {
            "succeeded" => Standing::Accepted,
            "refused" | "failed" => Standing::Failed,
            _ => Standing::Pending,
        }
    }
}

/// # Errors
/// [`Failure::Malformed`] when the answer has not the shape that the API promises.
pub(crate) fn parse<T: DeserializeOwned>(body: Value) -> Result<T, Failure> {
    serde_json::from_value(body).map_err(|error| Failure::Malformed(error.to_string()))
}

/// The elements of a list answer, whatever the name of its one array.
///
/// # Errors
/// [`Failure::Malformed`] when there is none.
pub(crate) fn items(body: Value) -> Result<Vec<Value>, Failure> {
    let array = match body {
        Value::Array(items) => Some(items),
        Value::Object(members) => members.into_iter().find_map(|(_, member)| match member {
            Value::Array(items) => Some(items),
            _ => None,
        }),
        _ => None,
    };
    array.ok_or_else(|| Failure::Malformed("a list was expected".to_owned()))
}

/// Captured minus refunded, in pence; an untouched ledger has no balance in the currency yet.
///
/// # Errors
/// [`Failure::Malformed`] as [`parse`].
pub(crate) fn net_captured_pence(body: Value) -> Result<i64, Failure> {
    let balances: Vec<Balance> = parse(Value::Array(items(body)?))?;
    Ok(balances.iter().filter(|balance| balance.currency == CURRENCY).map(|of| of.captured - of.refunded).sum())
}

pub(crate) fn money(pence: i64) -> Value {
    json!({ "amount": pence, "currency": CURRENCY })
}

/// The code and text of a reason, as short as it comes.
pub(crate) fn reason_text(reason: Option<&Value>) -> String {
    match reason {
        None | Some(Value::Null) => "no reason given".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(reason) => reason.get("code").and_then(Value::as_str).map_or_else(|| reason.to_string(), str::to_owned),
    }
}
