//! Faults on purpose: failpoints at every boundary, and planted bugs that an auditor must catch.
//!
//! A crate asks at a place by name: [`reach`] at a boundary that may crash, hang or fail, [`planted`] where a known bug
//! can be put in. Without the feature `enabled`, and in every build without debug assertions, both are constants that the
//! compiler removes, [`Injected`] has no value, and [`refuse`] keeps a process from starting that was told to have faults.
//!
//! Which faults there are is said when a process starts, by `PANGAEA_FAULTS`, a list separated by spaces:
//!
//! ```text
//! plant:relay_skips_a_row        a bug, and the guard beneath it taken away
//! guarded:relay_skips_a_row      the same bug with its guard in place: the guard must refuse it
//! commit.before=crash            the process dies the first time it comes here
//! append.after=fail@3            the third time, the step fails
//! handler.before=hang:3000@2x5   from the second time on, five times, the step waits for 3,000 ms
//! redeliver:3                    every message is handed on three times
//! restart_relay:42               the relay starts again, somewhat earlier, at places that the seed decides
//! clock:/tmp/now                 the time is what this file says, in milliseconds since 1970: a test moves it
//! ```
//!
//! or, within one process and one thread, by a hook: see [`with_hook`], which the simulator uses.
//!
//! It is the one ambient global of the project, on purpose: a handle would have to be threaded through every signature of
//! the product for the sake of builds that are never shipped.

mod name;

#[cfg(all(feature = "enabled", debug_assertions))]
mod clock;
#[cfg(all(feature = "enabled", debug_assertions))]
mod on;
#[cfg(all(feature = "enabled", debug_assertions))]
mod repetition;
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
    DrivenClock, HookGuard, Injected, PlantGuard, deliveries, driven_clock, is_active, planted, reach, refuse,
    relay_restart, unguarded, with_hook, with_plant,
};

pub use name::{Action, Failpoint, Plant};

/// The variable that names the faults of a process.
pub const VARIABLE: &str = "PANGAEA_FAULTS";
