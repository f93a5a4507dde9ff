//! Sending: at moments that are fixed beforehand, or as fast as the answers come.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::task::TaskTracker;

use super::histogram::Histogram;
use super::plan::{Mode, Plan};
use super::progress::{Counters, Progress};
use super::shop::{Placed, Shop};

/// Kinds of refusals and errors told apart; the others are counted together.
const KINDS_MAX: usize = 20;
/// A worker of the closed loop that is shed tries the same order again, so often at most. It does not wait for as long as
/// `Retry-After` says: it is there to find the limit, not to keep away from it.
const SHED_TRIES_MAX: u32 = 1_000;
const SHED_PAUSE: Duration = Duration::from_millis(20);

/// What was sent and how it was answered.
#[derive(Default)]
pub(crate) struct Driven {
    pub(crate) accepted: HashSet<String>,
    /// Answered as an earlier run's order.
    pub(crate) replayed: u64,
    pub(crate) refused: u64,
    /// Turned away for the moment: 429 or 503.
    pub(crate) shed: u64,
    /// The shortest and the longest time after which those were told to come again, in seconds.
    pub(crate) retry_after_s: Option<(u32, u32)>,
    /// No answer, or one that is not understood.
    pub(crate) errors: u64,
    /// Arrivals that found too many without an answer.
    pub(crate) not_sent: u64,
    pub(crate) sent: u64,
    /// Refusals, sheds and errors by what was said.
    pub(crate) kinds: BTreeMap<String, u64>,
    /// From the intended moment to the answer, of what was accepted.
    pub(crate) accept: Histogram,
    /// From the first moment to the last answer.
    pub(crate) sending: Duration,
}

struct Sending {
    shop: Shop,
    plan: Arc<Plan>,
    driven: Mutex<Driven>,
    counters: Arc<Counters>,
}

/// Sends the plan's orders and waits for the answers.
pub(crate) async fn drive(shop: &Shop, plan: &Plan, with_progress: bool) -> Driven {
    let counters = Arc::new(Counters::default());
    let progress = Progress::start(counters.clone(), with_progress);
    let plan = Arc::new(plan.clone());
    let sending = Arc::new(Sending { shop: shop.clone(), plan, driven: Mutex::default(), counters });
    let begun = Instant::now();
    let tasks = TaskTracker::new();
    match sending.plan.mode {
        Mode::Open { in_flight_max, .. } => sending.clone().open(begun, in_flight_max, &tasks).await,
        Mode::Closed { workers } => sending.clone().closed(begun, workers, &tasks),
    }
    tasks.close();
    tasks.wait().await;
    drop(progress);
    let mut driven = std::mem::take(&mut *sending.driven.lock().unwrap_or_else(PoisonError::into_inner));
    driven.sending = begun.elapsed();
    driven
}

// === impl Sending ===

impl Sending {
    async fn open(self: Arc<Self>, begun: Instant, in_flight_max: u32, tasks: &TaskTracker) {
        let slots = Arc::new(Semaphore::new(in_flight_max as usize));
        let mut offset = Duration::ZERO;
        for number in 1.. {
            offset += self.plan.gap(number);
            if !self.plan.includes(number, offset) {
                return;
            }
            let due = begun + offset;
            sleep_until(due).await;
            let Ok(slot) = slots.clone().try_acquire_owned() else {
                self.note(|driven| driven.not_sent += 1);
                continue;
            };
            let sending = self.clone();
            tasks.spawn(async move {
                sending.send(number, due).await;
                drop(slot);
            });
        }
    }

    fn closed(self: Arc<Self>, begun: Instant, workers: u32, tasks: &TaskTracker) {
        let next = Arc::new(AtomicU64::new(1));
        for _ in 0..workers {
            let (sending, next) = (self.clone(), next.clone());
            tasks.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if !sending.plan.includes(number, begun.elapsed()) {
                        return;
                    }
                    for _ in 0..SHED_TRIES_MAX {
                        let Some(pause) = sending.send(number, Instant::now()).await else { break };
                        sleep(pause).await;
                    }
                }
            });
        }
    }

    /// Sends an order once; when it was shed, how long to wait before the next try.
    async fn send(&self, number: u64, due: Instant) -> Option<Duration> {
        let body = self.plan.order(number, self.shop.is_staff());
        self.counters.sent.fetch_add(1, Ordering::Relaxed);
        let placed = self.shop.place(&self.plan.idempotency_key(number), &body).await;
        let micros = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
        let counter = match &placed {
            Placed::Accepted { .. } => &self.counters.accepted,
            _ => &self.counters.not_accepted,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let mut pause = None;
        self.note(|driven| {
            driven.sent += 1;
            match placed {
                Placed::Accepted { id, replayed } => {
                    driven.replayed += u64::from(replayed);
                    driven.accepted.insert(id);
                    driven.accept.record_us(micros);
                }
                Placed::Refused(what) => {
                    driven.refused += 1;
                    driven.count_kind(what);
                }
                Placed::Shed { what, retry_after_s: told } => {
                    driven.shed += 1;
                    let (least, most) = driven.retry_after_s.unwrap_or((told, told));
                    driven.retry_after_s = Some((least.min(told), most.max(told)));
                    driven.count_kind(what);
                    pause = Some(SHED_PAUSE);
                }
                Placed::Error(what) => {
                    driven.errors += 1;
                    driven.count_kind(what);
                }
            }
        });
        pause
    }

    fn note(&self, change: impl FnOnce(&mut Driven)) {
        change(&mut self.driven.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

// === impl Driven ===

impl Driven {
    fn count_kind(&mut self, what: String) {
        let known = self.kinds.contains_key(&what) || self.kinds.len() < KINDS_MAX;
        *self.kinds.entry(if known { what } else { "others".to_owned() }).or_default() += 1;
    }
}
