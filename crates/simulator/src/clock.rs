//! The only place that reads the wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970, UTC. Zero if the machine's clock is set before that.
#[expect(
    clippy::disallowed_methods,
    reason = "the simulator stands outside the store: it is no handler and is never replayed, so it stamps real time"
)]
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
