//! What the operator is told of orders: how long they take to settle, and how many are in each state.

use pangaea_journal::Json;
use pangaea_kernel::{Cx, Failure, Gauge, Histogram, Unit};

use crate::domain::State;
use crate::store::{OrderRow, TimelineRow};

/// From placed to settled, without the time that the customer took to act. An order that comes out of a review has been counted
/// before it went there; one that staff cancel there is counted as that, too.
pub(crate) const SETTLE: Histogram = Histogram {
    name: "order_settle",
    unit: Unit::Seconds,
    label: "outcome",
    values: &[
        "confirmed",
        "manual_review",
        // Cancelled, by the code of the reason.
        "out_of_stock",
        "payment_declined",
        "action_timeout",
        "no_answer",
        "cancelled_by_customer",
        "cancelled_by_staff",
        // For any other reason: modules that do not agree on what there is.
        "cancelled",
    ],
    // An answer has 30 s, and is asked for three times (`answer_timeout_ms`, `answer_tries_max`).
    buckets: &[
        0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 90.0, 120.0, 300.0, 600.0, 1_800.0, 7_200.0,
    ],
};

/// Orders by state.
pub(crate) const ORDERS: Gauge = Gauge { name: "orders", unit: Unit::Count, label: "state", values: &State::NAMES };

/// The entries of the shortest way to `confirmed`.
const ENTRIES_STRAIGHT: i64 = 5;
/// The entry with which an order waits for its customer. Only one that has been placed and reserved can come there, and once.
const ACTION_ENTRY: i64 = 3;

/// Observes an order that has just settled.
pub(crate) async fn settled(cx: &mut Cx, order: &OrderRow) -> Result<(), Failure> {
    let taken_ms = cx.now().millis_since(order.placed_at) - customers_ms(cx, order).await?;
    cx.observe(&SETTLE, outcome(order), taken_ms.max(0) as f64 / 1e3);
    Ok(())
}

/// How long the order has waited for its customer. The timeline is read for this alone: no decision depends on it.
async fn customers_ms(cx: &mut Cx, order: &OrderRow) -> Result<i64, Failure> {
    let is_straight = order.state == State::Confirmed && order.version == ENTRIES_STRAIGHT;
    if is_straight || order.version <= ACTION_ENTRY {
        return Ok(0);
    }
    let asked = cx.get::<TimelineRow>((&order.id, &ACTION_ENTRY)).await?;
    let Some(asked) = asked.filter(|entry| entry.state == State::ActionRequired) else { return Ok(0) };
    let acted = cx.get::<TimelineRow>((&order.id, &(ACTION_ENTRY + 1))).await?;
    Ok(acted.map_or(0, |acted| acted.at.millis_since(asked.at)))
}

fn outcome(order: &OrderRow) -> &'static str {
    let state = order.state.as_str();
    if order.state != State::Cancelled {
        return state;
    }
    let code = order.reason.as_ref().map(|Json(reason)| reason.code.as_str());
    SETTLE.values.iter().find(|value| code == Some(**value)).copied().unwrap_or(state)
}
