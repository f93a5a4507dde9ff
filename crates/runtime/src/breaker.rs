use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use pangaea_contracts::Timestamp;

/// Circuit breakers, one per target: after some failures in a row nothing is sent for a while, then one probe is.
///
/// The mesh cannot do this for effects that are retried by the journal, nor for calls over NATS.
pub(crate) struct Breakers {
    failures_max: u32,
    open_ms: i64,
    states: Mutex<HashMap<String, State>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed {
        failures: u32,
    },
    Open {
        until: Timestamp,
    },
    /// A probe is under way; if it never reports, another may go after the same time.
    HalfOpen {
        since: Timestamp,
    },
}

// === impl Breakers ===

impl Breakers {
    pub(crate) fn new(failures_max: u32, open_ms: i64) -> Self {
        Self { failures_max: failures_max.max(1), open_ms, states: Mutex::default() }
    }

    /// Whether a call may go now; otherwise how many milliseconds to wait before asking again.
    pub(crate) fn admit(&self, target: &str, now: Timestamp) -> Result<(), i64> {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let state = states.entry(target.to_owned()).or_insert(State::Closed { failures: 0 });
        match *state {
            State::Closed { .. } => Ok(()),
            State::Open { until } if until > now => Err(until.millis_since(now)),
            State::HalfOpen { since } if now.millis_since(since) < self.open_ms => Err(self.open_ms.min(100)),
            State::Open { .. } | State::HalfOpen { .. } => {
                *state = State::HalfOpen { since: now };
                Ok(())
            }
        }
    }

    pub(crate) fn report(&self, target: &str, succeeded: bool, now: Timestamp) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let state = states.entry(target.to_owned()).or_insert(State::Closed { failures: 0 });
        let before = *state;
        *state = match (before, succeeded) {
            (_, true) => State::Closed { failures: 0 },
            (State::Closed { failures }, false) if failures + 1 < self.failures_max => {
                State::Closed { failures: failures + 1 }
            }
            (_, false) => State::Open { until: now.plus_millis(self.open_ms) },
        };
        let open = !matches!(*state, State::Closed { .. });
        if open != !matches!(before, State::Closed { .. }) {
            tracing::warn!(target, open, "circuit breaker");
        }
        metrics::gauge!("pangaea_breaker_open", "target" => target.to_owned()).set(f64::from(u8::from(open)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_probes_and_closes() {
        let breakers = Breakers::new(3, 1_000);
        let at = Timestamp::from_millis;
        for _ in 0..3 {
            assert_eq!(breakers.admit("provider", at(0)), Ok(()));
            breakers.report("provider", false, at(0));
        }
        assert_eq!(breakers.admit("provider", at(400)), Err(600));
        assert_eq!(breakers.admit("other", at(400)), Ok(()));
        assert_eq!(breakers.admit("provider", at(1_000)), Ok(()), "one probe");
        assert!(breakers.admit("provider", at(1_001)).is_err(), "and no second");
        breakers.report("provider", false, at(1_100));
        assert_eq!(breakers.admit("provider", at(1_200)), Err(900));
        assert_eq!(breakers.admit("provider", at(2_100)), Ok(()));
        breakers.report("provider", true, at(2_150));
        assert_eq!(breakers.admit("provider", at(2_151)), Ok(()));
    }
}
