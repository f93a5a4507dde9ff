//! Who may lead on PostgreSQL, and how a leader that is silent is replaced.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pangaea_contracts::Timestamp;
use pangaea_journal::{Candidate, JournalError, Migration, Writer};

use crate::support::{Place, TABLES, refused, stock};

/// Longer than the server lets a silent session live.
const SILENCE: Duration = Duration::from_millis(1_800);
const TAKEOVER_MAX: Duration = Duration::from_secs(20);

#[expect(clippy::disallowed_methods, reason = "the database server's clock is compared with this machine's")]
fn now() -> Timestamp {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(since_1970.as_millis() as i64)
}

async fn elected(candidate: &mut Candidate) -> Writer {
    let until = tokio::time::Instant::now() + TAKEOVER_MAX;
    loop {
        match candidate.try_lead(TABLES, "1.0.0", now()).await {
            Ok(writer) => return writer,
            Err(error) => assert!(tokio::time::Instant::now() < until, "not elected: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_speaks_stays_and_a_silent_one_is_replaced() {
    let place = Place::postgres();
    let (database, mut writer) = place.lead().await;
    let mut candidate = Candidate::new(database);
    let until = tokio::time::Instant::now() + SILENCE;
    while tokio::time::Instant::now() < until {
        writer.heartbeat().await.unwrap();
        let error = refused(candidate.try_lead(TABLES, "1.0.0", now()).await.map(drop));
        assert!(matches!(error, JournalError::Locked { .. }), "{error}");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    // Silent from here on, in the middle of a transaction even.
    writer.begin().await.unwrap();
    writer.put(stock("stale", 1));
    let mut next = elected(&mut candidate).await;
    assert_eq!((next.head().epoch, next.head().previous_stop_clean), (2, false));
    next.begin().await.unwrap();
    next.put(stock("fresh", 1));
    next.commit().await.unwrap();
    let error = refused(writer.commit().await);
    assert!(error.is_transient(), "its session is over: {error}");
    assert!(matches!(refused(writer.reconnect().await), JournalError::Superseded { ours: 1, found: 2 }));
    let kept = place.stranger("SELECT sku FROM stock").await;
    assert_eq!(kept, [Some("fresh".to_owned())]);
    drop(next);
    place.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_leader_hands_over_at_once_and_cleanly() {
    let place = Place::postgres();
    let (database, writer) = place.lead().await;
    let mut candidate = Candidate::new(database);
    refused(candidate.try_lead(TABLES, "1.0.0", now()).await.map(drop));
    writer.stop().await.unwrap();
    let next = candidate.try_lead(TABLES, "1.0.0", now()).await.unwrap();
    assert_eq!((next.head().epoch, next.head().previous_stop_clean), (2, true));
    drop(next);
    place.remove().await;
}

/// Every replica migrates an empty database when it comes first; all of them come at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_that_start_at_once_one_migrates_and_leads() {
    let place = Place::postgres();
    let mut tries = Vec::new();
    for _ in 0..8 {
        let database = place.open().await;
        tries.push(tokio::spawn(async move {
            let mut candidate = Candidate::new(database);
            candidate.try_lead(TABLES, "1.0.0", now()).await
        }));
    }
    let mut leaders = Vec::new();
    for tried in tries {
        match tried.await.unwrap() {
            Ok(writer) => leaders.push(writer),
            Err(error) => assert!(matches!(error, JournalError::Locked { .. }), "{error}"),
        }
    }
    assert_eq!(leaders.len(), 1);
    assert_eq!(leaders[0].head().epoch, 1);
    drop(leaders);
    place.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_off_keeps_a_replica_from_leading() {
    let place = Place::postgres();
    let mut candidate = Candidate::new(place.open().await);
    for off_ms in [-5_000, 5_000] {
        let error = refused(candidate.try_lead(TABLES, "1.0.0", now().plus_millis(off_ms)).await.map(drop));
        assert!(matches!(&error, JournalError::ClockOff { ahead_ms } if (ahead_ms - off_ms).abs() < 2_500), "{error}");
    }
    // It has given the lock back.
    drop(elected(&mut candidate).await);
    place.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_older_than_the_data_does_not_lead() {
    const CONTRACTING: Migration =
        Migration { name: "0002", sql: "-- writable_from: 1.2.0\nALTER TABLE stock DROP COLUMN label;" };
    let place = Place::postgres();
    let (_, writer) = place.lead().await;
    writer.stop().await.unwrap();
    let database = place.open().await;
    let mut candidate = Candidate::new(database.clone());
    candidate.try_lead(TABLES, "0.9.0", now()).await.expect("nothing was taken away yet").stop().await.unwrap();
    let newer = [TABLES, &[CONTRACTING]].concat();
    candidate.try_lead(&newer, "1.2.0", now()).await.unwrap().stop().await.unwrap();
    for (ours, may_lead) in [("1.1.9", false), ("0.9.0", false), ("1.2.0", true), ("1.10.0", true)] {
        match candidate.try_lead(TABLES, ours, now()).await {
            Ok(writer) => {
                assert!(may_lead, "{ours}");
                writer.stop().await.unwrap();
            }
            Err(JournalError::TooOld { writable_from, .. }) => {
                assert!(!may_lead && writable_from == "1.2.0", "{ours}");
            }
            Err(error) => panic!("{ours}: {error}"),
        }
    }
    place.remove().await;
}
