//! Which units may still be refunded, and for how much. Pure.

use std::fmt;
use std::str::FromStr;

use pangaea_contracts::SkuId;
use pangaea_contracts::order::RefundLine;
use pangaea_contracts::product::StockLine;
use pangaea_kernel::{Problem, ProblemKind};
use serde::{Deserialize, Serialize};

use crate::placing::{Faults, Line};

/// Units of one line that come back, as stored with their refund.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReturnedLine {
    pub(crate) line: u32,
    pub(crate) sku_id: SkuId,
    pub(crate) quantity: i64,
    /// Minor units.
    pub(crate) amount: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RefundState {
    /// Payment has been asked.
    Pending,
    Succeeded,
    Refused,
}

/// Whether the units of a refund go back into the stock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restocking {
    None,
    /// Once the refund has succeeded.
    Wanted,
    /// Product has been asked.
    Sent,
    Done,
}

/// What becomes of units whose refund was pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Succeeded,
    Refused,
}

/// Decides which units a refund covers: those asked for, or all that are left.
///
/// # Errors
/// 422 for lines that do not exist or have fewer units left, 409 when nothing is left or the sum exceeds `available`: what
/// was captured and is neither refunded nor about to be, in minor units.
pub(crate) fn decide(
    lines: &[Line],
    asked: &[RefundLine],
    available: i64,
) -> Result<(Vec<ReturnedLine>, i64), Problem> {
    let returned = if asked.is_empty() { all_left(lines) } else { chosen(lines, asked)? };
    if returned.is_empty() {
        return Err(Problem::new(ProblemKind::Conflict, "everything of this order is refunded or about to be"));
    }
    let amount: i64 = returned.iter().fold(0, |sum, line| sum.saturating_add(line.amount));
    if amount == 0 {
        return Err(Problem::invalid("/lines", "these units cost nothing; there is no money to give back"));
    }
    if amount > available {
        let detail = format!("this would give back {amount} where {available} is left of what was captured");
        return Err(Problem::new(ProblemKind::Conflict, detail));
    }
    Ok((returned, amount))
}

/// Marks the units of a refund as under way.
pub(crate) fn begin(lines: &mut [Line], returned: &[ReturnedLine]) {
    each(lines, returned, |line, quantity| line.refund_pending += quantity);
}

/// Moves the units of a refund out of `refund_pending`.
pub(crate) fn end(lines: &mut [Line], returned: &[ReturnedLine], outcome: Outcome) {
    each(lines, returned, |line, quantity| {
        line.refund_pending -= quantity;
        if outcome == Outcome::Succeeded {
            line.refunded += quantity;
        }
    });
}

pub(crate) fn stock_lines(returned: &[ReturnedLine]) -> Vec<StockLine> {
    returned.iter().map(|line| StockLine { sku_id: line.sku_id.clone(), quantity: line.quantity }).collect()
}

fn each(lines: &mut [Line], returned: &[ReturnedLine], change: impl Fn(&mut Line, i64)) {
    for one in returned {
        if let Some(line) = lines.iter_mut().find(|line| line.line == one.line) {
            change(line, one.quantity);
        }
    }
}

fn all_left(lines: &[Line]) -> Vec<ReturnedLine> {
    lines.iter().filter(|line| line.left() > 0).map(|line| line.returned(line.left())).collect()
}

/// A line named twice counts as one of both quantities.
fn chosen(lines: &[Line], asked: &[RefundLine]) -> Result<Vec<ReturnedLine>, Problem> {
    let mut faults = Faults::default();
    let mut returned: Vec<ReturnedLine> = Vec::with_capacity(asked.len());
    for (index, ask) in asked.iter().enumerate() {
        let Some(line) = lines.iter().find(|line| line.line == ask.line) else {
            faults.add(format!("/lines/{index}/line"), format!("the order has lines 1 to {}", lines.len()));
            continue;
        };
        let before = returned.iter().position(|one| one.line == ask.line);
        let quantity = before.map_or(0, |place| returned[place].quantity).saturating_add(ask.quantity);
        if quantity > line.left() {
            let detail = format!("line {} has {} units that are not refunded or about to be", line.line, line.left());
            faults.add(format!("/lines/{index}/quantity"), detail);
            continue;
        }
        match before {
            Some(place) => returned[place] = line.returned(quantity),
            None => returned.push(line.returned(quantity)),
        }
    }
    faults.into_result("these units cannot be refunded")?;
    Ok(returned)
}

// === impl Line ===

impl Line {
    /// Units neither refunded nor about to be.
    pub(crate) fn left(&self) -> i64 {
        self.quantity - self.refunded - self.refund_pending
    }

    /// No overflow: the order's total, which is larger, was computed with checks.
    fn returned(&self, quantity: i64) -> ReturnedLine {
        let amount = self.unit_price.saturating_mul(quantity);
        ReturnedLine { line: self.line, sku_id: self.sku_id.clone(), quantity, amount }
    }
}

// === impl RefundState ===

impl fmt::Display for RefundState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RefundState::Pending => "pending",
            RefundState::Succeeded => "succeeded",
            RefundState::Refused => "refused",
        })
    }
}

impl FromStr for RefundState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [RefundState::Pending, RefundState::Succeeded, RefundState::Refused];
        all.into_iter()
            .find(|state| state.to_string() == text)
            .ok_or_else(|| format!("{text:?} is not a state of a refund"))
    }
}

// === impl Restocking ===

impl fmt::Display for Restocking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Restocking::None => "none",
            Restocking::Wanted => "wanted",
            Restocking::Sent => "sent",
            Restocking::Done => "done",
        })
    }
}

impl FromStr for Restocking {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Restocking::None, Restocking::Wanted, Restocking::Sent, Restocking::Done];
        all.into_iter()
            .find(|state| state.to_string() == text)
            .ok_or_else(|| format!("{text:?} is not a state of restocking"))
    }
}

#[cfg(test)]
#[path = "refunding_tests.rs"]
mod tests;
