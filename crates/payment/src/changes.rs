//! What planted changes of behaviour need beyond a line. Without faults nothing calls it.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use pangaea_contracts::{Currency, Money, PaymentId};
use pangaea_kernel::Failure;

/// What `cx.id()` is for: this one is another every time.
pub(crate) fn random_id() -> Result<PaymentId, Failure> {
    let drawn = RandomState::new().build_hasher().finish();
    let text = format!("{}{drawn:016x}", PaymentId::PREFIX);
    text.parse().map_err(|_| Failure::poison(format!("{text:?} is no id of a payment")))
}

/// As many minor units of a currency that nobody asked for.
pub(crate) fn of_another_currency(amount: Money) -> Money {
    let other = if amount.currency == Currency::EUR { Currency::USD } else { Currency::EUR };
    Money::new(amount.amount, other)
}
