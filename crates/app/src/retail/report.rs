//! The end of a run: the outcome table, and whether the store's figures equal the file's.

use serde::Serialize;

use super::flight::Accepted;
use super::money::{Amount, grouped};
use super::table::{Outcome, Table, TableJson};

/// Refusals printed one by one as text; JSON has them all.
const REFUSALS_SHOWN: usize = 50;

/// Captured minus refunded, in pence, before and after the run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ledger {
    pub(crate) before_pence: i64,
    pub(crate) after_pence: i64,
}

/// What was sent, what the store made of it, and the comparison of the two.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    table: &'a Table,
    accepted: &'a Accepted,
    checks: Vec<Check>,
}

/// Two figures that must be equal, as text.
#[derive(Debug, Serialize)]
pub(crate) struct Check {
    check: &'static str,
    expected: String,
    found: String,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
}

#[derive(Serialize)]
struct ReportJson<'a> {
    #[serde(flatten)]
    table: TableJson,
    orders: u64,
    checks: &'a [Check],
    refusals: &'a [String],
    ok: bool,
}

// === impl Report ===

impl<'a> Report<'a> {
    pub(crate) fn new(table: &'a Table, accepted: &'a Accepted, ledger: Ledger) -> Self {
        let (sales, refunds) = (table.of(Outcome::SalesAccepted), table.of(Outcome::RefundsAccepted));
        let adjustments = table.of(Outcome::Adjustments);
        let checks = vec![
            Check::lines("lines sold by the store = sales accepted", sales.lines, accepted.sale_lines),
            Check::sum("sum of confirmed orders = sales accepted", sales.sum, accepted.sales_pence),
            Check::lines("lines refunded by the store = refunds accepted", refunds.lines, accepted.refund_lines),
            Check::sum("sum of succeeded refunds = refunds accepted", refunds.sum, -accepted.refunds_pence),
            Check::lines("adjustments made by the store = adjustments", adjustments.lines, accepted.adjustment_lines),
            Check::ledger(table, accepted, ledger),
            Check::control_total(table),
        ];
        Self { table, accepted, checks }
    }

    /// Nothing was refused and every figure agrees.
    pub(crate) fn is_ok(&self) -> bool {
        self.accepted.refusals.is_empty() && self.checks.iter().all(|check| check.ok)
    }

    /// # Errors
    /// Never in practice: the report has only texts and numbers.
    pub(crate) fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(&ReportJson {
            table: self.table.json(),
            orders: self.accepted.orders,
            checks: &self.checks,
            refusals: &self.accepted.refusals,
            ok: self.is_ok(),
        })
    }

    pub(crate) fn text(&self) -> String {
        let mut text = format!("{}\n{} orders placed\n", self.table.text(), grouped(&self.accepted.orders.to_string()));
        for check in &self.checks {
            let relation = if check.ok { "ok " } else { "NOT" };
            text.push_str(&format!("{relation} {}: {}", check.check, check.expected));
            if !check.ok || check.found != check.expected {
                text.push_str(&format!(", found {}", check.found));
            }
            if let Some(note) = check.note {
                text.push_str(&format!(" ({note})"));
            }
            text.push('\n');
        }
        let refusals = &self.accepted.refusals;
        if !refusals.is_empty() {
            text.push_str(&format!("{} refused by the store:\n", refusals.len()));
        }
        for refusal in refusals.iter().take(REFUSALS_SHOWN) {
            text.push_str(&format!("  {refusal}\n"));
        }
        if let Some(more @ 1..) = refusals.len().checked_sub(REFUSALS_SHOWN) {
            text.push_str(&format!("  and {more} more (all of them with --json)\n"));
        }
        text
    }
}

// === impl Check ===

impl Check {
    fn lines(check: &'static str, expected: u64, found: u64) -> Self {
        Self { check, expected: expected.to_string(), found: found.to_string(), ok: expected == found, note: None }
    }

    fn sum(check: &'static str, expected: Amount, found_pence: i64) -> Self {
        let found = Amount::from_pence(found_pence);
        Self { check, expected: expected.to_string(), found: found.to_string(), ok: expected == found, note: None }
    }

    /// When an earlier run had sent a part, its money may have moved then or, had that run been cut short, now: replayed
    /// answers widen what the ledger may have moved. In a first run the two figures are equal.
    fn ledger(table: &Table, accepted: &Accepted, ledger: Ledger) -> Self {
        let mut expected = table.of(Outcome::SalesAccepted).sum;
        expected += table.of(Outcome::RefundsAccepted).sum;
        let found = Amount::from_pence(ledger.after_pence - ledger.before_pence);
        let (mut low, mut high) = (expected, expected);
        if accepted.from_earlier_run {
            low += Amount::from_pence(-accepted.replayed_sales_pence);
            high += Amount::from_pence(accepted.replayed_refunds_pence);
        }
        Self {
            check: "ledger captured - refunded = sales + refunds accepted",
            expected: expected.to_string(),
            found: found.to_string(),
            ok: (low..=high).contains(&found),
            note: accepted.from_earlier_run.then_some("a part had been placed by an earlier run"),
        }
    }

    fn control_total(table: &Table) -> Self {
        let (all, together) = (table.all(), table.together());
        Self {
            check: "all outcomes together = control total of the file",
            expected: all.sum.to_string(),
            found: together.sum.to_string(),
            ok: all == together,
            note: None,
        }
    }
}
