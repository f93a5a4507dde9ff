//! What the API shows.

use pangaea_contracts::order::{Address, Reason};
use pangaea_contracts::{Money, OrderId, RefundId, SkuId, Timestamp, UserId};
use pangaea_journal::Json;
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::State;
use crate::placing::Line;
use crate::refunding::{RefundState, Restocking, ReturnedLine};
use crate::store::{OrderRow, RefundRow, TimelineRow};

/// An order. The payment token is never shown.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Order)]
pub(crate) struct OrderView {
    #[schema(value_type = String, examples("ord_01kb…"))]
    id: OrderId,
    state: State,
    /// As ordered, in the order in which they were given.
    lines: Vec<LineView>,
    #[schema(value_type = MoneySchema)]
    total: Money,
    /// Sum of the refunds that have succeeded.
    #[schema(value_type = MoneySchema)]
    refunded: Money,
    /// The account that owns it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    customer_id: Option<UserId>,
    /// The customer's name for the staff who placed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_reference: Option<String>,
    /// Why it ended as it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ReasonSchema>)]
    reason: Option<Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<AddressSchema>)]
    shipping_address: Option<Address>,
    #[schema(value_type = String, format = DateTime)]
    placed_at: Timestamp,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = OrderLine)]
pub(crate) struct LineView {
    /// From 1.
    line: u32,
    #[schema(value_type = String)]
    sku_id: SkuId,
    /// The merchant's code.
    code: String,
    quantity: i64,
    #[schema(value_type = MoneySchema)]
    unit_price: Money,
    /// Whether staff set the price.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    price_override: bool,
    refunded_quantity: i64,
}

/// An order in a list: without its lines, of which there may be a thousand.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct OrderSummary {
    #[schema(value_type = String)]
    id: OrderId,
    state: State,
    line_count: usize,
    #[schema(value_type = MoneySchema)]
    total: Money,
    #[schema(value_type = MoneySchema)]
    refunded: Money,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    customer_id: Option<UserId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_reference: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ReasonSchema>)]
    reason: Option<Reason>,
    #[schema(value_type = String, format = DateTime)]
    placed_at: Timestamp,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = OrderRefund)]
pub(crate) struct RefundView {
    #[schema(value_type = String, examples("ref_01kb…"))]
    id: RefundId,
    #[schema(value_type = String)]
    order_id: OrderId,
    state: RefundState,
    #[schema(value_type = MoneySchema)]
    amount: Money,
    lines: Vec<RefundedLineView>,
    /// Whether the units go, or have gone, back into the stock.
    restock: bool,
    /// What the caller gave as a reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    stated_reason: Option<String>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ReasonSchema>)]
    reason: Option<Reason>,
    #[schema(value_type = String, format = DateTime)]
    requested_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    settled_at: Option<Timestamp>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = OrderRefundLine)]
pub(crate) struct RefundedLineView {
    line: u32,
    #[schema(value_type = String)]
    sku_id: SkuId,
    quantity: i64,
    #[schema(value_type = MoneySchema)]
    amount: Money,
}

/// Something that happened to an order.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = OrderTimelineEntry)]
pub(crate) struct TimelineEntry {
    /// From 1, without gaps; the `id` of the entry's server-sent event.
    pub(crate) seq: i64,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// The state since then.
    state: State,
    /// Stable, snake case: `placed`, `reserved`, `authorized`, `refund_requested` …
    pub(crate) event: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// An amount in the currency's minor unit, e.g. pence.
#[derive(ToSchema)]
#[schema(as = Money)]
#[expect(dead_code, reason = "the shape of a contract's type, for the OpenAPI document only")]
pub(crate) struct MoneySchema {
    #[schema(example = 1299)]
    amount: i64,
    /// ISO 4217.
    #[schema(example = "GBP", pattern = "^[A-Z]{3}$")]
    currency: String,
}

/// Why something ended as it did: a stable code for programs, a sentence for people.
#[derive(ToSchema)]
#[schema(as = Reason)]
#[expect(dead_code, reason = "the shape of a contract's type, for the OpenAPI document only")]
pub(crate) struct ReasonSchema {
    #[schema(examples("out_of_stock"))]
    code: String,
    detail: String,
}

#[derive(ToSchema)]
#[schema(as = Address)]
#[expect(dead_code, reason = "the shape of a contract's type, for the OpenAPI document only")]
pub(crate) struct AddressSchema {
    #[schema(max_length = 200)]
    name: String,
    #[schema(max_length = 200)]
    line1: String,
    #[schema(max_length = 200)]
    line2: Option<String>,
    #[schema(max_length = 200)]
    city: String,
    #[schema(max_length = 20)]
    postal_code: Option<String>,
    /// ISO 3166-1 alpha-2.
    #[schema(pattern = "^[A-Z]{2}$", examples("GB"))]
    country: String,
}

fn plain<T: Clone>(value: &Option<Json<T>>) -> Option<T> {
    value.as_ref().map(|Json(value)| value.clone())
}

impl From<&OrderRow> for OrderView {
    fn from(order: &OrderRow) -> Self {
        let line = |line: &Line| LineView {
            line: line.line,
            sku_id: line.sku_id.clone(),
            code: line.code.clone(),
            quantity: line.quantity,
            unit_price: order.money(line.unit_price),
            price_override: line.price_override,
            refunded_quantity: line.refunded,
        };
        Self {
            id: order.id.clone(),
            state: order.state,
            lines: order.lines.0.iter().map(line).collect(),
            total: order.money(order.total),
            refunded: order.money(order.refunded),
            customer_id: order.customer_id.clone(),
            customer_reference: order.customer_reference.clone(),
            reason: plain(&order.reason),
            shipping_address: plain(&order.shipping_address),
            placed_at: order.placed_at,
        }
    }
}

impl From<&OrderRow> for OrderSummary {
    fn from(order: &OrderRow) -> Self {
        Self {
            id: order.id.clone(),
            state: order.state,
            line_count: order.lines.0.len(),
            total: order.money(order.total),
            refunded: order.money(order.refunded),
            customer_id: order.customer_id.clone(),
            customer_reference: order.customer_reference.clone(),
            reason: plain(&order.reason),
            placed_at: order.placed_at,
        }
    }
}

impl From<&RefundRow> for RefundView {
    fn from(refund: &RefundRow) -> Self {
        let money = |amount| Money::new(amount, refund.currency);
        let line = |line: &ReturnedLine| RefundedLineView {
            line: line.line,
            sku_id: line.sku_id.clone(),
            quantity: line.quantity,
            amount: money(line.amount),
        };
        Self {
            id: refund.id.clone(),
            order_id: refund.order_id.clone(),
            state: refund.state,
            amount: money(refund.amount),
            lines: refund.lines.0.iter().map(line).collect(),
            restock: refund.restock != Restocking::None,
            stated_reason: refund.stated_reason.clone(),
            reason: plain(&refund.reason),
            requested_at: refund.requested_at,
            settled_at: refund.settled_at,
        }
    }
}

impl From<TimelineRow> for TimelineEntry {
    fn from(row: TimelineRow) -> Self {
        let TimelineRow { seq, at, state, event, detail, .. } = row;
        Self { seq, at, state, event, detail }
    }
}
