//! Logs and their readers.

use std::time::Duration;

use pangaea_bus::{BusError, Cursor};
use pangaea_contracts::PAYLOAD_BYTES_MAX;

use crate::SECOND;
use crate::support::{TestLog, eventually, next, open, places, positions, read_committing};

#[tokio::test(flavor = "multi_thread")]
async fn a_log_arrives_whole_in_order_and_unchanged() {
    for mut place in places().await {
        let log = TestLog::new("order", "log_1");
        log.append(700);
        place.host(&log).await;
        let mut reader = open(place.bus.as_ref(), "payment", "order", Cursor::default()).await;
        let got = read_committing(reader.as_mut(), 700, 100).await;
        assert_eq!(got, log.rows(), "{}", place.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_reader_is_woken_by_a_commit() {
    for mut place in places().await {
        let log = TestLog::new("order", "log_1");
        place.host(&log).await;
        let mut reader = open(place.bus.as_ref(), "payment", "order", Cursor::default()).await;
        let nothing = tokio::time::timeout(Duration::from_millis(300), reader.next(10)).await;
        assert!(nothing.is_err(), "{}: {nothing:?}", place.name);
        for round in 1..=3u64 {
            log.append(1);
            let batch = tokio::time::timeout(SECOND, next(reader.as_mut(), 10)).await.expect(&place.name);
            assert_eq!((batch.first, batch.messages.len()), (round, 1), "{}", place.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_move_on_their_own_and_start_after_their_cursor() {
    for mut place in places().await {
        let log = TestLog::new("order", "log_1");
        log.append(50);
        place.host(&log).await;
        let after = Cursor::at(&log.rows()[19]);
        let mut late = open(place.bus.as_ref(), "late", "order", after).await;
        let mut whole = open(place.bus.as_ref(), "whole", "order", Cursor::default()).await;
        let got = read_committing(late.as_mut(), 30, 8).await;
        assert_eq!(positions(&got), (21..=50).collect::<Vec<_>>(), "{}", place.name);
        let got = read_committing(whole.as_mut(), 50, 256).await;
        assert_eq!(positions(&got), (1..=50).collect::<Vec<_>>(), "{}", place.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_a_waiting_read_loses_nothing() {
    for mut place in places().await {
        let log = TestLog::new("order", "log_1");
        place.host(&log).await;
        let mut reader = open(place.bus.as_ref(), "payment", "order", Cursor::default()).await;
        let writer = tokio::spawn({
            let log = log.clone();
            async move {
                for _ in 0..200 {
                    log.append(5);
                    tokio::time::sleep(Duration::from_micros(500)).await;
                }
            }
        });
        let (mut got, mut wait) = (Vec::new(), 0);
        while got.len() < 1000 {
            wait = (wait + 37) % 900;
            if let Ok(batch) = tokio::time::timeout(Duration::from_micros(wait), reader.next(16)).await {
                got.extend(batch.unwrap().messages);
            }
        }
        writer.await.unwrap();
        assert_eq!(positions(&got), (1..=1000).collect::<Vec<_>>(), "{}", place.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_crashed_gets_everything_after_its_cursor() {
    for mut place in places().await {
        let log = TestLog::new("order", "log_1");
        log.append(300);
        place.host(&log).await;
        let mut reader = open(place.bus.as_ref(), "payment", "order", Cursor::default()).await;
        let committed = read_committing(reader.as_mut(), 100, 100).await;
        let lost = next(reader.as_mut(), 100).await;
        assert_eq!(lost.first, committed.len() as u64 + 1, "{}", place.name);
        drop(reader);
        let cursor = Cursor::at(&committed[committed.len() - 1]);
        let start = tokio::time::Instant::now();
        let mut reader = open(place.bus.as_ref(), "payment", "order", cursor.clone()).await;
        let got = read_committing(reader.as_mut(), 300 - committed.len(), 256).await;
        assert_eq!(positions(&got), (cursor.position + 1..=300).collect::<Vec<_>>(), "{}", place.name);
        assert!(start.elapsed() < 5 * SECOND, "{} waited for a redelivery", place.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_ahead_of_the_acks_skips_what_is_committed() {
    for mut place in places().await {
        let log = TestLog::new("order", "log_1");
        log.append(60);
        place.host(&log).await;
        let mut reader = open(place.bus.as_ref(), "payment", "order", Cursor::default()).await;
        let mut got = Vec::new();
        while got.len() < 60 {
            got.extend(next(reader.as_mut(), 60).await.messages);
        }
        drop(reader);
        let mut reader = open(place.bus.as_ref(), "payment", "order", Cursor::at(&got[39])).await;
        log.append(1);
        let got = read_committing(reader.as_mut(), 21, 256).await;
        assert_eq!(positions(&got), (41..=61).collect::<Vec<_>>(), "{}", place.name);
    }
}

/// The owner learns how far each reader has committed, also of one that is slow, and while nothing else happens.
#[tokio::test(flavor = "multi_thread")]
async fn the_owner_hears_how_far_its_readers_are() {
    for mut place in places().await {
        let log = TestLog::new("order", "log_1");
        log.append(50);
        place.host(&log).await;
        let mut slow = open(place.bus.as_ref(), "slow", "order", Cursor::default()).await;
        let mut quick = open(place.bus.as_ref(), "quick", "order", Cursor::default()).await;
        let heard =
            |reader: &str, committed: u64| log.readers.lock().unwrap().contains(&(reader.to_owned(), committed));
        eventually("the slow one is known", || heard("slow", 0)).await;
        let batch = next(slow.as_mut(), 20).await;
        read_committing(quick.as_mut(), 50, 50).await;
        eventually("the quick one is at the end", || heard("quick", 50)).await;
        assert!(!heard("slow", batch.last()), "{}: it has not committed", place.name);
        slow.committed(batch.last()).await.unwrap();
        eventually("the slow one has moved", || heard("slow", batch.last())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_another_log_is_refused() {
    for mut place in places().await {
        let log = TestLog::new("order", "log_2");
        log.append(20);
        place.host(&log).await;
        let mut first = open(place.bus.as_ref(), "first", "order", Cursor::default()).await;
        read_committing(first.as_mut(), 20, 20).await;
        let reset = Cursor { log_id: "log_1".into(), position: 7, message_id: "log_1_msg_7".into() };
        let Err(error) = place.bus.open_reader("payment", "order", reset).await else { panic!("{}", place.name) };
        let expected =
            BusError::LogReset { source_name: "order".into(), expected: "log_1".into(), found: "log_2".into() };
        assert_eq!(error, expected, "{}", place.name);
        let other = Cursor { log_id: "log_2".into(), position: 7, message_id: "another".into() };
        let Err(error) = place.bus.open_reader("payment", "order", other).await else { panic!("{}", place.name) };
        assert_eq!(error.code(), "bus.cursor_mismatch", "{}: {error}", place.name);
        assert!(!error.is_transient());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_follows_a_log_that_is_attached_again() {
    for mut place in places().await {
        let log = TestLog::new("order", "log_1");
        log.append(5);
        place.host(&log).await;
        let mut reader = open(place.bus.as_ref(), "payment", "order", Cursor::default()).await;
        read_committing(reader.as_mut(), 5, 10).await;
        let waiting = tokio::spawn(async move { read_committing(reader.as_mut(), 3, 10).await });
        tokio::time::sleep(Duration::from_millis(100)).await;
        place.stop_relays();
        place.bus.detach("order");
        tokio::time::sleep(Duration::from_millis(100)).await;
        let restarted = TestLog::new("order", "log_1");
        restarted.append(8);
        place.host(&restarted).await;
        let got = tokio::time::timeout(5 * SECOND, waiting).await.expect(&place.name).unwrap();
        assert!(got[..] == restarted.rows()[5..], "{}: {:?}", place.name, positions(&got));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_payloads_travel() {
    for mut place in places().await {
        let log = TestLog::new("order", "log_1");
        log.append_with(20, |_| format!("\"{}\"", "x".repeat(PAYLOAD_BYTES_MAX - 2)));
        place.host(&log).await;
        let mut reader = open(place.bus.as_ref(), "payment", "order", Cursor::default()).await;
        let got = read_committing(reader.as_mut(), 20, 256).await;
        assert!(got == log.rows(), "{}", place.name);
    }
}
