//! What the order module says: the saga's milestones. Commands to product and payment stand with their receivers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::message::messages;
use crate::{Money, OrderId, RefundId, SkuId, UserId};

/// An order was accepted; nothing is reserved or paid yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Placed {
    pub order_id: OrderId,
    /// The account that owns the order; none for guests and for customers known only by a reference.
    #[serde(default)]
    pub customer_id: Option<UserId>,
    pub lines: Vec<OrderedLine>,
    pub total: Money,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderedLine {
    /// From 1, in the order in which the lines were given.
    pub line: u32,
    pub sku_id: SkuId,
    /// Units, at least 1.
    pub quantity: i64,
    pub unit_price: Money,
}

/// Stock is committed and money captured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Confirmed {
    pub order_id: OrderId,
    pub total: Money,
}

/// The order ended without money; everything it held is given back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cancelled {
    pub order_id: OrderId,
    pub reason: Reason,
}

/// The saga cannot go on by itself: a person has to decide.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ManualReview {
    pub order_id: OrderId,
    pub reason: Reason,
}

/// Money went back to the customer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Refunded {
    pub order_id: OrderId,
    pub refund_id: RefundId,
    pub amount: Money,
    /// Sum of all refunds of this order so far.
    pub refunded_total: Money,
}

/// Why something ended as it did: a stable code for programs, a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reason {
    /// Snake case, stable, e.g. `out_of_stock`, `payment_declined`, `cancelled_by_customer`.
    pub code: String,
    pub detail: String,
}

/// From the edge: places an order. What needs no state is checked before: 1 to 1,000 lines, quantities of 1 to 1,000,000,
/// texts within their bounds, and that only staff set prices or name a customer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlaceOrder {
    /// The subject of the principal who places it, as verified at the edge; the order itself has no id yet.
    pub placed_by: String,
    pub lines: Vec<PlaceLine>,
    /// The provider's token for the customer's means of payment.
    #[schemars(extend("x-secret" = true))]
    pub payment_token: String,
    /// A customer whom the store knows only by this name; staff only.
    #[serde(default)]
    pub customer_reference: Option<String>,
    #[serde(default)]
    #[schemars(extend("x-personal" = true))]
    pub shipping_address: Option<Address>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlaceLine {
    /// The SKU's id, or the merchant's code in any case.
    pub sku: String,
    /// Units, 1 to 1,000,000.
    pub quantity: i64,
    /// Overrides the catalogue's price; staff only.
    #[serde(default)]
    pub unit_price: Option<Money>,
}

/// Where an order goes: a snapshot, not a reference to an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Address {
    pub name: String,
    pub line1: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line2: Option<String>,
    pub city: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postal_code: Option<String>,
    /// ISO 3166-1 alpha-2.
    pub country: String,
}

/// From the edge: ends an order whose money has not been captured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CancelOrder {
    pub order_id: OrderId,
    /// What the caller gives as a reason, in a sentence.
    #[serde(default)]
    pub reason: Option<String>,
}

/// From the edge: gives money back for a confirmed order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RefundOrder {
    pub order_id: OrderId,
    /// Which units; empty for all that are not refunded yet.
    #[serde(default)]
    pub lines: Vec<RefundLine>,
    /// Whether the units go back into the stock once the money has gone back.
    #[serde(default)]
    pub restock: bool,
    #[serde(default)]
    pub reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefundLine {
    /// The order's line, from 1.
    pub line: u32,
    /// Units, at least 1.
    pub quantity: i64,
}

// === impl Reason ===

impl Reason {
    pub fn new(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { code: code.into(), detail: detail.into() }
    }
}

messages! {
    Placed = "order.evt.placed.v1", key order_id;
    Confirmed = "order.evt.confirmed.v1", key order_id;
    Cancelled = "order.evt.cancelled.v1", key order_id;
    ManualReview = "order.evt.manual_review.v1", key order_id;
    Refunded = "order.evt.refunded.v1", key order_id;
    PlaceOrder = "order.rpc.place.v1", key placed_by;
    CancelOrder = "order.rpc.cancel.v1", key order_id;
    RefundOrder = "order.rpc.refund.v1", key order_id;
}
