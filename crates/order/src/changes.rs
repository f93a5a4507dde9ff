//! What planted changes of behaviour need beyond a line. Without faults nothing calls it.

use pangaea_contracts::order::Confirmed;
use pangaea_contracts::{Message, Money, OrderId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// [`Confirmed`], its `total` under another name.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct RenamedConfirmed {
    pub(crate) order_id: OrderId,
    pub(crate) amount: Money,
}

/// Up to a whole unit of the currency, so that what was paid for a recorded order is never more than its new total.
pub(crate) fn rounded_up(price: Money) -> Money {
    Money::new(price.amount.saturating_add(99) / 100 * 100, price.currency)
}

/// What a handler must never look at.
pub(crate) fn wall_clock() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "a mistake on purpose, which a replay must find")]
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp::from_millis(now.map_or(0, |since| since.as_millis() as i64))
}

impl Message for RenamedConfirmed {
    const SUBJECT: &'static str = Confirmed::SUBJECT;

    fn key(&self) -> String {
        self.order_id.to_string()
    }
}
