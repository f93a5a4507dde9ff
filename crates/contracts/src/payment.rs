//! What the payment module says, and what order may ask of it. Only tokens of the provider travel, never card data.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::message::messages;
use crate::order::Reason;
use crate::{Money, OrderId, PaymentId, RefundId};

/// Order asks to hold the money. A repeat gets the current answer again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Authorize {
    pub order_id: OrderId,
    pub amount: Money,
    /// The provider's token for the customer's means of payment.
    #[schemars(extend("x-secret" = true))]
    pub payment_token: String,
}

/// Order asks to take the held money, all of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Capture {
    pub order_id: OrderId,
}

/// Order lets go of the held money. Where nothing is held, a tombstone refuses a late authorization; what was captured in
/// the meantime is refunded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Void {
    pub order_id: OrderId,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Refund {
    pub order_id: OrderId,
    pub refund_id: RefundId,
    pub amount: Money,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Authorized {
    pub order_id: OrderId,
    pub payment_id: PaymentId,
    pub amount: Money,
}

/// The customer has to do something (3-D Secure and the like) before the money is held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ActionRequired {
    pub order_id: OrderId,
    pub payment_id: PaymentId,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Declined {
    pub order_id: OrderId,
    pub payment_id: PaymentId,
    pub reason: Reason,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Captured {
    pub order_id: OrderId,
    pub payment_id: PaymentId,
    pub amount: Money,
}

/// The provider refused the capture, or its outcome is still unknown; order decides whether to ask again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CaptureFailed {
    pub order_id: OrderId,
    pub payment_id: PaymentId,
    pub reason: Reason,
}

/// Nothing is held for this order any more, and nothing will be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Voided {
    pub order_id: OrderId,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Refunded {
    pub order_id: OrderId,
    pub refund_id: RefundId,
    pub amount: Money,
}

/// The refund is refused for good, e.g. because it exceeds what was captured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RefundRefused {
    pub order_id: OrderId,
    pub refund_id: RefundId,
    pub reason: Reason,
}

messages! {
    Authorize = "order.cmd.payment.authorize.v1", key order_id;
    Capture = "order.cmd.payment.capture.v1", key order_id;
    Void = "order.cmd.payment.void.v1", key order_id;
    Refund = "order.cmd.payment.refund.v1", key order_id;
    Authorized = "payment.evt.authorized.v1", key order_id;
    ActionRequired = "payment.evt.action_required.v1", key order_id;
    Declined = "payment.evt.declined.v1", key order_id;
    Captured = "payment.evt.captured.v1", key order_id;
    CaptureFailed = "payment.evt.capture_failed.v1", key order_id;
    Voided = "payment.evt.voided.v1", key order_id;
    Refunded = "payment.evt.refunded.v1", key order_id;
    RefundRefused = "payment.evt.refund_refused.v1", key order_id;
}
