//! What an order may consist of, and what it costs. Pure.

use pangaea_contracts::order::{OrderedLine, PlaceLine, PlaceOrder};
use pangaea_contracts::product::StockLine;
use pangaea_contracts::{Currency, Money, MoneyError, SkuId};
use pangaea_faults::{Change, Plant, changed, planted, unguarded};
use pangaea_kernel::{Failure, Problem, ProblemKind};
use serde::{Deserialize, Serialize};

use crate::changes::rounded_up;
use crate::store::SkuPrice;

pub(crate) const LINES_MAX: usize = 1_000;
pub(crate) const QUANTITY_MAX: i64 = 1_000_000;
/// Minor units of one unit's price, at most: so that a line's sum is far from overflowing.
pub(crate) const UNIT_PRICE_MAX: i64 = 1_000_000_000_000;
/// Faults named in one answer, at most.
const FAULTS_MAX: usize = 50;

/// A line as ordered, as it is stored: JSON within the order's row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) line: u32,
    pub(crate) sku_id: SkuId,
    pub(crate) code: String,
    pub(crate) quantity: i64,
    /// Minor units of the order's currency.
    pub(crate) unit_price: i64,
    /// Set by staff in place of the catalogue's price.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) price_override: bool,
    /// Units whose refund has succeeded.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) refunded: i64,
    /// Units whose refund is under way.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) refund_pending: i64,
}

/// What an order costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Priced {
    pub(crate) lines: Vec<Line>,
    pub(crate) total: Money,
}

/// Gives every line its price. Lines stay as they were ordered, in their order.
///
/// # Errors
/// 422 with a pointer to every line that is unknown, withdrawn or of another currency; or when nothing is to be paid.
pub(crate) fn price(lines: &[PlaceLine], prices: &[Option<SkuPrice>]) -> Result<Priced, Problem> {
    let mut faults = Faults::default();
    let mut priced = Vec::with_capacity(lines.len());
    let mut total: Option<Money> = None;
    for (index, (line, known)) in lines.iter().zip(prices).enumerate() {
        let offer = match known {
            Some(offer) if !offer.withdrawn => offer,
            Some(_) => {
                faults.add(format!("/lines/{index}/sku"), format!("{:?} is no longer sold", line.sku));
                continue;
            }
            None => {
                faults.add(
                    format!("/lines/{index}/sku"),
                    format!("{:?} is not sold here; send a SKU's id or code", line.sku),
                );
                continue;
            }
        };
        let unit_price = line.unit_price.unwrap_or(Money::new(offer.unit_price, offer.currency));
        let unit_price = if changed(Change::WrongRounding) { rounded_up(unit_price) } else { unit_price };
        let sum =
            line_total(unit_price, line.quantity).and_then(|sum| total.unwrap_or(Money::zero(sum.currency)).plus(sum));
        match sum {
            Ok(sum) => total = Some(sum),
            Err(error) => {
                faults.add(format!("/lines/{index}/unit_price"), format!("{error}; an order has one currency"))
            }
        }
        priced.push(Line {
            line: index as u32 + 1,
            sku_id: offer.sku_id.clone(),
            code: offer.code.clone(),
            quantity: line.quantity,
            unit_price: unit_price.amount,
            price_override: line.unit_price.is_some(),
            refunded: 0,
            refund_pending: 0,
        });
    }
    faults.into_result("some lines cannot be ordered")?;
    match total {
        Some(total) if total.amount > 0 => Ok(Priced { lines: priced, total }),
        _ => Err(Problem::invalid("/lines", "the order's total is zero; there is nothing to pay")),
    }
}

/// # Errors
/// When the sum does not fit.
fn line_total(unit_price: Money, quantity: i64) -> Result<Money, MoneyError> {
    if planted(Plant::FloatMoney) {
        // A planted bug: pounds as a floating-point number, and back.
        let pounds = unit_price.amount as f64 / 100.0 * quantity as f64;
        return Ok(Money::new((pounds * 100.0) as i64, unit_price.currency));
    }
    unit_price.times(quantity)
}

/// Whether the total is what the lines add up to, exactly: the last look before anybody is asked to pay it.
///
/// # Errors
/// When it is not: a bug.
pub(crate) fn check_total(priced: &Priced) -> Result<(), Failure> {
    let sum: i128 = priced.lines.iter().map(|line| i128::from(line.unit_price) * i128::from(line.quantity)).sum();
    if sum == i128::from(priced.total.amount) || unguarded(Plant::FloatMoney) {
        return Ok(());
    }
    Err(Failure::poison(format!("the lines add up to {sum}, the total is {}", priced.total.amount)))
}

/// Checks what needs no state: counts, bounds, lengths.
///
/// # Errors
/// 422 with a pointer to every field at fault.
pub(crate) fn check(order: &PlaceOrder) -> Result<(), Problem> {
    let mut faults = Faults::default();
    if order.lines.is_empty() || order.lines.len() > LINES_MAX {
        faults.add("/lines".into(), format!("an order has 1 to {LINES_MAX} lines, not {}", order.lines.len()));
    }
    for (index, line) in order.lines.iter().enumerate().take(LINES_MAX) {
        faults.text(&format!("/lines/{index}/sku"), &line.sku, 64);
        if !(1..=QUANTITY_MAX).contains(&line.quantity) {
            faults.add(format!("/lines/{index}/quantity"), format!("a quantity is from 1 to {QUANTITY_MAX}"));
        }
        if line.unit_price.is_some_and(|price| !(0..=UNIT_PRICE_MAX).contains(&price.amount)) {
            faults.add(
                format!("/lines/{index}/unit_price/amount"),
                format!("a price is from 0 to {UNIT_PRICE_MAX} minor units"),
            );
        }
    }
    faults.text("/payment_token", &order.payment_token, 200);
    if let Some(reference) = &order.customer_reference {
        faults.text("/customer_reference", reference, 200);
    }
    if let Some(address) = &order.shipping_address {
        faults.text("/shipping_address/name", &address.name, 200);
        faults.text("/shipping_address/line1", &address.line1, 200);
        if let Some(line2) = &address.line2 {
            faults.text("/shipping_address/line2", line2, 200);
        }
        faults.text("/shipping_address/city", &address.city, 200);
        if let Some(code) = &address.postal_code {
            faults.text("/shipping_address/postal_code", code, 20);
        }
        if address.country.len() != 2 || !address.country.bytes().all(|byte| byte.is_ascii_uppercase()) {
            faults.add("/shipping_address/country".into(), "a country is two capital letters (ISO 3166-1)".into());
        }
    }
    faults.into_result("the order is not acceptable as it stands")
}

/// What the lines take from the stock. The receiver sums lines of one SKU.
pub(crate) fn stock_lines(lines: &[Line]) -> Vec<StockLine> {
    lines.iter().map(|line| StockLine { sku_id: line.sku_id.clone(), quantity: line.quantity }).collect()
}

pub(crate) fn ordered_lines(lines: &[Line], currency: Currency) -> Vec<OrderedLine> {
    let ordered = |line: &Line| OrderedLine {
        line: line.line,
        sku_id: line.sku_id.clone(),
        quantity: line.quantity,
        unit_price: Money::new(line.unit_price, currency),
    };
    lines.iter().map(ordered).collect()
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

/// The fields at fault, up to a bound.
#[derive(Default)]
pub(crate) struct Faults(Vec<(String, String)>);

// === impl Faults ===

impl Faults {
    pub(crate) fn add(&mut self, pointer: String, detail: String) {
        if self.0.len() < FAULTS_MAX {
            self.0.push((pointer, detail));
        }
    }

    /// A text of 1 to `max` characters without control characters.
    pub(crate) fn text(&mut self, pointer: &str, text: &str, max: usize) {
        let sound = !text.trim().is_empty() && text.chars().count() <= max && !text.chars().any(char::is_control);
        if !sound {
            self.add(pointer.to_owned(), format!("send 1 to {max} printable characters"));
        }
    }

    /// # Errors
    /// 422 with all faults, when there are any.
    pub(crate) fn into_result(self, detail: &str) -> Result<(), Problem> {
        if self.0.is_empty() {
            return Ok(());
        }
        let problem = Problem::new(ProblemKind::Invalid, detail);
        Err(self.0.into_iter().fold(problem, |problem, (pointer, detail)| problem.with_field(pointer, detail)))
    }
}

#[cfg(test)]
#[path = "placing_tests.rs"]
mod tests;
