//! What to send, worked out before anything is sent: orders, refunds and adjustments in file order.

use std::collections::HashMap;
use std::path::Path;

use anyhow::Result;

use super::classify::{Decision, Take, fold_code};
use super::csv::Line;
use super::source::{self, ContentHash};
use super::table::Table;

/// Everything that one file asks of the store.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) hash: ContentHash,
    pub(crate) orders: Vec<PlannedOrder>,
    pub(crate) steps: Vec<Step>,
    pub(crate) table: Table,
}

/// The accepted sale lines of one invoice. An invoice whose lines name several customers (none seen so far) becomes one
/// order for each, because an order has one customer.
#[derive(Debug)]
pub(crate) struct PlannedOrder {
    pub(crate) invoice: String,
    /// A guest's order when absent.
    pub(crate) customer: Option<String>,
    pub(crate) lines: Vec<PlannedLine>,
}

/// One line of an order; its place in the order, from 1, is its line number in the API.
#[derive(Debug)]
pub(crate) struct PlannedLine {
    pub(crate) code: String,
    pub(crate) units: i64,
    pub(crate) unit_price_pence: i64,
}

/// One thing to do; steps are in the order of the file's lines.
#[derive(Debug)]
pub(crate) enum Step {
    /// Place the order at this place of [`Plan::orders`]; stands where the invoice's first accepted line stands.
    Order(usize),
    Refund(PlannedRefund),
    Adjustment(PlannedAdjustment),
}

/// One cancellation line: a request for each order whose lines it takes, newest first.
#[derive(Debug)]
pub(crate) struct PlannedRefund {
    pub(crate) file_line: u64,
    pub(crate) invoice: String,
    pub(crate) parts: Vec<RefundPart>,
}

#[derive(Debug)]
pub(crate) struct RefundPart {
    /// Place in [`Plan::orders`].
    pub(crate) order: usize,
    /// Line of the order, from 1, and units.
    pub(crate) lines: Vec<(usize, i64)>,
    pub(crate) pence: i64,
}

#[derive(Debug)]
pub(crate) struct PlannedAdjustment {
    pub(crate) file_line: u64,
    pub(crate) code: String,
    /// Units that leave the stock.
    pub(crate) units: i64,
}

#[derive(Debug, Default)]
struct Planner {
    orders: Vec<PlannedOrder>,
    steps: Vec<Step>,
    /// The order of an invoice and customer.
    places: HashMap<(String, Option<String>), usize>,
    /// Order and line of each accepted sale line.
    sales: Vec<(usize, usize)>,
}

// === impl Plan ===

impl Plan {
    /// Reads the file and plans it.
    ///
    /// # Errors
    /// As [`source::read`].
    pub(crate) fn of(path: &Path) -> Result<Self> {
        let hash = ContentHash::of(path)?;
        let mut planner = Planner::default();
        let table = source::read(path, |line, decision| planner.add(line, decision))?;
        Ok(Self { hash, orders: planner.orders, steps: planner.steps, table })
    }
}

// === impl PlannedOrder ===

impl PlannedOrder {
    pub(crate) fn total_pence(&self) -> i64 {
        self.lines.iter().map(|line| line.units * line.unit_price_pence).sum()
    }
}

// === impl Planner ===

impl Planner {
    fn add(&mut self, line: &Line, decision: &Decision) {
        match decision {
            Decision::Sale { units, unit_price_pence, .. } => self.add_sale(line, *units, *unit_price_pence),
            Decision::Refund { takes, unit_price_pence } => {
                let parts = self.parts(takes, *unit_price_pence);
                let (file_line, invoice) = (line.number, line.invoice.clone());
                self.steps.push(Step::Refund(PlannedRefund { file_line, invoice, parts }));
            }
            Decision::Adjustment { units } => {
                let (file_line, code) = (line.number, fold_code(&line.code));
                self.steps.push(Step::Adjustment(PlannedAdjustment { file_line, code, units: *units }));
            }
            Decision::Rejected(_) => {}
        }
    }

    fn add_sale(&mut self, line: &Line, units: i64, unit_price_pence: i64) {
        let next = self.orders.len();
        let place = *self.places.entry((line.invoice.clone(), line.customer.clone())).or_insert(next);
        if place == next {
            let (invoice, customer) = (line.invoice.clone(), line.customer.clone());
            self.orders.push(PlannedOrder { invoice, customer, lines: Vec::new() });
            self.steps.push(Step::Order(place));
        }
        let lines = &mut self.orders[place].lines;
        lines.push(PlannedLine { code: line.code.clone(), units, unit_price_pence });
        self.sales.push((place, lines.len()));
    }

    fn parts(&self, takes: &[Take], unit_price_pence: i64) -> Vec<RefundPart> {
        let mut parts: Vec<RefundPart> = Vec::new();
        for take in takes {
            let (order, line) = self.sales[take.sale];
            let place = parts.iter().position(|part| part.order == order).unwrap_or_else(|| {
                parts.push(RefundPart { order, lines: Vec::new(), pence: 0 });
                parts.len() - 1
            });
            parts[place].lines.push((line, take.units));
            parts[place].pence += take.units * unit_price_pence;
        }
        parts
    }
}
