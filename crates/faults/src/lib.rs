//! Faults on purpose: failpoints at every boundary, planted bugs that an auditor must catch, and planted changes of
//! behaviour that a replay must find.
//!
//! A crate asks at a place by name: [`reach`] at a boundary that may crash, hang or fail, [`planted`] where a known bug
//! can be put in, [`changed`] where a handler can be made to behave differently. Without the feature `enabled`, and in every build without debug assertions, both are constants that the
//! compiler removes, [`Injected`] has no value, and [`refuse`] keeps a process from starting that was told to have faults.
//!
//! Which faults there are is said when a process starts, by `PANGAEA_FAULTS`, a list separated by spaces:
//!
//! ```text
//! plant:relay_skips_a_row        a bug, and the guard beneath it taken away
//! guarded:relay_skips_a_row      the same bug with its guard in place: the guard must refuse it
//! change:wrong_rounding          a change of behaviour; `Change` names them all
//! commit.before=crash            the process dies the first time it comes here
//! append.after=fail@3            the third time, the step fails
//! handler.before=hang:3000@2x5   from the second time on, five times, the step waits for 3,000 ms
//! redeliver:3                    every message is handed on three times
//! restart_relay:42               the relay starts again, somewhat earlier, at places that the seed decides
//! clock:/tmp/now                 the time is what this file says, in milliseconds since 1970: a test moves it
//! ```
//!
//! or, within one process and one thread, by a hook, a plant or a change: see [`with_hook`], which the simulator uses,
//! [`with_plant`] and [`with_change`].
//!
//! The changes, each at a place where the mistake could be made:
//!
//! | `change:` | in | what changes |
//! |---|---|---|
//! | `wrong_rounding` | order, `placing` | each line's unit price is rounded up to a whole unit of its currency |
//! | `missing_compensation` | order, `saga` | `ReleaseStock` is never sent |
//! | `renamed_field` | order, `saga` | `Confirmed` has its `total` as `amount` |
//! | `dropped_event` | order, `saga` | `Cancelled` is not said |
//! | `wall_clock` | order, `commands` | `placed_at` is the machine's time |
//! | `swapped_outputs` | order, `commands` | `ReserveStock` is said before `Placed` |
//! | `changed_deadline` | order, `domain` | placed, reserved and authorized orders wait twice as long for an answer |
//! | `extra_event` | product, `handlers/stock` | `StockCommitted` is said twice |
//! | `changed_stock_guard` | product, `domain/stock` | an order that wants all units there are is refused |
//! | `unordered_map` | product, `domain/stock` | a reservation's lines and the shortages of a refusal are in a hash map's order |
//! | `random_id` | payment, `handlers/authorize` | the payment's id is drawn |
//! | `wrong_currency` | payment, `handlers/authorize` | the provider is asked to hold euros, or dollars where euros were asked for |
//!
//! It is the one ambient global of the project, on purpose: a handle would have to be threaded through every signature of
//! the product for the sake of builds that are never shipped.

mod name;

#[cfg(all(feature = "enabled", debug_assertions))]
mod change;
#[cfg(all(feature = "enabled", debug_assertions))]
mod clock;
#[cfg(all(feature = "enabled", debug_assertions))]
mod on;
#[cfg(all(feature = "enabled", debug_assertions))]
mod repetition;
#[cfg(all(feature = "enabled", debug_assertions))]
pub use change::{ChangeGuard, changed, with_change};
#[cfg(all(feature = "enabled", debug_assertions))]
pub use clock::{DrivenClock, driven_clock};
#[cfg(all(feature = "enabled", debug_assertions))]
use on::plan;
#[cfg(all(feature = "enabled", debug_assertions))]
pub use on::{HookGuard, Injected, PlantGuard, is_active, planted, reach, refuse, unguarded, with_hook, with_plant};
#[cfg(all(feature = "enabled", debug_assertions))]
pub use repetition::{deliveries, relay_restart};

// Also in the tests of a build with faults, so that what is shipped is tested there too.
#[cfg(any(test, not(all(feature = "enabled", debug_assertions))))]
#[cfg_attr(all(test, feature = "enabled"), allow(dead_code, unreachable_pub, reason = "only its tests use it there"))]
mod off;
#[cfg(not(all(feature = "enabled", debug_assertions)))]
pub use off::{
    ChangeGuard, DrivenClock, HookGuard, Injected, PlantGuard, changed, deliveries, driven_clock, is_active, planted,
    reach, refuse, relay_restart, unguarded, with_change, with_hook, with_plant,
};

pub use name::{Action, Change, Failpoint, Plant};

/// The variable that names the faults of a process.
pub const VARIABLE: &str = "PANGAEA_FAULTS";
