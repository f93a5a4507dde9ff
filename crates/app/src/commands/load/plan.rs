//! What is sent and when: a function of the seed alone.

use std::num::NonZeroU64;
use std::time::Duration;

use serde_json::{Value, json};

/// Orders of one run: the ids of those that are accepted are kept until they are settled.
pub(crate) const ORDERS_MAX: u64 = 4_000_000;
/// An open run may be planned for no more than this: as many come by chance, and none is to be left out in silence.
const ORDERS_PLANNED_MAX: f64 = ORDERS_MAX as f64 * 0.95;

/// A run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub mode: Mode,
    pub seed: u64,
    /// Orders to send; without it, and in any case, the duration is the end.
    pub orders: Option<NonZeroU64>,
    pub duration: Option<Duration>,
    /// Merchant codes to choose from; at least one.
    pub codes: Vec<String>,
    pub lines_max: u64,
    pub quantity_max: u64,
    pub payment_token: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// Orders a second, whatever the answers; evenly spaced when `fixed`.
    Open {
        rate: f64,
        fixed: bool,
        in_flight_max: u32,
    },
    Closed {
        workers: u32,
    },
}

/// Steps of the sequence that separate what is drawn for one purpose from another.
const ARRIVALS: u64 = 1;
const LINES: u64 = 2;

// === impl Plan ===

impl Plan {
    /// # Errors
    /// When the rate and the duration make more orders than a run may have: it would end early.
    pub(crate) fn check(&self) -> Result<(), String> {
        let (Mode::Open { rate, .. }, None, Some(duration)) = (self.mode, self.orders, self.duration) else {
            return Ok(());
        };
        let planned = rate * duration.as_secs_f64();
        if planned <= ORDERS_PLANNED_MAX {
            return Ok(());
        }
        Err(format!(
            "{planned:.0} orders are more than a run may have ({ORDERS_PLANNED_MAX:.0}): take a lower --rate or a shorter --duration-s"
        ))
    }

    /// Whether the order with this number, from 1, due so long after the beginning, is still of this run.
    pub(crate) fn includes(&self, number: u64, due: Duration) -> bool {
        let orders_max = self.orders.map_or(ORDERS_MAX, |orders| orders.get().min(ORDERS_MAX));
        number <= orders_max && self.duration.is_none_or(|duration| due < duration)
    }

    /// The time between the order before and this one.
    pub(crate) fn gap(&self, number: u64) -> Duration {
        let Mode::Open { rate, fixed, .. } = self.mode else { return Duration::ZERO };
        if fixed {
            return Duration::from_secs_f64(1.0 / rate);
        }
        let uniform = unit(draw(self.seed, ARRIVALS, number));
        // The gaps of a Poisson process. 1 - uniform is in (0, 1], so the logarithm is finite.
        Duration::from_secs_f64(-(1.0 - uniform).ln() / rate)
    }

    pub(crate) fn idempotency_key(&self, number: u64) -> String {
        format!("load-{}-{number}", self.seed)
    }

    /// Staff name their orders by it, so that they can be listed.
    pub(crate) fn reference(&self) -> String {
        format!("load-{}", self.seed)
    }

    /// The body of an order.
    pub(crate) fn order(&self, number: u64, with_reference: bool) -> Value {
        let mut state = draw(self.seed, LINES, number);
        let mut below = |bound: u64| {
            state = next(state);
            state % bound.max(1)
        };
        let lines: Vec<Value> = (0..=below(self.lines_max))
            .map(|_| {
                let code = self.codes.get(below(self.codes.len() as u64) as usize);
                json!({ "sku": code, "quantity": 1 + below(self.quantity_max) })
            })
            .collect();
        let mut order = json!({ "lines": lines, "payment_token": self.payment_token });
        if with_reference {
            order["customer_reference"] = self.reference().into();
        }
        order
    }
}

/// SplitMix64, started at a place of its own for each purpose and number: orders can be made in any order.
fn draw(seed: u64, purpose: u64, number: u64) -> u64 {
    next(next(seed ^ purpose.wrapping_mul(0xD1B5_4A32_D192_ED03)) ^ number)
}

fn next(state: u64) -> u64 {
    let mut mixed = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// 0 (included) to 1 (not included), from the upper 53 bits.
fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}
