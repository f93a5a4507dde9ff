//! Waiting for a moment or for a while, by a clock that may be driven.

use std::time::Duration;

use pangaea_contracts::Timestamp;
use pangaea_kernel::Clock;

/// A long wait is cut, so that a clock that was set forward is noticed.
const CUT_MS: i64 = 1_000;
/// Between two looks at a clock that a test moves.
const LOOK: Duration = Duration::from_millis(10);

/// Waits until it is `due`, or a second at most.
pub(crate) async fn wait_until(clock: &dyn Clock, due: Timestamp) {
    while clock.is_driven() && clock.now() < due {
        tokio::time::sleep(LOOK).await;
    }
    let millis = due.millis_since(clock.now()).clamp(0, CUT_MS);
    tokio::time::sleep(Duration::from_millis(millis.unsigned_abs())).await;
}

/// Waits for so long. By a clock that is driven the wait may be over sooner, but never later: who is waited for, such as the
/// provider, lives by the machine's time.
pub(crate) async fn wait_for(clock: &dyn Clock, wait: Duration) {
    if !clock.is_driven() {
        return tokio::time::sleep(wait).await;
    }
    let due = clock.now().plus_millis(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
    let moved = async {
        while clock.now() < due {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::select! {
        () = tokio::time::sleep(wait) => {}
        () = moved => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};
    use std::time::Instant;

    use super::*;

    struct Driven(AtomicI64);

    impl Clock for Driven {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(self.0.load(Ordering::SeqCst))
        }

        fn is_driven(&self) -> bool {
            true
        }
    }

    #[tokio::test]
    async fn a_driven_clock_ends_a_wait_when_it_is_moved_and_not_before() {
        let (clock, due) = (Driven(AtomicI64::new(0)), Timestamp::from_millis(3_600_000));
        let still = tokio::time::timeout(LOOK * 20, wait_until(&clock, due)).await;
        assert!(still.is_err(), "an hour has not passed on a clock that stands still");
        let started = Instant::now();
        let hour = Duration::from_secs(3_600);
        let (_, _, ()) = tokio::join!(wait_until(&clock, due), wait_for(&clock, hour), async {
            tokio::time::sleep(LOOK).await;
            clock.0.store(3_600_000, Ordering::SeqCst);
        });
        assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
    }

    #[tokio::test]
    async fn a_wait_for_the_outside_ends_on_a_clock_that_stands_still() {
        let clock = Driven(AtomicI64::new(0));
        let waited = tokio::time::timeout(Duration::from_secs(60), wait_for(&clock, LOOK * 2)).await;
        assert!(waited.is_ok());
    }
}
