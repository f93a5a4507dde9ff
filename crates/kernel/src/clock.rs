use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use pangaea_contracts::Timestamp;

/// Where the runtime takes the time from. Handlers never see it: they have `cx.now()`.
pub trait Clock: Send + Sync + 'static {
    fn now(&self) -> Timestamp;

    /// Whether somebody else moves it: it may stand still for long and go on by an hour at once.
    fn is_driven(&self) -> bool {
        false
    }
}

/// The clock of this process: the machine's, unless a test drives another one, which no shipped build lets it do.
pub fn process_clock() -> Arc<dyn Clock> {
    match pangaea_faults::driven_clock() {
        Some(driven) => driven,
        None => Arc::new(SystemClock),
    }
}

/// The wall clock of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

/// A clock that stands still until it is told otherwise: for tests, replay and simulation.
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<AtomicI64>);

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn now(&self) -> Timestamp {
        let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX))
    }
}

impl Clock for pangaea_faults::DrivenClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now_ms())
    }

    fn is_driven(&self) -> bool {
        true
    }
}

// === impl ManualClock ===

impl ManualClock {
    pub fn at(now: Timestamp) -> Self {
        Self(Arc::new(AtomicI64::new(now.as_millis())))
    }

    pub fn advance_ms(&self, millis: i64) {
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}
