//! What must be true of orders, money and goods at rest: what the clients were told, what each module believes, and what
//! the provider's ledger says are one story.

use std::collections::BTreeMap;

use pangaea_contracts::order::{Cancelled, Confirmed, ManualReview, Refunded};
use pangaea_contracts::{Message, OrderId, SkuId};
use pangaea_journal::{Database, JournalError, Statement};
use pangaea_order::{OrderTotals, State};
use pangaea_payment::OrderTotals as PaymentTotals;
use pangaea_product::ReservationState;
use pangaea_simulator::LedgerSummary;
use serde_json::Value;

use crate::clients::{Asks, STOCK};
use crate::judge::Logs;
use crate::world::World;

/// Orders of a run, at most.
const ORDERS_MAX: u32 = 1_000;

/// What the modules believe of the orders.
struct Books {
    orders: BTreeMap<OrderId, OrderTotals>,
    payments: BTreeMap<OrderId, PaymentTotals>,
    reservations: BTreeMap<OrderId, ReservationState>,
    /// Units on hand and reserved.
    stock: BTreeMap<SkuId, (i64, i64)>,
    /// Units that came back with a refund.
    restocked: BTreeMap<SkuId, i64>,
}

// === impl World: books ===

impl World {
    pub(crate) async fn judge_orders(&mut self, logs: &Logs) -> Result<Vec<String>, JournalError> {
        let database = |module| self.hosts[self.index_of(module)].up.as_ref().map(|up| &up.database);
        let (Some(order), Some(payment), Some(product)) = (database("order"), database("payment"), database("product"))
        else {
            return Ok(vec!["a module is down".to_owned()]);
        };
        let books = Books::read(order, payment, product).await?;
        let mut breaches = self.accepted_orders(&books);
        breaches.extend(settled_once(&books, logs));
        breaches.extend(books.orders.values().flat_map(|order| books.judge_order(order)));
        breaches.extend(books.judge_ledger(&self.till.summary()));
        breaches.extend(books.charged_in_vain(logs));
        breaches.extend(self.judge_stock(&books));
        for order in books.orders.values() {
            *self.counts.orders.entry(order.state.as_str()).or_insert(0) += 1;
        }
        let refunds = logs.get("order").into_iter().flatten().filter(|message| message.subject == Refunded::SUBJECT);
        self.counts.refunds += refunds.count() as u64;
        Ok(breaches)
    }

    /// The orders that clients were told of are the orders that there are, for the sum that they were told.
    fn accepted_orders(&self, books: &Books) -> Vec<String> {
        let told = self.clients.accepted();
        let mut breaches = Vec::new();
        for (id, body) in &told {
            match books.orders.get(id) {
                None => breaches.push(format!("{id} was accepted, and is lost")),
                Some(order) if body["total"]["amount"].as_i64() != Some(order.total.amount) => {
                    breaches.push(format!("{id} was accepted for {}, and is of {}", body["total"], order.total));
                }
                Some(_) => {}
            }
            let line = |line: &Value| Some(line["unit_price"]["amount"].as_i64()? * line["quantity"].as_i64()?);
            let sum: Option<i64> = body["lines"].as_array().into_iter().flatten().map(line).sum();
            if sum != body["total"]["amount"].as_i64() {
                breaches.push(format!("{id} costs {}, and its lines add up to {sum:?}", body["total"]));
            }
        }
        let strangers = books.orders.keys().filter(|id| !told.contains_key(id));
        breaches.extend(strangers.map(|id| format!("{id} is an order that nobody was told of")));
        breaches
    }

    /// What is on hand is what there was, plus what was counted and came back, less what was sold.
    fn judge_stock(&self, books: &Books) -> Vec<String> {
        let mut expected: BTreeMap<SkuId, i64> =
            STOCK.iter().map(|(code, units)| (SkuId::from_code(code), *units)).collect();
        for request in &self.clients.requests {
            if let (Asks::Adjust { sku, delta }, Some(answer)) = (&request.asks, &request.answer)
                && answer.is_success()
            {
                *expected.entry(sku.clone()).or_insert(0) += delta;
            }
        }
        for (id, body) in self.clients.accepted() {
            let state = books.orders.get(&id).map(|order| order.state);
            if !matches!(state, Some(State::Confirmed | State::Refunded)) {
                continue;
            }
            for line in body["lines"].as_array().into_iter().flatten() {
                let sku = line["sku_id"].as_str().and_then(|sku| sku.parse::<SkuId>().ok());
                let (Some(sku), Some(quantity)) = (sku, line["quantity"].as_i64()) else { continue };
                *expected.entry(sku).or_insert(0) -= quantity;
            }
        }
        for (sku, units) in &books.restocked {
            *expected.entry(sku.clone()).or_insert(0) += units;
        }
        let mut breaches = Vec::new();
        for (sku, (on_hand, reserved)) in &books.stock {
            let due = expected.get(sku).copied().unwrap_or_default();
            if *on_hand != due || *reserved != 0 || *on_hand < 0 {
                breaches.push(format!("{sku}: {on_hand} on hand and {reserved} reserved, where {due} and 0 are due"));
            }
        }
        breaches
    }
}

// === impl Books ===

impl Books {
    async fn read(order: &Database, payment: &Database, product: &Database) -> Result<Self, JournalError> {
        let orders = pangaea_order::totals(order, None, ORDERS_MAX).await?;
        let payments = pangaea_payment::totals(payment, None, None, ORDERS_MAX).await?;
        let reservations = pangaea_product::reservations(product, None, None, ORDERS_MAX).await?;
        let mut stock = BTreeMap::new();
        for row in product.fetch(Statement::new("SELECT sku_id, on_hand, reserved FROM stock")).await? {
            stock.insert(row.get(0)?, (row.get(1)?, row.get(2)?));
        }
        let mut restocked = BTreeMap::new();
        for row in order.fetch(Statement::new("SELECT lines FROM refund WHERE restock = 'done'")).await? {
            let lines: Value = serde_json::from_str(&row.get::<String>(0)?).unwrap_or_default();
            for line in lines.as_array().into_iter().flatten() {
                let sku = line["sku_id"].as_str().and_then(|sku| sku.parse::<SkuId>().ok());
                let (Some(sku), Some(quantity)) = (sku, line["quantity"].as_i64()) else { continue };
                *restocked.entry(sku).or_insert(0) += quantity;
            }
        }
        Ok(Self {
            orders: orders.into_iter().map(|order| (order.order_id.clone(), order)).collect(),
            payments: payments.into_iter().map(|payment| (payment.order_id.clone(), payment)).collect(),
            reservations: reservations.into_iter().map(|one| (one.order_id, one.state)).collect(),
            stock,
            restocked,
        })
    }

    fn judge_order(&self, order: &OrderTotals) -> Vec<String> {
        let id = &order.order_id;
        let mut breaches = Vec::new();
        let payment = self.payments.get(id);
        let reservation = self.reservations.get(id).copied();
        match order.state {
            State::Confirmed | State::Refunded => {
                let money = payment.map(|payment| (payment.captured, payment.refunded, payment.held));
                let due = Some((order.total.amount, order.refunded.amount, 0));
                if money != due || order.captured != order.total {
                    breaches.push(format!(
                        "{id} is {} with {money:?} captured, refunded and held; due is {due:?}",
                        order.state
                    ));
                }
                if reservation != Some(ReservationState::Committed) {
                    breaches.push(format!("{id} is {}, and its reservation {reservation:?}", order.state));
                }
            }
            State::Cancelled => {
                if let Some(payment) =
                    payment.filter(|payment| payment.held > 0 || payment.captured != payment.refunded)
                {
                    breaches.push(format!("{id} is cancelled, and its money is not free: {payment:?}"));
                }
                if matches!(reservation, Some(ReservationState::Open | ReservationState::Committed)) {
                    breaches.push(format!("{id} is cancelled, and its reservation {reservation:?}"));
                }
            }
            state => breaches.push(format!("{id} is {state}, and nothing is left to do")),
        }
        if order.refund_pending.amount != 0 || payment.is_some_and(|payment| payment.under_way) {
            breaches.push(format!("{id} has money under way, and nothing is left to do: {payment:?}"));
        }
        breaches
    }

    /// The provider has charged each order once at most, holds nothing, and has moved what payment believes.
    fn judge_ledger(&self, ledger: &LedgerSummary) -> Vec<String> {
        let mut breaches: Vec<String> = Vec::new();
        breaches.extend(ledger.double_captures.iter().map(|double| format!("charged more than once: {double:?}")));
        breaches.extend(ledger.overdrawn.iter().map(|intent| format!("{intent} is overdrawn")));
        breaches.extend(ledger.orphaned_authorizations.iter().map(|intent| format!("{intent} is held for nobody")));
        for (id, payment) in &self.payments {
            let moved = ledger.references.get(id.as_str());
            let amounts = moved.into_iter().flat_map(|reference| reference.amounts.values());
            let (captured, refunded) =
                amounts.fold((0, 0), |(captured, refunded), one| (captured + one.captured, refunded + one.refunded));
            if (captured, refunded) != (i128::from(payment.captured), i128::from(payment.refunded)) {
                breaches.push(format!(
                    "{id}: the provider has taken {captured} and given back {refunded}, payment {} and {}",
                    payment.captured, payment.refunded
                ));
            }
        }
        let strangers = ledger.references.keys().filter(|name| {
            !name.parse::<OrderId>().is_ok_and(|id| self.payments.contains_key(&id) && self.orders.contains_key(&id))
        });
        breaches.extend(strangers.map(|name| format!("the provider knows {name}, the store does not")));
        breaches
    }

    /// Money is taken last: an order that ends without a person's help and without goods was never charged.
    fn charged_in_vain(&self, logs: &Logs) -> Vec<String> {
        let reviewed = |order: &&OrderTotals| {
            let mut said = logs.get("order").into_iter().flatten();
            said.any(|message| message.subject == ManualReview::SUBJECT && message.key == order.order_id.as_str())
        };
        let cancelled = self.orders.values().filter(|order| order.state == State::Cancelled);
        let charged = cancelled.filter(|order| !reviewed(order)).filter_map(|order| {
            let payment = self.payments.get(&order.order_id).filter(|payment| payment.captured > 0)?;
            Some(format!("{} is cancelled, and {} had been taken for it", order.order_id, payment.captured))
        });
        charged.collect()
    }
}

/// An order is confirmed or cancelled, once.
fn settled_once(books: &Books, logs: &Logs) -> Vec<String> {
    let mut ends: BTreeMap<&str, u32> = BTreeMap::new();
    for message in logs.get("order").into_iter().flatten() {
        if [Confirmed::SUBJECT, Cancelled::SUBJECT].contains(&message.subject.as_str()) {
            *ends.entry(message.key.as_str()).or_insert(0) += 1;
        }
    }
    let wrong = books.orders.keys().filter(|id| ends.get(id.as_str()) != Some(&1));
    wrong.map(|id| format!("{id} has ended {} times", ends.get(id.as_str()).copied().unwrap_or_default())).collect()
}
