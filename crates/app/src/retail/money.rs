//! Exact money of the file: prices finer than a penny exist there, so nothing is rounded and no float is used.

use std::fmt;
use std::ops::{AddAssign, Mul};

/// Digits after the point that a price may carry; trailing zeros do not count.
pub(crate) const PRICE_DECIMALS_MAX: usize = 8;
const WHOLE_DIGITS_MAX: usize = 9;
const UNITS_PER_POUND: i128 = 100_000_000;
const UNITS_PER_PENNY: i64 = 1_000_000;

/// A unit price in hundred-millionths of a pound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Price(i64);

/// A sum in hundred-millionths of a pound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Amount(i128);

// === impl Price ===

impl Price {
    /// Reads a decimal number such as `2.55` or `-0.001`.
    ///
    /// # Errors
    /// A sentence that says what is wrong: not a decimal number, or more than eight decimals.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let not_a_number = || format!("UnitPrice {text:?} is not a decimal number");
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || whole.len() > WHOLE_DIGITS_MAX || !all_digits(whole) || !all_digits(decimals) {
            return Err(not_a_number());
        }
        let decimals = decimals.trim_end_matches('0');
        if decimals.len() > PRICE_DECIMALS_MAX {
            return Err(format!("UnitPrice {text:?} has more than {PRICE_DECIMALS_MAX} decimals"));
        }
        // At most nine whole digits and eight decimals: seventeen digits always fit.
        let units: i64 = format!("{whole}{decimals:0<PRICE_DECIMALS_MAX$}").parse().map_err(|_| not_a_number())?;
        Ok(Self(if negative { -units } else { units }))
    }

    pub(crate) fn is_zero(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// The price in pence, or nothing when it has a fraction of a penny.
    pub(crate) fn pence(self) -> Option<i64> {
        (self.0 % UNITS_PER_PENNY == 0).then_some(self.0 / UNITS_PER_PENNY)
    }
}

impl Mul<i64> for Price {
    type Output = Amount;

    fn mul(self, units: i64) -> Amount {
        Amount(i128::from(self.0) * i128::from(units))
    }
}

// === impl Amount ===

impl Amount {
    pub(crate) fn from_pence(pence: i64) -> Self {
        Self(i128::from(pence) * i128::from(UNITS_PER_PENNY))
    }

    /// The plain decimal: at least two decimals, and as many more as the sum really has.
    pub(crate) fn decimal(self) -> String {
        let (sign, whole, decimals) = self.parts();
        format!("{sign}{whole}.{decimals}")
    }

    fn parts(self) -> (&'static str, String, String) {
        let units = self.0.unsigned_abs();
        let whole = units / UNITS_PER_POUND.unsigned_abs();
        let decimals = format!("{:0>PRICE_DECIMALS_MAX$}", units % UNITS_PER_POUND.unsigned_abs());
        let decimals = format!("{:0<2}", decimals.trim_end_matches('0'));
        (if self.0 < 0 { "-" } else { "" }, whole.to_string(), decimals)
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

/// For people: `-£8,013.72`.
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, whole, decimals) = self.parts();
        write!(f, "{sign}£{}.{decimals}", grouped(&whole))
    }
}

/// Digits in groups of three: `1234567` becomes `1,234,567`.
pub(crate) fn grouped(digits: &str) -> String {
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
