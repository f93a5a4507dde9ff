//! Faults that repeat what was said: they are no bugs, and nobody may notice them.

use crate::plan;

/// One in so many rows has the relay start again before it.
const RESTART_ONE_IN: u64 = 12;
/// How far the relay goes back, at most, in rows.
const BACK_MAX: u64 = 25;

/// How often each message is handed on: once, unless the process was started with `redeliver:<times>`.
pub fn deliveries() -> usize {
    plan().and_then(|plan| plan.deliveries).unwrap_or(1)
}

/// Whether the relay drops what it knows and what is in flight before the row at `position`, and how many rows earlier it goes
/// on then. Never, unless the process was started with `restart_relay:<seed>`; the seed decides where.
pub fn relay_restart(position: u64) -> Option<u64> {
    let seed = plan()?.relay_seed?;
    let mixed = mix(seed ^ position.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed.is_multiple_of(RESTART_ONE_IN).then_some((mixed >> 32) % (BACK_MAX + 1))
}

/// The last steps of splitmix64.
fn mix(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
