//! This module's tables, and all its SQL.

mod read;
mod verify;

use pangaea_contracts::order::Reason;
use pangaea_contracts::{Currency, OrderId, PaymentId, RefundId, Timestamp, UserId};
use pangaea_journal::{Json, Migration, record};

use crate::domain::{InFlight, Operation, RefundState, State, VoidStage};
use crate::ledger::{Account, TransferKind, TransferState};

pub use read::{Balance, balances};
pub(crate) use read::{Owner, by_id, page, transfers};
pub use verify::{OrderTotals, totals, verify};

pub(crate) const MIGRATIONS: &[Migration] =
    &[Migration { name: "0001_payment", sql: include_str!("../migrations/0001_payment.sql") }];

record! {
    /// An order's payment. Amounts are minor units of `currency`.
    pub struct PaymentRow in "payment" {
        key { order_id: OrderId }
        payment_id: PaymentId,
        /// The customer who placed the order; `None` for guests and for orders that staff placed.
        owner_id: Option<UserId>,
        /// `None` only where a void came before any authorization.
        currency: Option<Currency>,
        /// What order asked to hold.
        amount: i64,
        state: State,
        /// Why it failed, expired or was canceled.
        reason: Option<Json<Reason>>,
        provider_intent: Option<String>,
        /// The provider may still hold or take money for the intent.
        intent_open: bool,
        held: i64,
        captured: i64,
        refunded: i64,
        /// Refunds asked for, without a result.
        refund_pending: i64,
        void: VoidStage,
        in_flight: Option<InFlight>,
        authorizing: Json<Operation>,
        capturing: Json<Operation>,
        voiding: Json<Operation>,
        /// How often an unknown outcome has been asked for.
        reconcile_round: i64,
        /// How often a void has been tried again.
        retry_round: i64,
        /// Until when the payer may act.
        action_until: Option<Timestamp>,
        /// Transfers written so far: numbers the next one.
        transfers: i64,
        version: i64,
        created_at: Timestamp,
        updated_at: Timestamp,
    }
}

record! {
    /// A refund that was asked for. Amounts are minor units.
    pub struct RefundRow in "refund" {
        key { refund_id: RefundId }
        order_id: OrderId,
        amount: i64,
        currency: Currency,
        state: RefundState,
        reason: Option<Json<Reason>>,
        /// Part of a void that came after the capture: answered by `voided`, not by an event of its own.
        for_void: bool,
        /// The provider's idempotency key: the id of the first effect.
        provider_key: Option<String>,
        open_transfer: Option<String>,
        /// How often it has been tried again.
        retry_round: i64,
        created_at: Timestamp,
        updated_at: Timestamp,
    }
}

record! {
    /// A line of the ledger. Never changed once written. Amounts are minor units, at least 1.
    pub struct TransferRow in "transfer" {
        key {
            /// The payment's id and the number.
            id: String
        }
        payment_id: PaymentId,
        order_id: OrderId,
        /// From 1, without gaps, within its payment.
        number: i64,
        kind: TransferKind,
        state: TransferState,
        /// The pending transfer that this one settles.
        pending_id: Option<String>,
        refund_id: Option<RefundId>,
        debit_account: Account,
        credit_account: Account,
        amount: i64,
        currency: Currency,
        at: Timestamp,
    }
}
