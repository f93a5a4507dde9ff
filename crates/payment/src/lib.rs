//! The payment module: an intent per order, a provider as an effect, refunds, and a double-entry ledger.
//!
//! Order asks by commands to hold money, take it, let it go or give it back; what the provider answered comes out as an
//! event. Between the two stands an effect whose one journalled result is an input like any other, so everything here
//! is a function of what came in.
//!
//! Invariants: what is refunded or about to be never exceeds what was captured; every movement is a transfer between two
//! accounts of the ledger, which is only ever added to; a call is made under one idempotency key until its outcome is
//! known; money that turns up after an unknown outcome is given back.

mod changes;
mod domain;
mod effects;
mod handlers;
mod http;
mod http_provider;
mod ledger;
mod provider;
mod settings;
mod store;
mod view;

use std::sync::Arc;

use pangaea_contracts::payment as contract;
use pangaea_kernel::http::Edge;
use pangaea_kernel::{Definition, Module};
use utoipa_axum::router::OpenApiRouter;

use crate::effects::AtProvider;

pub use domain::{AMOUNT_MAX, InFlight, OpenTransfer, Operation, RefundState, State, VoidStage};
pub use effects::{
    ActionPoll, Asked, AuthorizeIntent, CaptureIntent, QueryOperation, Reconcile, RefundIntent, RefundRetry,
    ShowIntent, VoidIntent, VoidRetry,
};
pub use http_provider::{HttpProvider, ProviderTimeouts, ProviderUrlError};
pub use ledger::{Account, TransferKind, TransferState};
pub use provider::{Answered, Provider, ProviderCall, ProviderStatus, Receipt};
pub use settings::PaymentSettings;
pub use store::{Balance, OrderTotals, PaymentRow, RefundRow, TransferRow, balances, totals, verify};

/// The payment module.
pub struct Payment {
    provider: Arc<dyn Provider>,
}

// === impl Payment ===

impl Payment {
    pub const NAME: &'static str = "payment";

    pub fn new(provider: Arc<dyn Provider>) -> Self {
        Self { provider }
    }
}

impl Module for Payment {
    fn define(&self) -> Definition {
        let provider = Arc::new(AtProvider(self.provider.clone()));
        Definition::new(Self::NAME)
            .migrations(store::MIGRATIONS)
            .invariant("the ledger balances and agrees with the payments", store::verify)
            .projection("ledger", &["transfer"])
            .settings::<PaymentSettings>()
            .on(handlers::authorize)
            .on(handlers::capture)
            .on(handlers::void)
            .on(handlers::refund)
            .wants::<contract::Authorize>(|command, keys| keys.want::<PaymentRow>(&command.order_id))
            .wants::<contract::Capture>(|command, keys| keys.want::<PaymentRow>(&command.order_id))
            .wants::<contract::Void>(|command, keys| keys.want::<PaymentRow>(&command.order_id))
            .wants::<contract::Refund>(|command, keys| {
                keys.want::<PaymentRow>(&command.order_id);
                keys.want::<RefundRow>(&command.refund_id);
            })
            .effect::<AuthorizeIntent>(provider.clone(), handlers::authorize_done)
            .effect::<CaptureIntent>(provider.clone(), handlers::capture_done)
            .effect::<VoidIntent>(provider.clone(), handlers::void_done)
            .effect::<RefundIntent>(provider.clone(), handlers::refund_done)
            .effect::<ShowIntent>(provider.clone(), handlers::show_done)
            .effect::<QueryOperation>(provider, handlers::query_done)
            .wants_result::<AuthorizeIntent>(|result, keys| keys.want::<PaymentRow>(&result.effect.order_id))
            .wants_result::<CaptureIntent>(|result, keys| keys.want::<PaymentRow>(&result.effect.order_id))
            .wants_result::<VoidIntent>(|result, keys| keys.want::<PaymentRow>(&result.effect.order_id))
            .wants_result::<RefundIntent>(|result, keys| {
                keys.want::<PaymentRow>(&result.effect.order_id);
                keys.want::<RefundRow>(&result.effect.refund_id);
            })
            .wants_result::<ShowIntent>(|result, keys| keys.want::<PaymentRow>(&result.effect.order_id))
            .wants_result::<QueryOperation>(|result, keys| keys.want::<PaymentRow>(&result.effect.order_id))
            .timer(handlers::action_poll)
            .timer(handlers::reconcile)
            .timer(handlers::void_retry)
            .timer(handlers::refund_retry)
            .wants::<ActionPoll>(|timer, keys| keys.want::<PaymentRow>(&timer.order_id))
            .wants::<Reconcile>(|timer, keys| keys.want::<PaymentRow>(&timer.order_id))
            .wants::<VoidRetry>(|timer, keys| keys.want::<PaymentRow>(&timer.order_id))
            .wants::<RefundRetry>(|timer, keys| {
                keys.want::<PaymentRow>(&timer.order_id);
                keys.want::<RefundRow>(&timer.refund_id);
            })
            .emits::<contract::Authorized>()
            .emits::<contract::ActionRequired>()
            .emits::<contract::Declined>()
            .emits::<contract::Captured>()
            .emits::<contract::CaptureFailed>()
            .emits::<contract::Voided>()
            .emits::<contract::Refunded>()
            .emits::<contract::RefundRefused>()
    }

    fn routes(&self) -> OpenApiRouter<Edge> {
        http::routes()
    }
}
