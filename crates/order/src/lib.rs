//! The order module: places orders, leads each through its saga to a settled end, and gives money back.
//!
//! | file | subject |
//! |---|---|
//! | `domain` | the saga as a pure state machine |
//! | `placing`, `refunding` | what may be ordered and refunded, and for how much; pure |
//! | `commands` | what callers ask for |
//! | `saga`, `refunds` | what stock and payment answer, and what is done when they do not |
//! | `prices` | the projection of product's prices |
//! | `store` | the tables |
//! | `measures` | what the operator is told |
//! | `http` | the routes |
//! | `verify` | what must be true of the tables at any time |
//! | `changes` | what a replay must find, where a line does not say it |
//!
//! An order needs no other module to be up in order to be placed: prices are a projection of product's events.

mod changes;
mod commands;
mod domain;
mod http;
mod measures;
mod placing;
mod prices;
mod refunding;
mod refunds;
mod saga;
mod settings;
mod store;
mod timers;
mod views;

use pangaea_contracts::order::{
    CancelOrder, Cancelled, Confirmed, ManualReview, PlaceOrder, Placed, RefundOrder, Refunded,
};
use pangaea_contracts::{Actor, SkuId, payment, product};
use pangaea_kernel::http::{Edge, HttpRequest};
use pangaea_kernel::{Definition, Module};
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;

pub use domain::State;
pub use settings::OrderSettings;
pub use store::{OrderTotals, Outline, orders_with_prefix, outline, totals, verify};

use store::{OrderRow, RefundRow, SkuPrice};
use timers::{Deadline, RefundDeadline};

/// The module, for the catalogue of a host.
#[derive(Clone, Copy, Debug, Default)]
pub struct Order;

// === impl Order ===

impl Order {
    pub const NAME: &'static str = "order";

    pub fn new() -> Self {
        Self
    }
}

impl Module for Order {
    fn define(&self) -> Definition {
        let definition = Definition::new(Self::NAME)
            .migrations(store::MIGRATIONS)
            .invariant("every order is settled or has a deadline, refunds add up", store::verify)
            .projection("timeline", &["timeline"])
            .projection("prices", &["sku_price"])
            .projection("refunds", &["refund"])
            .histogram(&measures::SETTLE)
            .gauge(&measures::ORDERS, store::by_state)
            .settings::<OrderSettings>()
            .emits::<Placed>()
            .emits::<Confirmed>()
            .emits::<Cancelled>()
            .emits::<ManualReview>()
            .emits::<Refunded>()
            .command::<PlaceOrder>(commands::place)
            .wants::<PlaceOrder>(|order, keys| {
                for line in &order.lines {
                    keys.want::<SkuPrice>(&SkuId::from_id_or_code(&line.sku));
                }
            })
            .command::<CancelOrder>(commands::cancel)
            .wants::<CancelOrder>(|cancel, keys| keys.want::<OrderRow>(&cancel.order_id))
            .command::<RefundOrder>(commands::refund)
            .wants::<RefundOrder>(|refund, keys| keys.want::<OrderRow>(&refund.order_id))
            .timer::<Deadline>(saga::deadline)
            .wants::<Deadline>(|timer, keys| keys.want::<OrderRow>(&timer.order_id))
            .timer::<RefundDeadline>(refunds::deadline)
            .wants::<RefundDeadline>(|timer, keys| keys.want::<RefundRow>(&timer.refund_id))
            .on::<product::SkuPriced>(prices::sku_priced)
            .wants::<product::SkuPriced>(|event, keys| keys.want::<SkuPrice>(&event.sku_id))
            .on::<product::SkuWithdrawn>(prices::sku_withdrawn)
            .wants::<product::SkuWithdrawn>(|event, keys| keys.want::<SkuPrice>(&event.sku_id));
        with_payment(with_stock(definition))
    }

    fn routes(&self) -> OpenApiRouter<Edge> {
        http::routes()
    }

    fn request_of(&self, subject: &str, _key: &str, payload: &Value, _actor: &Actor) -> Option<HttpRequest> {
        http::request_of(subject, payload)
    }
}

/// The stock's side of the saga.
fn with_stock(definition: Definition) -> Definition {
    definition
        .sends::<product::ReserveStock>()
        .sends::<product::CommitStock>()
        .sends::<product::ReleaseStock>()
        .sends::<product::Restock>()
        .on::<product::StockReserved>(saga::stock_reserved)
        .wants::<product::StockReserved>(|event, keys| keys.want::<OrderRow>(&event.order_id))
        .on::<product::StockRefused>(saga::stock_refused)
        .wants::<product::StockRefused>(|event, keys| keys.want::<OrderRow>(&event.order_id))
        .on::<product::StockCommitted>(saga::stock_committed)
        .wants::<product::StockCommitted>(|event, keys| keys.want::<OrderRow>(&event.order_id))
        .on::<product::CommitRefused>(saga::commit_refused)
        .wants::<product::CommitRefused>(|event, keys| keys.want::<OrderRow>(&event.order_id))
        .on::<product::StockReleased>(saga::stock_released)
        .wants::<product::StockReleased>(|event, keys| keys.want::<OrderRow>(&event.order_id))
        .on::<product::ReservationExpired>(saga::reservation_expired)
        .wants::<product::ReservationExpired>(|event, keys| keys.want::<OrderRow>(&event.order_id))
        .on::<product::Restocked>(refunds::restocked)
        .wants::<product::Restocked>(|event, keys| keys.want::<RefundRow>(&event.refund_id))
}

/// The money's side of the saga.
fn with_payment(definition: Definition) -> Definition {
    definition
        .sends::<payment::Authorize>()
        .sends::<payment::Capture>()
        .sends::<payment::Void>()
        .sends::<payment::Refund>()
        .on::<payment::Authorized>(saga::authorized)
        .wants::<payment::Authorized>(|event, keys| keys.want::<OrderRow>(&event.order_id))
        .on::<payment::ActionRequired>(saga::action_required)
        .wants::<payment::ActionRequired>(|event, keys| keys.want::<OrderRow>(&event.order_id))
        .on::<payment::Declined>(saga::declined)
        .wants::<payment::Declined>(|event, keys| keys.want::<OrderRow>(&event.order_id))
        .on::<payment::Captured>(saga::captured)
        .wants::<payment::Captured>(|event, keys| keys.want::<OrderRow>(&event.order_id))
        .on::<payment::CaptureFailed>(saga::capture_failed)
        .wants::<payment::CaptureFailed>(|event, keys| keys.want::<OrderRow>(&event.order_id))
        .on::<payment::Voided>(saga::voided)
        .wants::<payment::Voided>(|event, keys| keys.want::<OrderRow>(&event.order_id))
        .on::<payment::Refunded>(refunds::refunded)
        .wants::<payment::Refunded>(|event, keys| {
            keys.want::<OrderRow>(&event.order_id);
            keys.want::<RefundRow>(&event.refund_id);
        })
        .on::<payment::RefundRefused>(refunds::refund_refused)
        .wants::<payment::RefundRefused>(|event, keys| {
            keys.want::<OrderRow>(&event.order_id);
            keys.want::<RefundRow>(&event.refund_id);
        })
}
