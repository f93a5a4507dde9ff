//! The module's own alarm clocks. They never leave it.

use pangaea_contracts::{Message, OrderId, RefundId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::State;

/// An order has waited long enough. One per order: every step moves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Deadline {
    pub(crate) order_id: OrderId,
    /// What it waited in; a timer of another state or attempt has been overtaken.
    pub(crate) state: State,
    pub(crate) attempt: u32,
}

/// A refund, or the return of its units to the stock, has waited long enough.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct RefundDeadline {
    pub(crate) order_id: OrderId,
    pub(crate) refund_id: RefundId,
    /// Times it was asked again so far.
    pub(crate) attempt: u32,
}

impl Message for Deadline {
    const SUBJECT: &'static str = "order.tmr.deadline.v1";

    fn key(&self) -> String {
        self.order_id.to_string()
    }
}

impl Message for RefundDeadline {
    const SUBJECT: &'static str = "order.tmr.refund_deadline.v1";

    fn key(&self) -> String {
        self.refund_id.to_string()
    }
}
