//! What the module shows of itself over HTTP.

use pangaea_contracts::order::Reason;
use pangaea_contracts::{Currency, Money, OrderId, PaymentId, RefundId, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::State;
use crate::ledger::{Account, TransferKind, TransferState};
use crate::store::{Balance, PaymentRow, TransferRow};

/// Minor units (pence, cents) of an ISO 4217 currency.
#[derive(ToSchema)]
#[schema(as = Money)]
#[expect(dead_code, reason = "the shape of a contract's type, for the OpenAPI document only")]
pub(crate) struct MoneySchema {
    #[schema(examples(1299))]
    amount: i64,
    #[schema(pattern = "^[A-Z]{3}$", examples("GBP"))]
    currency: String,
}

/// Why something ended as it did: a stable code for programs, a sentence for people.
#[derive(ToSchema)]
#[schema(as = Reason)]
#[expect(dead_code, reason = "the shape of a contract's type, for the OpenAPI document only")]
pub(crate) struct ReasonSchema {
    #[schema(examples("payment_declined"))]
    code: String,
    detail: String,
}

/// An order's payment.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Payment)]
pub(crate) struct PaymentView {
    #[schema(value_type = String, examples("pay_01kb…"))]
    pub(crate) id: PaymentId,
    #[schema(value_type = String, examples("ord_01kb…"))]
    pub(crate) order_id: OrderId,
    state: State,
    /// What the order costs. Absent where the order was cancelled before any money was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<MoneySchema>)]
    amount: Option<Money>,
    /// Held, neither captured nor voided.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<MoneySchema>)]
    authorized: Option<Money>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<MoneySchema>)]
    captured: Option<Money>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<MoneySchema>)]
    refunded: Option<Money>,
    /// Asked for, not yet given back.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<MoneySchema>)]
    refund_pending: Option<Money>,
    /// Why it failed, expired or was cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ReasonSchema>)]
    reason: Option<Reason>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// One line of the ledger.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LedgerTransfer)]
pub(crate) struct TransferView {
    id: String,
    /// From 1, without gaps, within its payment.
    pub(crate) number: i64,
    kind: TransferKind,
    state: TransferState,
    /// The pending transfer that this one settles.
    #[serde(skip_serializing_if = "Option::is_none")]
    pending_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    refund_id: Option<RefundId>,
    debit_account: Account,
    credit_account: Account,
    #[schema(value_type = MoneySchema)]
    amount: Money,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
}

/// Sums over the whole ledger, per currency.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LedgerBalances)]
pub(crate) struct BalancesView {
    balances: Vec<BalanceView>,
}

/// Minor units of one currency.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LedgerBalance)]
pub(crate) struct BalanceView {
    #[schema(value_type = String, examples("GBP"))]
    currency: Currency,
    /// Held, neither captured nor voided.
    authorized: i64,
    /// Taken; refunds are not subtracted.
    captured: i64,
    refunded: i64,
}

impl From<PaymentRow> for PaymentView {
    fn from(row: PaymentRow) -> Self {
        let currency = row.currency;
        let money = |amount: i64| currency.map(|currency| Money::new(amount, currency));
        Self {
            id: row.payment_id,
            order_id: row.order_id,
            state: row.state,
            amount: money(row.amount),
            authorized: money(row.held),
            captured: money(row.captured),
            refunded: money(row.refunded),
            refund_pending: money(row.refund_pending),
            reason: row.reason.map(|reason| reason.0),
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

impl From<TransferRow> for TransferView {
    fn from(row: TransferRow) -> Self {
        Self {
            id: row.id,
            number: row.number,
            kind: row.kind,
            state: row.state,
            pending_id: row.pending_id,
            refund_id: row.refund_id,
            debit_account: row.debit_account,
            credit_account: row.credit_account,
            amount: Money::new(row.amount, row.currency),
            at: row.at,
        }
    }
}

impl From<Vec<Balance>> for BalancesView {
    fn from(balances: Vec<Balance>) -> Self {
        let balances = balances
            .into_iter()
            .map(|Balance { currency, authorized, captured, refunded }| BalanceView {
                currency,
                authorized,
                captured,
                refunded,
            })
            .collect();
        Self { balances }
    }
}
