//! The outcome table: lines and sums per outcome, and the file's control total, counted apart from them.

use comfy_table::{CellAlignment, presets};
use serde::Serialize;

use super::classify::{Decision, Rejection};
use super::csv::Line;
use super::money::{Amount, grouped};

/// Rows of the table, in the order in which they are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    SalesAccepted,
    SalesRejected(Rejection),
    RefundsAccepted,
    RefundsRejected(Rejection),
    Adjustments,
}

/// Lines and their exact sum (quantity × unit price, signs as in the file).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) lines: u64,
    pub(crate) sum: Amount,
}

/// What became of every line of one file.
#[derive(Debug, Default)]
pub(crate) struct Table {
    tallies: [Tally; Outcome::ALL.len()],
    all: Tally,
    unreadable_lines: Vec<u64>,
}

/// The table as JSON; the same shape as `tests/retail/reconcile.py --json`.
#[derive(Debug, Serialize)]
pub(crate) struct TableJson {
    outcomes: Vec<RowJson>,
    unreadable_lines: Vec<u64>,
}

#[derive(Debug, Serialize)]
struct RowJson {
    outcome: &'static str,
    lines: u64,
    sum: String,
}

// === impl Outcome ===

impl Outcome {
    pub(crate) const ALL: [Self; 10] = [
        Self::SalesAccepted,
        Self::SalesRejected(Rejection::SaleNotAProduct),
        Self::SalesRejected(Rejection::SaleNotASale),
        Self::SalesRejected(Rejection::SaleSubPenny),
        Self::RefundsAccepted,
        Self::RefundsRejected(Rejection::RefundNoEarlierSale),
        Self::RefundsRejected(Rejection::RefundNotAProduct),
        Self::RefundsRejected(Rejection::RefundNoCustomer),
        Self::RefundsRejected(Rejection::RefundSubPenny),
        Self::Adjustments,
    ];

    fn of(decision: &Decision) -> Self {
        match decision {
            Decision::Sale { .. } => Self::SalesAccepted,
            Decision::Refund { .. } => Self::RefundsAccepted,
            Decision::Adjustment { .. } => Self::Adjustments,
            Decision::Rejected(
                rejection @ (Rejection::SaleNotAProduct | Rejection::SaleNotASale | Rejection::SaleSubPenny),
            ) => Self::SalesRejected(*rejection),
            Decision::Rejected(rejection) => Self::RefundsRejected(*rejection),
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::SalesAccepted => "sales accepted",
            Self::RefundsAccepted => "refunds accepted",
            Self::Adjustments => "adjustments",
            Self::SalesRejected(rejection) | Self::RefundsRejected(rejection) => match rejection {
                Rejection::SaleNotAProduct => "sales rejected: not a product",
                Rejection::SaleNotASale => "sales rejected: not a sale",
                Rejection::SaleSubPenny => "sales rejected: sub-penny price",
                Rejection::RefundNoEarlierSale => "refunds rejected: no earlier sale",
                Rejection::RefundNotAProduct => "refunds rejected: not a product",
                Rejection::RefundNoCustomer => "refunds rejected: no customer",
                Rejection::RefundSubPenny => "refunds rejected: sub-penny price",
            },
        }
    }
}

// === impl Tally ===

impl Tally {
    fn add(&mut self, sum: Amount) {
        self.lines += 1;
        self.sum += sum;
    }
}

// === impl Table ===

impl Table {
    pub(crate) fn count(&mut self, line: &Line, decision: &Decision) {
        let sum = line.price * line.quantity;
        let outcome = Outcome::of(decision);
        for (tally, of) in self.tallies.iter_mut().zip(Outcome::ALL) {
            if of == outcome {
                tally.add(sum);
            }
        }
        self.all.add(sum);
    }

    pub(crate) fn count_unreadable(&mut self, line_number: u64) {
        self.unreadable_lines.push(line_number);
    }

    pub(crate) fn of(&self, outcome: Outcome) -> Tally {
        let place = Outcome::ALL.iter().position(|of| *of == outcome);
        place.map(|place| self.tallies[place]).unwrap_or_default()
    }

    /// Every line that could be read, with the file's control total.
    pub(crate) fn all(&self) -> Tally {
        self.all
    }

    /// All outcomes added up; equals [`Table::all`] unless a line fell through the rules.
    pub(crate) fn together(&self) -> Tally {
        let mut together = Tally::default();
        for tally in &self.tallies {
            together.lines += tally.lines;
            together.sum += tally.sum;
        }
        together
    }

    pub(crate) fn unreadable_lines(&self) -> &[u64] {
        &self.unreadable_lines
    }

    pub(crate) fn json(&self) -> TableJson {
        let row = |outcome, tally: Tally| RowJson { outcome, lines: tally.lines, sum: tally.sum.decimal() };
        let mut outcomes: Vec<RowJson> =
            Outcome::ALL.iter().zip(self.tallies).map(|(of, tally)| row(of.label(), tally)).collect();
        outcomes.push(row("all", self.all));
        TableJson { outcomes, unreadable_lines: self.unreadable_lines.clone() }
    }

    /// The table for people; outcomes without a line are left out.
    pub(crate) fn text(&self) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY).set_header(["outcome", "lines", "sum"]);
        let filled = Outcome::ALL.iter().zip(self.tallies).filter(|(_, tally)| tally.lines > 0);
        for (label, tally) in filled.map(|(of, tally)| (of.label(), tally)).chain([("all", self.all)]) {
            table.add_row([label.to_owned(), grouped(&tally.lines.to_string()), tally.sum.to_string()]);
        }
        for column in [1, 2] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.to_string()
    }
}
