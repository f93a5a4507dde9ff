//! Double entry: every transfer takes from one account what it gives to another, so each currency sums to zero at every
//! moment. Rows are only ever added; balances are sums over the posted ones.

use std::fmt;
use std::str::FromStr;

use pangaea_contracts::{Currency, RefundId, Timestamp};
use pangaea_journal::text_column;
use serde::{Deserialize, Serialize};

use crate::domain::{OpenTransfer, Operation, text_enums};
use crate::store::{PaymentRow, TransferRow};

text_enums! {
    /// Where money can be. A balance is debits less credits.
    #[derive(utoipa::ToSchema)]
    #[schema(as = LedgerAccount)]
    pub enum Account {
        /// The payers' own money: below zero by what we hold or keep of it.
        Customer = "customer",
        /// Held for us, not taken.
        AuthorizedHolds = "authorized_holds",
        /// Taken, refunds not subtracted.
        Captured = "captured",
        /// Given back: below zero by the sum of all refunds.
        Refunds = "refunds",
    }

    /// What a transfer stands for.
    #[derive(utoipa::ToSchema)]
    #[schema(as = LedgerTransferKind)]
    pub enum TransferKind {
        Authorize = "authorize",
        Capture = "capture",
        Void = "void",
        Refund = "refund",
    }

    /// Whether a transfer counts.
    #[derive(utoipa::ToSchema)]
    #[schema(as = LedgerTransferState)]
    pub enum TransferState {
        /// Asked for; in no balance. A later row of the same kind names it and says what became of it.
        Pending = "pending",
        Posted = "posted",
        /// Did not happen; in no balance.
        Voided = "voided",
    }
}

/// What to write down.
struct Entry<'a> {
    kind: TransferKind,
    state: TransferState,
    amount: i64,
    pending_id: Option<String>,
    refund_id: Option<&'a RefundId>,
}

// === impl TransferKind ===

impl TransferKind {
    /// `(debit, credit)`
    pub const fn accounts(self) -> (Account, Account) {
        match self {
            Self::Authorize => (Account::AuthorizedHolds, Account::Customer),
            Self::Capture => (Account::Captured, Account::AuthorizedHolds),
            Self::Void => (Account::Customer, Account::AuthorizedHolds),
            Self::Refund => (Account::Customer, Account::Refunds),
        }
    }
}

// === impl PaymentRow: booking ===

impl PaymentRow {
    /// A pending transfer, unless the operation has one already.
    pub(crate) fn open(&mut self, kind: TransferKind, amount: i64, now: Timestamp) -> Option<TransferRow> {
        if amount <= 0 || self.operation(kind)?.open.is_some() {
            return None;
        }
        let row =
            self.write(Entry { kind, state: TransferState::Pending, amount, pending_id: None, refund_id: None }, now)?;
        self.operation(kind)?.open = Some(OpenTransfer { id: row.id.clone(), amount });
        Some(row)
    }

    /// The operation happened: its pending transfer, if there is one, is posted.
    pub(crate) fn post(&mut self, kind: TransferKind, amount: i64, now: Timestamp) -> Option<TransferRow> {
        if amount <= 0 {
            return None;
        }
        let operation = self.operation(kind)?;
        operation.posted = true;
        operation.unknown = false;
        let pending_id = operation.open.take().map(|open| open.id);
        self.write(Entry { kind, state: TransferState::Posted, amount, pending_id, refund_id: None }, now)
    }

    /// The operation did not happen: its pending transfer, if there is one, is voided.
    pub(crate) fn close(&mut self, kind: TransferKind, now: Timestamp) -> Option<TransferRow> {
        let operation = self.operation(kind)?;
        operation.unknown = false;
        let OpenTransfer { id, amount } = operation.open.take()?;
        self.write(Entry { kind, state: TransferState::Voided, amount, pending_id: Some(id), refund_id: None }, now)
    }

    /// A transfer of a refund; refunds keep the id of their pending transfer themselves.
    pub(crate) fn refund_transfer(
        &mut self,
        state: TransferState,
        refund_id: &RefundId,
        amount: i64,
        pending_id: Option<String>,
        now: Timestamp,
    ) -> Option<TransferRow> {
        self.write(Entry { kind: TransferKind::Refund, state, amount, pending_id, refund_id: Some(refund_id) }, now)
    }

    fn operation(&mut self, kind: TransferKind) -> Option<&mut Operation> {
        match kind {
            TransferKind::Authorize => Some(&mut self.authorizing.0),
            TransferKind::Capture => Some(&mut self.capturing.0),
            TransferKind::Void => Some(&mut self.voiding.0),
            TransferKind::Refund => None,
        }
    }

    /// `None` without a currency: a payment that never began moves nothing.
    fn write(&mut self, entry: Entry<'_>, now: Timestamp) -> Option<TransferRow> {
        let currency: Currency = self.currency?;
        let Entry { kind, state, amount, pending_id, refund_id } = entry;
        let (debit_account, credit_account) = kind.accounts();
        self.transfers += 1;
        Some(TransferRow {
            id: format!("{}-{}", self.payment_id, self.transfers),
            payment_id: self.payment_id.clone(),
            order_id: self.order_id.clone(),
            number: self.transfers,
            kind,
            state,
            pending_id,
            refund_id: refund_id.cloned(),
            debit_account,
            credit_account,
            amount,
            currency,
            at: now,
        })
    }
}
