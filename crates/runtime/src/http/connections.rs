//! The table of open connections, and which of them give way when it is full.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Of a full table, this part makes room at once: looking for who waits longest costs a look at all of them.
const ROOM: usize = 32;
/// A client that has had less time than this for its head, or for its body, is not slow.
const HEAD_GRACE_MS: u64 = 500;
const BODY_GRACE_MS: u64 = 1_000;
/// Before a table in which nobody could give way is looked at again.
const FULL_PAUSE: Duration = Duration::from_millis(100);
/// Bodies under way, together. Their timeout alone would let a few thousand clients fill the memory within it.
const BODY_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Open connections, bounded in number.
///
/// A table that is merely bounded can be filled by clients that send nothing, and locks everybody else out for as long as
/// they like to come again. So in a full one those give way that have kept the server waiting longest: for the head of a
/// request, or for the rest of a body. Whoever is being answered is left alone. A bound per address was rejected: behind a
/// mesh or an ingress all clients have one address.
pub(super) struct Connections {
    /// Names the listener in the metrics.
    name: &'static str,
    epoch: Instant,
    open: Mutex<HashMap<u64, Arc<Connection>>>,
    places: Arc<Semaphore>,
    places_max: usize,
    numbers: AtomicU64,
    body_bytes: AtomicUsize,
}

/// What one connection is doing, as seen from the table.
pub(super) struct Connection {
    table: Arc<Connections>,
    /// The phase in the lowest two bits, above them the milliseconds since the table's epoch at which it began.
    phase: AtomicU64,
    /// How many have begun on it.
    requests: AtomicU64,
    evicted: CancellationToken,
}

/// A connection's place in the table, free again when this is dropped.
pub(super) struct Place {
    number: u64,
    connection: Arc<Connection>,
    _permit: OwnedSemaphorePermit,
}

/// An answer that is under way; its drop is its end.
pub(super) struct Answering(Arc<Connection>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The client has the next word.
    Head = 0,
    /// The client has begun to send a body.
    Body = 1,
    /// The server has the next word.
    Answer = 2,
    Evicted = 3,
}

// === impl Connections ===

impl Connections {
    pub(super) fn new(name: &'static str, places_max: usize) -> Arc<Self> {
        Arc::new(Self {
            name,
            epoch: Instant::now(),
            open: Mutex::default(),
            places: Arc::new(Semaphore::new(places_max)),
            places_max,
            numbers: AtomicU64::new(0),
            body_bytes: AtomicUsize::new(0),
        })
    }

    /// A place for a client that has come. In a full table others give way; while nobody can, it waits.
    pub(super) async fn place(self: &Arc<Self>) -> Place {
        let permit = loop {
            if let Ok(permit) = self.places.clone().try_acquire_owned() {
                break permit;
            }
            self.make_room();
            if let Ok(Ok(permit)) = tokio::time::timeout(FULL_PAUSE, self.places.clone().acquire_owned()).await {
                break permit;
            }
        };
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection {
            table: self.clone(),
            phase: AtomicU64::new(self.stamp(Phase::Head)),
            requests: AtomicU64::new(0),
            evicted: CancellationToken::new(),
        });
        let mut open = self.open();
        open.insert(number, connection.clone());
        self.observe(open.len());
        Place { number, connection, _permit: permit }
    }

    fn make_room(&self) {
        let now_ms = self.elapsed_ms();
        let open = self.open();
        let mut waiting: Vec<(u64, u64)> = open
            .iter()
            .map(|(number, connection)| (connection.phase.load(Ordering::Acquire), *number))
            .filter(|(state, _)| match phase_of(*state) {
                Phase::Head => now_ms.saturating_sub(state >> 2) >= HEAD_GRACE_MS,
                Phase::Body => now_ms.saturating_sub(state >> 2) >= BODY_GRACE_MS,
                Phase::Answer | Phase::Evicted => false,
            })
            .collect();
        let wanted = self.places_max.div_ceil(ROOM).min(waiting.len());
        if wanted == 0 {
            return;
        }
        waiting.select_nth_unstable_by_key(wanted - 1, |(state, _)| state >> 2);
        for (state, number) in &waiting[..wanted] {
            let Some(connection) = open.get(number) else { continue };
            // Not if its client has just spoken.
            let evicted = self.stamp(Phase::Evicted);
            if connection.phase.compare_exchange(*state, evicted, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                let phase = if phase_of(*state) == Phase::Head { "head" } else { "body" };
                metrics::counter!("pangaea_http_evictions_total", "listener" => self.name, "waiting_for" => phase)
                    .increment(1);
                connection.evicted.cancel();
            }
        }
    }

    fn stamp(&self, phase: Phase) -> u64 {
        (self.elapsed_ms() << 2) | phase as u64
    }

    fn elapsed_ms(&self) -> u64 {
        self.epoch.elapsed().as_millis() as u64
    }

    fn observe(&self, open: usize) {
        metrics::gauge!("pangaea_http_connections", "listener" => self.name).set(open as f64);
    }

    fn open(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn phase_of(state: u64) -> Phase {
    match state & 3 {
        0 => Phase::Head,
        1 => Phase::Body,
        2 => Phase::Answer,
        _ => Phase::Evicted,
    }
}

// === impl Connection ===

impl Connection {
    /// The head of a request has come. `false` when the connection is about to be closed: nothing must begin.
    pub(super) fn head_read(&self, has_body: bool) -> bool {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.enter(if has_body { Phase::Body } else { Phase::Answer })
    }

    /// While the client has the next word: how many requests came before the one that is waited for.
    pub(super) fn waits_for_head(&self) -> Option<u64> {
        let is_waiting = phase_of(self.phase.load(Ordering::Acquire)) == Phase::Head;
        is_waiting.then(|| self.requests.load(Ordering::Relaxed))
    }

    /// The body is there, or is of no interest any more.
    pub(super) fn body_read(&self) {
        if phase_of(self.phase.load(Ordering::Acquire)) == Phase::Body {
            self.enter(Phase::Answer);
        }
    }

    /// The rest of the request's work, until the answer has been handed over.
    pub(super) fn answering(self: &Arc<Self>) -> Answering {
        Answering(self.clone())
    }

    /// Counts bytes of a body under way; `false` when there are too many. They are to be given back in any case.
    pub(super) fn take_body_bytes(&self, bytes: usize) -> bool {
        self.table.body_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes <= BODY_BYTES_MAX
    }

    pub(super) fn give_body_bytes(&self, bytes: usize) {
        self.table.body_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn enter(&self, phase: Phase) -> bool {
        let next = self.table.stamp(phase);
        let change = |state| (phase_of(state) != Phase::Evicted).then_some(next);
        self.phase.fetch_update(Ordering::AcqRel, Ordering::Acquire, change).is_ok()
    }
}

// === impl Place ===

impl Place {
    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Waits until the connection has to give way.
    pub(super) async fn evicted(&self) {
        self.connection.evicted.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.connection.table.open();
        open.remove(&self.number);
        self.connection.table.observe(open.len());
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.enter(Phase::Head);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn full(places: usize) -> (Arc<Connections>, Vec<Place>) {
        let table = Connections::new("test", places);
        let mut open = Vec::new();
        for _ in 0..places {
            open.push(table.place().await);
            // Their order in time decides, and it is kept in milliseconds.
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        (table, open)
    }

    fn is_evicted(place: &Place) -> bool {
        place.connection.evicted.is_cancelled()
    }

    #[tokio::test]
    async fn in_a_full_table_whoever_has_waited_longest_for_its_client_gives_way() {
        let (table, mut open) = full(4).await;
        assert!(open[0].connection().head_read(false), "is being answered");
        let coming = tokio::spawn({
            let table = table.clone();
            async move { table.place().await }
        });
        tokio::time::timeout(Duration::from_secs(10), open[1].evicted()).await.expect("the oldest that waits");
        assert_eq!(open.iter().map(is_evicted).collect::<Vec<_>>(), [false, true, false, false]);
        assert!(!open[1].connection().head_read(false), "nothing begins on it any more");
        drop(open.remove(1));
        let _there = coming.await.unwrap();
    }

    #[tokio::test]
    async fn a_table_of_answers_makes_the_next_wait() {
        let (table, mut open) = full(2).await;
        let answers: Vec<_> = open.iter().map(|place| place.connection().answering()).collect();
        assert!(open.iter().all(|place| place.connection().head_read(false)));
        assert!(tokio::time::timeout(Duration::from_millis(250), table.place()).await.is_err());
        assert!(!open.iter().any(is_evicted));
        // Answered, the client has the next word again.
        drop(answers);
        let coming = tokio::spawn({
            let table = table.clone();
            async move { table.place().await }
        });
        tokio::time::timeout(Duration::from_secs(10), async {
            while !open.iter().any(is_evicted) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("one gives way");
        open.retain(|place| !is_evicted(place));
        let _there = coming.await.unwrap();
    }

    #[tokio::test]
    async fn bodies_give_way_once_they_are_slow() {
        let (table, open) = full(1).await;
        assert!(open[0].connection().head_read(true));
        table.make_room();
        assert!(!is_evicted(&open[0]), "it has only begun");
        tokio::time::sleep(Duration::from_millis(BODY_GRACE_MS + 50)).await;
        table.make_room();
        assert!(is_evicted(&open[0]));
    }

    #[tokio::test]
    async fn bodies_are_bounded_together() {
        let (_table, open) = full(2).await;
        assert!(open[0].connection().take_body_bytes(BODY_BYTES_MAX));
        assert!(!open[1].connection().take_body_bytes(1));
        open[1].connection().give_body_bytes(1);
        open[0].connection().give_body_bytes(BODY_BYTES_MAX);
        assert!(open[1].connection().take_body_bytes(1));
    }
}
