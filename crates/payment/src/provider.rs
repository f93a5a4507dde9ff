//! The provider of payments, as this module sees it: four calls that change something, two that only look.

use futures_util::future::BoxFuture;
use pangaea_contracts::Money;
use pangaea_kernel::{Outcome, TryError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a call to the provider gives: an outcome, or why there is none.
pub type Answered<'a> = BoxFuture<'a, Result<Outcome<Receipt>, TryError>>;

/// A payment provider. It does what an operation's key stands for at most once, and answers a repeat with its first answer.
pub trait Provider: Send + Sync + 'static {
    /// Names the provider: one circuit breaker per target.
    fn target(&self) -> &str;

    /// Holds `amount` on the means of payment that `token` stands for. `reference` is our own name for the payment, at most
    /// 64 characters.
    fn authorize<'a>(
        &'a self,
        operation: ProviderCall<'a>,
        amount: Money,
        token: &'a str,
        reference: &'a str,
    ) -> Answered<'a>;

    /// Takes `amount` (minor units) of what is held; the rest is released.
    fn capture<'a>(&'a self, operation: ProviderCall<'a>, intent: &'a str, amount: i64) -> Answered<'a>;

    /// Releases what is held.
    fn void<'a>(&'a self, operation: ProviderCall<'a>, intent: &'a str) -> Answered<'a>;

    /// Gives back `amount` (minor units) of what was taken. The receipt is of the refund.
    fn refund<'a>(&'a self, operation: ProviderCall<'a>, intent: &'a str, amount: i64) -> Answered<'a>;

    /// The first answer that was given to `key`. `None`: the provider has done nothing under it.
    fn query<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Outcome<Receipt>>, TryError>>;

    /// How an intent stands now.
    fn show<'a>(&'a self, intent: &'a str) -> Answered<'a>;
}

/// What a call is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProviderCall<'a> {
    /// The idempotency key.
    pub key: &'a str,
    /// The try's place in its trace (W3C), for a provider that goes on with it.
    pub traceparent: Option<&'a str>,
}

impl<'a> From<&'a str> for ProviderCall<'a> {
    /// In no trace.
    fn from(key: &'a str) -> Self {
        Self { key, traceparent: None }
    }
}

/// What the provider says of an intent or of a refund. Amounts are minor units of the payment's currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Receipt {
    /// The provider's id, e.g. `pi_…` or `re_…`.
    pub id: String,
    pub status: ProviderStatus,
    pub amount: i64,
    #[serde(default)]
    pub amount_captured: i64,
    #[serde(default)]
    pub amount_refunded: i64,
}

/// Where an intent or a refund stands at the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProviderStatus {
    /// The payer has to do something first; nothing is held.
    RequiresAction,
    /// The provider has not decided yet.
    Processing,
    /// Held, not taken.
    RequiresCapture,
    /// Taken; of a refund: given back.
    Succeeded,
    /// Released before anything was taken.
    Canceled,
    /// Declined.
    Failed,
}

// === impl ProviderStatus ===

impl ProviderStatus {
    /// Whether the provider may still hold or take money for an intent that stands so.
    pub fn is_open(self) -> bool {
        matches!(self, Self::RequiresAction | Self::Processing | Self::RequiresCapture)
    }
}
