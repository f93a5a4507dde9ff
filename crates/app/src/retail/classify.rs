//! The outcome of each line of the file. Pure and synchronous: lines go in one by one in file order, decisions come out.

use std::collections::HashMap;

use super::csv::Line;
use super::money::Price;

/// What becomes of a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// An order line. `sale` counts the accepted sale lines from 0; refunds name it.
    Sale {
        sale: usize,
        units: i64,
        unit_price_pence: i64,
    },
    /// Units given back from earlier sale lines, newest first.
    Refund {
        takes: Vec<Take>,
        unit_price_pence: i64,
    },
    /// Units that leave the stock without money; never negative.
    Adjustment {
        units: i64,
    },
    Rejected(Rejection),
}

/// Units that a refund takes from one accepted sale line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Take {
    pub(crate) sale: usize,
    pub(crate) units: i64,
}

/// Why a line is not accepted; cancellations are told apart from sales because the table does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rejection {
    SaleNotAProduct,
    SaleNotASale,
    SaleSubPenny,
    RefundNoEarlierSale,
    RefundNotAProduct,
    RefundNoCustomer,
    RefundSubPenny,
}

/// Remembers the accepted sales that still have units for a refund to take.
#[derive(Debug, Default)]
pub(crate) struct Classifier {
    sales: usize,
    open: HashMap<SaleKey, Vec<Take>>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SaleKey {
    customer: Option<String>,
    code: String,
    price: Price,
}

// === impl Classifier ===

impl Classifier {
    /// Decides the next line of the file: the first rule that fits.
    pub(crate) fn decide(&mut self, line: &Line) -> Decision {
        if line.invoice.starts_with('C') {
            return self.decide_cancellation(line);
        }
        if line.invoice.starts_with('A') || line.price.is_negative() {
            return Decision::Rejected(Rejection::SaleNotASale);
        }
        if !is_product_code(&line.code) {
            return Decision::Rejected(Rejection::SaleNotAProduct);
        }
        if line.price.is_zero() || line.quantity <= 0 {
            return Decision::Adjustment { units: line.quantity.abs() };
        }
        let Some(unit_price_pence) = line.price.pence() else {
            return Decision::Rejected(Rejection::SaleSubPenny);
        };
        let sale = self.sales;
        self.sales += 1;
        self.open.entry(SaleKey::of(line)).or_default().push(Take { sale, units: line.quantity });
        Decision::Sale { sale, units: line.quantity, unit_price_pence }
    }

    fn decide_cancellation(&mut self, line: &Line) -> Decision {
        if !is_product_code(&line.code) {
            return Decision::Rejected(Rejection::RefundNotAProduct);
        }
        let Some(unit_price_pence) = line.price.pence() else {
            return Decision::Rejected(Rejection::RefundSubPenny);
        };
        if line.customer.is_none() {
            return Decision::Rejected(Rejection::RefundNoCustomer);
        }
        match self.open.get_mut(&SaleKey::of(line)).and_then(|open| take_newest(open, -line.quantity)) {
            Some(takes) => Decision::Refund { takes, unit_price_pence },
            None => Decision::Rejected(Rejection::RefundNoEarlierSale),
        }
    }
}

impl SaleKey {
    fn of(line: &Line) -> Self {
        Self { customer: line.customer.clone(), code: fold_code(&line.code), price: line.price }
    }
}

/// The form in which codes that differ only in case are one.
pub(crate) fn fold_code(code: &str) -> String {
    code.to_ascii_uppercase()
}

/// Five digits, then nothing but letters: everything else is postage, a fee or a voucher.
fn is_product_code(code: &str) -> bool {
    let bytes = code.as_bytes();
    bytes.len() >= 5 && bytes[..5].iter().all(u8::is_ascii_digit) && bytes[5..].iter().all(u8::is_ascii_alphabetic)
}

/// Takes `wanted` units from the end of `open`, or nothing at all when too few are left.
fn take_newest(open: &mut Vec<Take>, mut wanted: i64) -> Option<Vec<Take>> {
    if wanted <= 0 || open.iter().map(|sale| sale.units).sum::<i64>() < wanted {
        return None;
    }
    let mut takes = Vec::new();
    while wanted > 0 {
        let newest = open.last_mut()?;
        let units = wanted.min(newest.units);
        takes.push(Take { sale: newest.sale, units });
        wanted -= units;
        newest.units -= units;
        if newest.units == 0 {
            open.pop();
        }
    }
    Some(takes)
}
