//! A database in memory behaves as one in a file: its readers see what is committed, and no call fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pangaea_journal::Statement;

use crate::support::{Place, stock};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_and_writer_never_fail_each_other() {
    let place = Place::sqlite_memory();
    let (database, mut writer) = place.lead().await;
    let stop = Arc::new(AtomicBool::new(false));
    let reads = Arc::new(AtomicU64::new(0));
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let (database, stop, reads) = (database.clone(), stop.clone(), reads.clone());
            tokio::spawn(async move {
                let mut longest = Duration::ZERO;
                while !stop.load(Ordering::Relaxed) {
                    let started = Instant::now();
                    let rows =
                        database.fetch(Statement::new("SELECT MIN(on_hand), MAX(on_hand) FROM stock")).await.unwrap();
                    longest = longest.max(started.elapsed());
                    let [low, high] = [0, 1].map(|column| rows[0].get::<Option<i64>>(column).unwrap());
                    assert_eq!(low, high, "a reader sees whole transactions only");
                    reads.fetch_add(1, Ordering::Relaxed);
                }
                longest
            })
        })
        .collect();
    // No pause between transactions: the worst case for readers.
    let started = Instant::now();
    let mut round = 0;
    while started.elapsed() < Duration::from_secs(2) {
        round += 1;
        writer.begin().await.unwrap();
        (0..50).for_each(|number| writer.put(stock(&format!("sku-{number}"), round)));
        writer.commit().await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    let mut longest = Duration::ZERO;
    for reader in readers {
        longest = longest.max(reader.await.unwrap());
    }
    let reads = reads.load(Ordering::Relaxed);
    println!("{round} commits, {reads} reads, the longest {longest:?}");
    assert!(round > 50 && reads > 50, "{round} commits, {reads} reads");
    assert!(longest < Duration::from_secs(2), "a reader waited {longest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_during_a_transaction_sees_what_is_committed() {
    let place = Place::sqlite_memory();
    let (database, mut writer) = place.lead().await;
    writer.begin().await.unwrap();
    writer.put(stock("a", 1));
    writer.sql(Statement::new("SELECT 1")).await.unwrap();
    let rows = database.fetch(Statement::new("SELECT COUNT(*) FROM stock")).await.unwrap();
    assert_eq!(rows[0].get::<i64>(0).unwrap(), 0);
    writer.commit().await.unwrap();
    let rows = database.fetch(Statement::new("SELECT COUNT(*) FROM stock")).await.unwrap();
    assert_eq!(rows[0].get::<i64>(0).unwrap(), 1);
}

#[tokio::test]
async fn lives_as_long_as_its_handle() {
    let place = Place::sqlite_memory();
    let (database, mut writer) = place.lead().await;
    writer.begin().await.unwrap();
    writer.put(stock("a", 1));
    writer.commit().await.unwrap();
    drop(writer);
    let rows = database.fetch(Statement::new("SELECT on_hand FROM stock")).await.unwrap();
    assert_eq!(rows[0].get::<i64>(0).unwrap(), 1);
    let (other, _writer) = place.lead().await;
    assert!(
        other.fetch(Statement::new("SELECT on_hand FROM stock")).await.unwrap().is_empty(),
        "each open is a database of its own"
    );
}
