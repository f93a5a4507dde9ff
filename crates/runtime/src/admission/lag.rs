use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::pace::{Rate, time_for};

/// A reader of which nothing was heard for so long is gone, or cannot work at all: the log keeps what it will need, and
/// nobody is turned away for its sake. Live ones are heard of every second.
const LIVE_FOR: Duration = Duration::from_secs(5);
/// Not lag: a reader may skip half as many that are not for it before it moves its cursor, and takes the rest in a moment.
pub(crate) const LAG_MIN: u64 = 2_048;
/// Names that are kept. They come over the bus, and there are as many as modules and their readers.
const NAMES_MAX: usize = 256;

/// How far readers are behind the ends of logs.
#[derive(Default)]
pub(crate) struct Lags(Mutex<BTreeMap<String, Place>>);

struct Place {
    position: u64,
    /// The log's last position, as far as whoever told knows.
    end: u64,
    heard_at: Instant,
    pace: Rate,
}

/// The reader that is furthest behind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Worst {
    /// Messages that it has not committed.
    pub(crate) behind: u64,
    per_second: f64,
}

// === impl Lags ===

impl Lags {
    /// `end` may be 0 where only the position is known.
    pub(crate) fn note(&self, name: &str, position: u64, end: u64, now: Instant) {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = places.get_mut(name) {
            place.pace.add(position.saturating_sub(place.position), now);
            (place.position, place.end, place.heard_at) = (position, end, now);
            return;
        }
        if places.len() >= NAMES_MAX {
            places.retain(|_, place| place.is_live(now));
        }
        if places.len() < NAMES_MAX {
            let mut pace = Rate::default();
            pace.add(0, now);
            places.insert(name.to_owned(), Place { position, end, heard_at: now, pace });
        }
    }

    /// The live reader that is furthest behind its log's end, which is at least `end`.
    pub(crate) fn worst(&self, end: u64, now: Instant) -> Option<Worst> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let live = places.values_mut().filter(|place| place.is_live(now));
        let worst = live.max_by_key(|place| place.behind(end))?;
        Some(Worst { behind: worst.behind(end), per_second: worst.pace.per_second(now) })
    }

    /// How far each is behind, for the metrics; one that is gone is of interest there too.
    pub(crate) fn all(&self, end: u64) -> Vec<(String, u64)> {
        let places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        places.iter().map(|(name, place)| (name.clone(), place.behind(end))).collect()
    }
}

// === impl Place ===

impl Place {
    fn is_live(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.heard_at) <= LIVE_FOR
    }

    fn behind(&self, end: u64) -> u64 {
        self.end.max(end).saturating_sub(self.position)
    }
}

// === impl Worst ===

impl Worst {
    /// When it will have caught up, at its own pace of the last seconds.
    pub(crate) fn caught_up_in(&self) -> Duration {
        time_for(self.behind as f64, self.per_second)
    }
}
