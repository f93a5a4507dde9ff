use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use pangaea_contracts::Timestamp;
use pangaea_kernel::{Problem, ProblemKind};

/// Wrong passwords that cost nothing but the try.
const FREE_FAILURES: u32 = 5;
const WAIT_MS_MAX: i64 = 15 * 60_000;
/// After so long without a failure, they are forgotten.
const FORGOTTEN_AFTER_MS: i64 = 30 * 60_000;
const ADDRESSES_MAX: usize = 10_000;

/// Slows down guessing: after five wrong passwords for one address each further one doubles the wait.
///
/// In memory, per process: a restart forgives, which costs an attacker more than it gives. Addresses without an account
/// are counted likewise, so that nothing is learnt from being locked out. Tries that run side by side are counted when
/// they end, so a burst may exceed the five by what the password gate admits at once; to count them before would lock
/// out a person who signs in from several devices.
#[derive(Default)]
pub(crate) struct Lockout(Mutex<HashMap<String, Failures>>);

#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    last_at: Timestamp,
}

// === impl Lockout ===

impl Lockout {
    /// # Errors
    /// 429 while the address has to wait.
    pub(crate) fn check(&self, email_hash: &str, now: Timestamp) -> Result<(), Problem> {
        let failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left_ms =
            failures.get(email_hash).map_or(0, |failures| failures.wait_ms() - now.millis_since(failures.last_at));
        if left_ms <= 0 {
            return Ok(());
        }
        let seconds = u32::try_from(left_ms.saturating_add(999) / 1_000).unwrap_or(u32::MAX);
        let detail = "too many wrong passwords for this e-mail address; wait before the next try";
        Err(Problem::new(ProblemKind::TooManyRequests, detail).with_retry_after(seconds))
    }

    pub(crate) fn failed(&self, email_hash: &str, now: Timestamp) {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= ADDRESSES_MAX && !failures.contains_key(email_hash) {
            make_room(&mut failures, now);
        }
        let entry = failures.entry(email_hash.to_owned()).or_insert(Failures { count: 0, last_at: now });
        let count = if entry.is_forgotten(now) { 0 } else { entry.count };
        *entry = Failures { count: count.saturating_add(1), last_at: now };
    }

    pub(crate) fn succeeded(&self, email_hash: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(email_hash);
    }
}

/// Drops what is forgotten; if that is nothing, the address with the fewest failures, which is locked out least.
fn make_room(failures: &mut HashMap<String, Failures>, now: Timestamp) {
    failures.retain(|_, entry| !entry.is_forgotten(now));
    if failures.len() < ADDRESSES_MAX {
        return;
    }
    let least = failures.iter().min_by_key(|(_, entry)| (entry.count, entry.last_at)).map(|(hash, _)| hash.clone());
    if let Some(hash) = least {
        failures.remove(&hash);
    }
}

// === impl Failures ===

impl Failures {
    fn wait_ms(self) -> i64 {
        match self.count.checked_sub(FREE_FAILURES) {
            None => 0,
            Some(beyond) => 1_000_i64.saturating_mul(1 << beyond.min(20)).min(WAIT_MS_MAX),
        }
    }

    fn is_forgotten(self, now: Timestamp) -> bool {
        now.millis_since(self.last_at) >= FORGOTTEN_AFTER_MS
    }
}

#[cfg(test)]
mod tests {
    use super::{ADDRESSES_MAX, Lockout};
    use pangaea_contracts::Timestamp;

    const T: Timestamp = Timestamp::from_millis(1_000_000);

    #[test]
    fn the_wait_doubles_after_five_failures_up_to_a_quarter_of_an_hour() {
        let lockout = Lockout::default();
        for _ in 0..4 {
            lockout.failed("a", T);
        }
        assert!(lockout.check("a", T).is_ok());
        let mut waits = Vec::new();
        for _ in 0..12 {
            lockout.failed("a", T);
            waits.push(lockout.check("a", T).unwrap_err().retry_after.unwrap());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
        assert!(lockout.check("b", T).is_ok());
        assert!(lockout.check("a", T.plus_millis(899_999)).is_err());
        assert!(lockout.check("a", T.plus_millis(900_000)).is_ok());
    }

    #[test]
    fn success_and_time_forgive() {
        let lockout = Lockout::default();
        for _ in 0..8 {
            lockout.failed("a", T);
            lockout.failed("b", T);
        }
        lockout.succeeded("a");
        assert!(lockout.check("a", T).is_ok());
        let later = T.plus_millis(30 * 60_000);
        lockout.failed("b", later);
        assert!(lockout.check("b", later).is_ok(), "a first failure again");
    }

    #[test]
    fn it_stays_bounded_and_keeps_the_worst() {
        let lockout = Lockout::default();
        for _ in 0..6 {
            lockout.failed("worst", T);
        }
        for number in 0..ADDRESSES_MAX + 100 {
            lockout.failed(&number.to_string(), T.plus_millis(number as i64));
        }
        assert!(lockout.0.lock().unwrap().len() <= ADDRESSES_MAX);
        assert!(lockout.check("worst", T).is_err());
    }
}
