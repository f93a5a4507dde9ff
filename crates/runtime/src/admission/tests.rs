use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::lag::Lags;
use super::pace::Rate;
use super::{Admission, BatchDone, Bounds, Shed, ShedReason};

const BOUNDS: Bounds = Bounds {
    batch_max: 64,
    queue_max: 1_000,
    wait_ms_max: 1_000,
    reader_lag_max: 5_000,
    reader_lag_ms_max: 2_000,
    effects_pending_max: 100,
};

/// An admission, with the readers of its log and the end of it.
fn admission() -> (Admission, Arc<Lags>, watch::Sender<u64>) {
    let (readers, end) = (Arc::new(Lags::default()), watch::Sender::new(0));
    (Admission::new(BOUNDS, readers.clone(), end.subscribe()), readers, end)
}

fn reason(admission: &Admission, waiting: usize) -> Option<ShedReason> {
    admission.admit(waiting).err().map(|shed| shed.reason)
}

fn batches(admission: &Admission, count: usize, batch: BatchDone) {
    (0..count).for_each(|_| admission.batch_done(batch));
}

#[test]
fn a_new_module_takes_what_its_queue_holds() {
    let (admission, ..) = admission();
    assert_eq!(reason(&admission, 999), None);
    assert_eq!(reason(&admission, 1_000), Some(ShedReason::QueueFull));
}

#[test]
fn batches_of_one_do_not_make_a_quiet_store_look_slow() {
    let (admission, ..) = admission();
    batches(&admission, 50, BatchDone { elapsed: Duration::from_millis(20), commands: 1, ..BatchDone::default() });
    assert!(admission.estimated_wait(63) < Duration::from_millis(31), "a batch and a half");
    assert_eq!(reason(&admission, 500), None, "eight batches of 20 ms");
}

#[test]
fn a_wait_that_would_be_too_long_is_refused_and_says_how_long() {
    let (admission, ..) = admission();
    // Others fill the batches: an eighth is left for commands.
    let slow =
        BatchDone { elapsed: Duration::from_millis(200), commands: 8, others: 56, results: 0, effects_pending: 0 };
    batches(&admission, 50, slow);
    assert_eq!(reason(&admission, 30), None);
    let shed = admission.admit(80).unwrap_err();
    assert_eq!(shed.reason, ShedReason::Wait);
    assert!((1.9..2.3).contains(&shed.done_in.as_secs_f64()), "{shed:?}");
    // As soon as batches are fast again, so is the estimate.
    batches(&admission, 200, BatchDone { elapsed: Duration::from_millis(10), commands: 64, ..BatchDone::default() });
    assert_eq!(reason(&admission, 500), None);
}

#[test]
fn a_writer_that_is_slow_with_full_batches_gets_smaller_ones_and_never_none() {
    let (admission, ..) = admission();
    // One such batch is enough to know.
    batches(&admission, 1, BatchDone { elapsed: Duration::from_secs(3), commands: 64, ..BatchDone::default() });
    assert_eq!(reason(&admission, 30), Some(ShedReason::Wait));
    assert_eq!(reason(&admission, 7), None);
}

#[test]
fn lags_are_bounded_at_both_ends_of_a_log() {
    let (admission, readers, end) = admission();
    let now = Instant::now();
    // Both are fast.
    for lags in [&admission.reading, &*readers] {
        lags.note("product", 0, 0, now - Duration::from_millis(600));
        lags.note("payment", 0, 0, now - Duration::from_millis(600));
        lags.note("product", 10_000, 0, now);
        lags.note("payment", 10_000, 0, now);
    }
    admission.has_read("product", 100, 5_100);
    readers.note("payment", 1_000, 0, now);
    readers.note("product", 6_000, 0, now);
    admission.has_read("payment", 6_000, 6_000);
    end.send_replace(6_000);
    assert_eq!(reason(&admission, 0), None, "both are at their bound");
    end.send_replace(6_001);
    assert_eq!(reason(&admission, 0), Some(ShedReason::ReaderLag));
    readers.note("payment", 2_000, 0, now);
    end.send_replace(6_001);
    assert_eq!(reason(&admission, 0), None);
    admission.has_read("product", 100, 5_101);
    end.send_replace(6_001);
    assert_eq!(reason(&admission, 0), Some(ShedReason::OwnLag));
    admission.has_read("product", 101, 5_101);
    end.send_replace(6_001);
    assert_eq!(reason(&admission, 0), None);
}

#[test]
fn a_slow_reader_turns_clients_away_before_a_fast_one_does() {
    let (admission, readers, end) = admission();
    let begin = Instant::now() - Duration::from_secs(4);
    // A thousand messages a second, for some seconds.
    for step in 0..=40_u32 {
        readers.note("payment", u64::from(step) * 100, 0, begin + step * Duration::from_millis(100));
    }
    end.send_replace(4_000 + 1_500);
    assert_eq!(reason(&admission, 0), None);
    end.send_replace(4_000 + 3_000);
    assert_eq!(reason(&admission, 0), Some(ShedReason::ReaderLag), "that takes it three seconds");
    let shed = admission.admit(0).unwrap_err();
    assert!((2.4..3.6).contains(&shed.done_in.as_secs_f64()), "{shed:?}");
}

#[test]
fn a_reader_that_is_gone_turns_nobody_away() {
    let readers = Lags::default();
    let then = Instant::now();
    readers.note("payment", 1, 0, then);
    readers.note("product", 9_000, 0, then + Duration::from_secs(6));
    let worst = readers.worst(10_000, then + Duration::from_secs(7)).unwrap();
    assert_eq!(worst.behind, 1_000);
    assert_eq!(readers.all(10_000), [("payment".to_owned(), 9_999), ("product".to_owned(), 1_000)]);
    readers.note("payment", 2, 0, then + Duration::from_secs(7));
    assert_eq!(readers.worst(10_000, then + Duration::from_secs(7)).unwrap().behind, 9_998, "it is back");
}

#[test]
fn names_from_the_bus_do_not_pile_up() {
    let readers = Lags::default();
    let then = Instant::now();
    for name in 0..10_000 {
        readers.note(&name.to_string(), 0, 0, then);
    }
    assert_eq!(readers.all(1).len(), 256);
    let later = then + Duration::from_secs(60);
    readers.note("payment", 0, 0, later);
    assert_eq!(readers.all(1), [("payment".to_owned(), 1)]);
}

#[tokio::test]
async fn effects_without_results_hold_readers_and_commands_until_there_is_room() {
    let (admission, ..) = admission();
    admission.set_effects_pending(100);
    assert_eq!(reason(&admission, 0), Some(ShedReason::EffectsPending));
    let room = admission.room_for_effects();
    tokio::pin!(room);
    assert!(tokio::time::timeout(Duration::from_millis(20), &mut room).await.is_err());
    // A batch of results: nothing asks them whether there is room.
    batches(&admission, 1, BatchDone { results: 1, effects_pending: 99, ..BatchDone::default() });
    room.await;
    assert_eq!(reason(&admission, 0), None);
}

#[test]
fn clients_are_told_when_to_come_again_and_not_all_the_same() {
    let shed = |millis| Shed { reason: ShedReason::Wait, done_in: Duration::from_millis(millis) };
    let told = |millis| {
        let seconds = (0..200).map(|id| shed(millis).into_problem(&format!("cmd_{id}")).retry_after.unwrap());
        let seconds: std::collections::BTreeSet<u32> = seconds.collect();
        (*seconds.first().unwrap(), *seconds.last().unwrap())
    };
    assert_eq!(told(0), (1, 2));
    assert_eq!(told(1_500), (2, 3));
    assert_eq!(told(7_100), (8, 12));
    assert_eq!(told(3_600_000), (30, 30));
    assert_eq!(shed(7_100).into_problem("cmd_1"), shed(7_100).into_problem("cmd_1"));
}

#[test]
fn a_rate_follows_what_happens() {
    let mut rate = Rate::default();
    let begin = Instant::now();
    let at = |millis| begin + Duration::from_millis(millis);
    for step in 0..=40 {
        rate.add(100, at(step * 100));
    }
    let per_second = rate.per_second(at(4_000));
    assert!((950.0..1_250.0).contains(&per_second), "{per_second}");
    assert!(rate.per_second(at(60_000)) < 50.0, "nothing has happened since");
}
