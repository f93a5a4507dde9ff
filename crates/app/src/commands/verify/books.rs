//! What order, payment, product and the provider say of the same orders.
//!
//! All are walked together, in pages of orders by id, so memory does not grow with the store. Within a page order is read
//! first: whatever it says it has heard, so the others must have done it by the time they are read.

use std::collections::BTreeMap;

use anyhow::Result;
use pangaea_contracts::OrderId;
use pangaea_journal::Database;
use pangaea_order::{OrderTotals, State};
use pangaea_payment::OrderTotals as PaymentTotals;
use pangaea_product::{Reservation, ReservationState};

use super::check::{Check, grouped};
use super::ledger::ProviderBooks;
use super::stores::Stores;

/// Rows of one read, at most.
const PAGE: u32 = 500;

/// Everything known of one order.
#[derive(Default)]
struct Facts {
    order: Option<OrderTotals>,
    payment: Option<PaymentTotals>,
    reservation: Option<Reservation>,
}

/// Orders' ids behind `after` (from the first without it) and up to `until` (to the last without it).
#[derive(Clone)]
struct Range {
    after: Option<OrderId>,
    until: Option<OrderId>,
}

struct Books<'a> {
    payment: Option<&'a Database>,
    product: Option<&'a Database>,
    provider: Option<ProviderBooks>,
    orders: u64,
    confirmed: u64,
    cancelled: u64,
    paid: Check,
    agreed: Check,
    released: Check,
    owned: Check,
}

/// The checks between modules, as far as their databases and the ledger are there.
///
/// # Errors
/// When a database cannot be read.
pub(super) async fn look(stores: &Stores, provider: Option<ProviderBooks>) -> Result<Vec<Check>> {
    let Some(order) = stores.of("order") else { return Ok(Vec::new()) };
    let mut books = Books {
        payment: stores.of("payment"),
        product: stores.of("product"),
        provider,
        orders: 0,
        confirmed: 0,
        cancelled: 0,
        paid: Check::new("confirmed orders have their money captured and their stock committed"),
        agreed: Check::new("order and payment agree on captured and refunded"),
        released: Check::new("cancelled orders hold no stock and no money"),
        owned: Check::new("every payment and reservation has its order"),
    };
    books.walk(order).await?;
    Ok(books.checks())
}

// === impl Books: reading ===

impl Books<'_> {
    async fn walk(&mut self, order: &Database) -> Result<()> {
        let mut after: Option<OrderId> = None;
        loop {
            let page = pangaea_order::totals(order, after.as_ref(), PAGE).await?;
            let last = page.last().map(|order| order.order_id.clone());
            let is_last = (page.len() as u64) < u64::from(PAGE);
            let range = Range { after, until: last.clone().filter(|_| !is_last) };
            for facts in self.gather(page, range).await?.into_values() {
                self.judge(&facts).await?;
            }
            if is_last {
                return Ok(());
            }
            after = last;
        }
    }

    /// One row per order on each side, so a range is as long as its page of orders; were there more, they are orphans.
    async fn gather(&self, page: Vec<OrderTotals>, range: Range) -> Result<BTreeMap<OrderId, Facts>> {
        let mut all: BTreeMap<OrderId, Facts> = BTreeMap::new();
        for order in page {
            let facts = all.entry(order.order_id.clone()).or_default();
            facts.order = Some(order);
        }
        if let Some(database) = self.payment {
            let mut range = range.clone();
            loop {
                let Range { after, until } = &range;
                let page = pangaea_payment::totals(database, after.as_ref(), until.as_ref(), PAGE).await?;
                let next = range.behind(page.len(), page.last().map(|payment| &payment.order_id));
                for payment in page {
                    let facts = all.entry(payment.order_id.clone()).or_default();
                    facts.payment = Some(payment);
                }
                let Some(next) = next else { break };
                range = next;
            }
        }
        if let Some(database) = self.product {
            let mut range = range;
            loop {
                let Range { after, until } = &range;
                let page = pangaea_product::reservations(database, after.as_ref(), until.as_ref(), PAGE).await?;
                let next = range.behind(page.len(), page.last().map(|reservation| &reservation.order_id));
                for reservation in page {
                    let facts = all.entry(reservation.order_id.clone()).or_default();
                    facts.reservation = Some(reservation);
                }
                let Some(next) = next else { break };
                range = next;
            }
        }
        Ok(all)
    }
}

// === impl Books: judging ===

impl Books<'_> {
    async fn judge(&mut self, facts: &Facts) -> Result<()> {
        // A settled order's payment may still be at work: asking for an unknown outcome, voiding what turned up late.
        let open = facts.order.as_ref().is_some_and(|order| !is_done(order.state));
        let moving = match (&facts.payment, self.payment) {
            (Some(payment), Some(_)) if payment.under_way => true,
            (Some(payment), Some(database)) if self.is_suspect(facts, payment, open) => {
                database.has_work_for(payment.order_id.as_str()).await?
            }
            _ => false,
        };
        if let (Some(payment), Some(provider)) = (&facts.payment, &mut self.provider) {
            provider.claim(payment, open, moving);
        }
        let Some(order) = &facts.order else {
            self.judge_orphan(facts);
            return Ok(());
        };
        self.orders += 1;
        match order.state {
            State::Confirmed | State::Refunded => {
                self.confirmed += 1;
                self.judge_confirmed(order, facts);
            }
            State::Cancelled => {
                self.cancelled += 1;
                self.judge_cancelled(order, facts, moving);
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether anything depends on what the payment has still to do. Asked first: for most orders the answer saves a read.
    fn is_suspect(&self, facts: &Facts, payment: &PaymentTotals, open: bool) -> bool {
        let cancelled = facts.order.as_ref().is_some_and(|order| order.state == State::Cancelled);
        let unbalanced = cancelled && (payment.held > 0 || payment.captured != payment.refunded);
        unbalanced || self.provider.as_ref().is_some_and(|provider| provider.differs(payment, open))
    }

    fn judge_confirmed(&mut self, order: &OrderTotals, facts: &Facts) {
        let OrderTotals { order_id, total, captured, refunded, refund_pending, .. } = order;
        if captured != total {
            self.paid.breach(format!("{order_id} has captured {} of {}", captured.amount, total.amount));
        }
        if self.product.is_some() {
            let state = facts.reservation.as_ref().map(|reservation| reservation.state);
            if state != Some(ReservationState::Committed) {
                let state = state.map_or_else(|| "none".to_owned(), |state| state.to_string());
                self.paid.breach(format!("{order_id} is confirmed, but its reservation is {state}"));
            }
        }
        if self.payment.is_none() {
            return;
        }
        let Some(payment) = &facts.payment else {
            self.paid.breach(format!("{order_id} is confirmed without a payment"));
            return;
        };
        if payment.captured != total.amount {
            let total = total.amount;
            self.paid
                .breach(format!("{order_id} is confirmed for {total}, but payment has captured {}", payment.captured));
        }
        // A refund that is asked for has happened in payment or has not: order hears of it later.
        let may_be_refunded = refunded.amount..=refunded.amount + refund_pending.amount;
        let same_currency = payment.currency.as_deref() == Some(total.currency.as_str());
        if payment.captured != captured.amount || !may_be_refunded.contains(&payment.refunded) || !same_currency {
            self.agreed.breach(format!(
                "{order_id}: order says {captured} captured and {refunded} refunded, payment {} and {} {}",
                payment.captured,
                payment.refunded,
                payment.currency.as_deref().unwrap_or("without a currency")
            ));
        }
    }

    fn judge_cancelled(&mut self, order: &OrderTotals, facts: &Facts, moving: bool) {
        let order_id = &order.order_id;
        if let Some(Reservation { state, .. }) = &facts.reservation
            && matches!(state, ReservationState::Open | ReservationState::Committed)
        {
            self.released.breach(format!("{order_id} is cancelled, but its reservation is {state}"));
        }
        let Some(payment) = &facts.payment else { return };
        if payment.held > 0 && !moving {
            self.released.breach(format!("{order_id} is cancelled, but {} is held", payment.held));
        }
        if payment.captured != payment.refunded && payment.refund_pending == 0 && !moving {
            let PaymentTotals { captured, refunded, .. } = payment;
            self.agreed.breach(format!("{order_id} is cancelled, but {captured} is captured and {refunded} refunded"));
        }
    }

    fn judge_orphan(&mut self, facts: &Facts) {
        if let Some(payment) = &facts.payment {
            self.owned.breach(format!(
                "the payment {} is of {}, which order does not know",
                payment.payment_id, payment.order_id
            ));
        }
        if let Some(reservation) = &facts.reservation {
            let Reservation { order_id, state } = reservation;
            self.owned.breach(format!("a reservation ({state}) is of {order_id}, which order does not know"));
        }
    }

    fn checks(self) -> Vec<Check> {
        let Self { payment, product, provider, orders, confirmed, cancelled, .. } = self;
        let mut checks = Vec::new();
        if payment.is_some() || product.is_some() {
            let orders = format!("{} orders", grouped(orders));
            checks.push(self.paid.counted(format!("{orders}, {} confirmed", grouped(confirmed))));
            checks.push(self.agreed.counted(format!(
                "{} confirmed, {} cancelled",
                grouped(confirmed),
                grouped(cancelled)
            )));
            checks.push(self.released.counted(format!("{} cancelled", grouped(cancelled))));
            checks.push(self.owned.counted(orders));
        }
        if payment.is_some() {
            checks.extend(provider.into_iter().flat_map(ProviderBooks::checks));
        }
        checks
    }
}

// === impl Range ===

impl Range {
    /// What is left behind a page of so many rows; `None` when that was all.
    fn behind(&self, rows: usize, last: Option<&OrderId>) -> Option<Self> {
        let last = last.filter(|_| rows as u64 >= u64::from(PAGE))?;
        Some(Self { after: Some(last.clone()), until: self.until.clone() })
    }
}

/// Whether nothing is left to do or to decide for an order.
const fn is_done(state: State) -> bool {
    state.is_settled() && !matches!(state, State::ManualReview)
}
