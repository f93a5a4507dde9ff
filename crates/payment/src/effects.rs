//! What this module asks to be done outside, and what it asks to be told later. None of it leaves the module, so it is
//! declared here and not in the contracts.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use pangaea_contracts::{Message, Money, OrderId, RefundId};
use pangaea_kernel::{Call, Effect, Outcome, Performer, TryError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::provider::{Provider, ProviderCall, Receipt};

/// Holds money. The provider's idempotency key is `provider_key`, or the operation's own id where this is its first effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuthorizeIntent {
    pub order_id: OrderId,
    pub provider_key: Option<String>,
    pub amount: Money,
    #[schemars(extend("x-secret" = true))]
    pub payment_token: String,
}

/// Takes what is held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CaptureIntent {
    pub order_id: OrderId,
    pub provider_key: Option<String>,
    pub provider_intent: String,
    /// Minor units.
    pub amount: i64,
}

/// Releases what is held. Done means that the receipt tells how the intent ended, also when it was captured before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VoidIntent {
    pub order_id: OrderId,
    pub provider_key: Option<String>,
    pub provider_intent: String,
}

/// Gives captured money back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RefundIntent {
    pub order_id: OrderId,
    pub refund_id: RefundId,
    pub provider_key: Option<String>,
    pub provider_intent: String,
    /// Minor units.
    pub amount: i64,
}

/// Looks at an intent while its payer has something to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ShowIntent {
    pub order_id: OrderId,
    pub provider_intent: String,
}

/// Asks what became of a call whose outcome stayed unknown. Done with `None`: nothing was done under the key so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QueryOperation {
    pub order_id: OrderId,
    pub provider_key: String,
    pub asked: Asked,
}

/// The call that a [`QueryOperation`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    Authorize,
    Capture,
}

/// Time to look whether the payer has acted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ActionPoll {
    pub order_id: OrderId,
}

/// Time to ask again what became of a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reconcile {
    pub order_id: OrderId,
}

/// Time to go on with a void that did not succeed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VoidRetry {
    pub order_id: OrderId,
}

/// Time to ask again for a refund whose outcome is unknown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RefundRetry {
    pub order_id: OrderId,
    pub refund_id: RefundId,
}

/// Performs every effect of this module at a provider.
#[derive(Clone)]
pub(crate) struct AtProvider(pub(crate) Arc<dyn Provider>);

macro_rules! inner_messages {
    ($($type:ident = $subject:literal, key $key:ident;)*) => {$(
        impl Message for $type {
            const SUBJECT: &'static str = $subject;

            fn key(&self) -> String {
                self.$key.to_string()
            }
        }
    )*};
}

inner_messages! {
    AuthorizeIntent = "payment.eff.authorize.v1", key order_id;
    CaptureIntent = "payment.eff.capture.v1", key order_id;
    VoidIntent = "payment.eff.void.v1", key order_id;
    RefundIntent = "payment.eff.refund.v1", key order_id;
    ShowIntent = "payment.eff.show.v1", key order_id;
    QueryOperation = "payment.eff.query.v1", key order_id;
    ActionPoll = "payment.tmr.action_poll.v1", key order_id;
    Reconcile = "payment.tmr.reconcile.v1", key order_id;
    VoidRetry = "payment.tmr.void_retry.v1", key order_id;
    // A timer's key is also what makes it one of a kind, and an order may have several refunds under way.
    RefundRetry = "payment.tmr.refund_retry.v1", key refund_id;
}

macro_rules! effects {
    ($($type:ident -> $output:ty, deadline $deadline_ms:literal ms;)*) => {$(
        impl Effect for $type {
            type Output = $output;
            const DEADLINE_MS: i64 = $deadline_ms;
            const TRY_TIMEOUT_MS: i64 = 5_000;
        }
    )*};
}

effects! {
    AuthorizeIntent -> Receipt, deadline 60_000 ms;
    CaptureIntent -> Receipt, deadline 120_000 ms;
    VoidIntent -> Receipt, deadline 120_000 ms;
    RefundIntent -> Receipt, deadline 120_000 ms;
    ShowIntent -> Receipt, deadline 30_000 ms;
    QueryOperation -> Option<Receipt>, deadline 60_000 ms;
}

type Known<T> = BoxFuture<'static, Result<Option<Outcome<T>>, TryError>>;

fn key_of<'a, E>(call: &'a Call<E>, provider_key: &'a Option<String>) -> &'a str {
    provider_key.as_deref().unwrap_or(&call.operation_id)
}

fn operation<'a, E>(call: &'a Call<E>, provider_key: &'a Option<String>) -> ProviderCall<'a> {
    ProviderCall { key: key_of(call, provider_key), traceparent: call.traceparent.as_deref() }
}

// === impl AtProvider ===

impl AtProvider {
    /// A refused void says only that the intent cannot be voided any more: how it ended is what the module needs to know.
    async fn how_it_ended(&self, intent: &str, outcome: Outcome<Receipt>) -> Result<Outcome<Receipt>, TryError> {
        let Outcome::Refused(reason) = outcome else { return Ok(outcome) };
        match self.0.show(intent).await? {
            Outcome::Done(receipt) if !receipt.status.is_open() => Ok(Outcome::Done(receipt)),
            _ => Ok(Outcome::Refused(reason)),
        }
    }
}

impl Performer<AuthorizeIntent> for AtProvider {
    fn target(&self) -> &str {
        self.0.target()
    }

    fn perform<'a>(&'a self, call: &'a Call<AuthorizeIntent>) -> BoxFuture<'a, Result<Outcome<Receipt>, TryError>> {
        let AuthorizeIntent { provider_key, amount, payment_token, order_id } = &call.effect;
        // The order's id is our name for the payment in the provider's books: an auditor compares both by it.
        self.0.authorize(operation(call, provider_key), *amount, payment_token, order_id.as_str())
    }

    fn query<'a>(
        &'a self,
        call: &'a Call<AuthorizeIntent>,
    ) -> BoxFuture<'a, Result<Option<Outcome<Receipt>>, TryError>> {
        self.0.query(key_of(call, &call.effect.provider_key))
    }
}

impl Performer<CaptureIntent> for AtProvider {
    fn target(&self) -> &str {
        self.0.target()
    }

    fn perform<'a>(&'a self, call: &'a Call<CaptureIntent>) -> BoxFuture<'a, Result<Outcome<Receipt>, TryError>> {
        let CaptureIntent { provider_key, provider_intent, amount, .. } = &call.effect;
        self.0.capture(operation(call, provider_key), provider_intent, *amount)
    }

    fn query<'a>(&'a self, call: &'a Call<CaptureIntent>) -> BoxFuture<'a, Result<Option<Outcome<Receipt>>, TryError>> {
        self.0.query(key_of(call, &call.effect.provider_key))
    }
}

impl Performer<VoidIntent> for AtProvider {
    fn target(&self) -> &str {
        self.0.target()
    }

    fn perform<'a>(&'a self, call: &'a Call<VoidIntent>) -> BoxFuture<'a, Result<Outcome<Receipt>, TryError>> {
        let VoidIntent { provider_key, provider_intent, .. } = &call.effect;
        Box::pin(async move {
            let outcome = self.0.void(operation(call, provider_key), provider_intent).await?;
            self.how_it_ended(provider_intent, outcome).await
        })
    }

    fn query<'a>(&'a self, call: &'a Call<VoidIntent>) -> BoxFuture<'a, Result<Option<Outcome<Receipt>>, TryError>> {
        let VoidIntent { provider_key, provider_intent, .. } = &call.effect;
        Box::pin(async move {
            match self.0.query(key_of(call, provider_key)).await? {
                Some(outcome) => self.how_it_ended(provider_intent, outcome).await.map(Some),
                None => Ok(None),
            }
        })
    }
}

impl Performer<RefundIntent> for AtProvider {
    fn target(&self) -> &str {
        self.0.target()
    }

    fn perform<'a>(&'a self, call: &'a Call<RefundIntent>) -> BoxFuture<'a, Result<Outcome<Receipt>, TryError>> {
        let RefundIntent { provider_key, provider_intent, amount, .. } = &call.effect;
        self.0.refund(operation(call, provider_key), provider_intent, *amount)
    }

    fn query<'a>(&'a self, call: &'a Call<RefundIntent>) -> BoxFuture<'a, Result<Option<Outcome<Receipt>>, TryError>> {
        self.0.query(key_of(call, &call.effect.provider_key))
    }
}

impl Performer<ShowIntent> for AtProvider {
    fn target(&self) -> &str {
        self.0.target()
    }

    fn perform<'a>(&'a self, call: &'a Call<ShowIntent>) -> BoxFuture<'a, Result<Outcome<Receipt>, TryError>> {
        self.0.show(&call.effect.provider_intent)
    }

    /// A look changes nothing, so there is nothing to ask about: it is simply done again.
    fn query<'a>(&'a self, _: &'a Call<ShowIntent>) -> BoxFuture<'a, Result<Option<Outcome<Receipt>>, TryError>> {
        none()
    }
}

impl Performer<QueryOperation> for AtProvider {
    fn target(&self) -> &str {
        self.0.target()
    }

    fn perform<'a>(
        &'a self,
        call: &'a Call<QueryOperation>,
    ) -> BoxFuture<'a, Result<Outcome<Option<Receipt>>, TryError>> {
        Box::pin(async move {
            let receipt = match self.0.query(&call.effect.provider_key).await? {
                Some(Outcome::Done(receipt)) => receipt,
                Some(Outcome::Refused(reason)) => return Ok(Outcome::Refused(reason)),
                Some(Outcome::Unknown(reason)) => return Ok(Outcome::Unknown(reason)),
                None => return Ok(Outcome::Done(None)),
            };
            // The first answer may be old by now: how the intent stands today is what has to be undone.
            let now = self.0.show(&receipt.id).await?;
            Ok(match now {
                Outcome::Done(receipt) => Outcome::Done(Some(receipt)),
                Outcome::Refused(reason) => Outcome::Refused(reason),
                Outcome::Unknown(reason) => Outcome::Unknown(reason),
            })
        })
    }

    fn query<'a>(
        &'a self,
        _: &'a Call<QueryOperation>,
    ) -> BoxFuture<'a, Result<Option<Outcome<Option<Receipt>>>, TryError>> {
        none()
    }
}

fn none<T: Send + 'static>() -> Known<T> {
    Box::pin(async { Ok(None) })
}
