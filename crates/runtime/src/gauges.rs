//! The gauges that a module reads from its own tables.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pangaea_journal::Database;
use pangaea_kernel::{Definition, ReadGauge};

/// Between the beginnings of two reads, at least: scrapes that come more often see the numbers of the last one.
const REST_MIN: Duration = Duration::from_secs(5);
/// After a read, so many times as long as it took: however large a table grows, a twentieth of one connection is the most that
/// its numbers cost.
const REST_FACTOR: u32 = 19;
/// A read that takes longer is given up.
const READ_MAX: Duration = Duration::from_secs(10);
/// How long whoever looks waits for new numbers; after that they come in time for the next look.
const LOOK_MAX: Duration = Duration::from_millis(500);

/// Reads them when somebody looks, seldom, and one after the other. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Gauges(Arc<Parts>);

struct Parts {
    module: &'static str,
    gauges: Vec<ReadGauge>,
    database: Database,
    pace: Mutex<Pace>,
}

/// A read; it ends with this, also where it panics.
struct UnderWay {
    parts: Arc<Parts>,
    began: Instant,
}

#[derive(Default)]
struct Pace {
    is_reading: bool,
    next: Option<Instant>,
}

// === impl Gauges ===

impl Gauges {
    pub(crate) fn of(definition: &Definition, database: Database) -> Self {
        let (module, gauges) = (definition.name(), definition.gauges().to_vec());
        Self(Arc::new(Parts { module, gauges, database, pace: Mutex::default() }))
    }

    /// Sets them anew, if it is time. What is slow goes on without whoever looks.
    pub(crate) async fn observe(&self) {
        if self.0.gauges.is_empty() || !self.0.pace().begin(Instant::now()) {
            return;
        }
        let under_way = UnderWay { parts: self.0.clone(), began: Instant::now() };
        let read = tokio::spawn(async move {
            let parts = &under_way.parts;
            if tokio::time::timeout(READ_MAX, parts.read()).await.is_err() {
                tracing::warn!(module = parts.module, "its gauges took too long to read");
            }
        });
        let _ = tokio::time::timeout(LOOK_MAX, read).await;
    }
}

impl Parts {
    async fn read(&self) {
        for one in &self.gauges {
            match one.numbers(&self.database).await {
                Ok(numbers) => self.set(one, numbers),
                // What was known stays.
                Err(error) => {
                    tracing::warn!(module = self.module, gauge = one.gauge.name, %error, "a gauge cannot be read");
                }
            }
        }
    }

    fn set(&self, one: &ReadGauge, numbers: Vec<(&'static str, i64)>) {
        for (value, number) in numbers {
            let gauge = metrics::gauge!(
                one.gauge.full_name(), "module" => self.module, one.gauge.label => value
            );
            gauge.set(number as f64);
        }
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.parts.pace().end(self.began, Instant::now());
    }
}

// === impl Pace ===

impl Pace {
    /// Whether a read begins now.
    fn begin(&mut self, now: Instant) -> bool {
        if self.is_reading || self.next.is_some_and(|next| now < next) {
            return false;
        }
        self.is_reading = true;
        true
    }

    fn end(&mut self, began: Instant, now: Instant) {
        let took = now.duration_since(began);
        self.is_reading = false;
        self.next = Some((began + REST_MIN).max(now + took * REST_FACTOR));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_slow_is_read_seldom_and_never_twice_at_once() {
        let (start, after) = (Instant::now(), |millis| Duration::from_millis(millis));
        let mut pace = Pace::default();
        assert!(pace.begin(start) && !pace.begin(start + after(60_000)), "one read is under way");
        pace.end(start, start + after(20));
        assert!(!pace.begin(start + after(4_999)), "a quick one rests for five seconds");
        let start = start + after(5_000);
        assert!(pace.begin(start));
        pace.end(start, start + after(2_000));
        assert!(
            !pace.begin(start + after(39_999)) && pace.begin(start + after(40_000)),
            "two seconds are a twentieth of forty"
        );
    }
}
