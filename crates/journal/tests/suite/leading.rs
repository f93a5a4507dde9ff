//! Taking over, being taken over, and going on after a failure.

use std::time::Duration;

use pangaea_journal::{Database, JournalError, Statement, Writer};

use crate::support::{
    Place, Stock, TABLES, input, message, on_each_database, on_each_durable_database, refused, stock,
};

on_each_database!(
    sees_whether_the_last_stop_was_clean,
    stops_with_a_transaction_open,
    goes_on_after_a_rollback,
    goes_on_after_every_kind_of_error,
    reconnects_to_what_was_committed,
);
on_each_durable_database!(is_superseded_when_the_head_moved, is_superseded_by_a_new_epoch);

/// The next leader after one that was dropped: the driver may need a moment to close the old one's connection.
pub(crate) async fn next_writer(database: &Database) -> Writer {
    for _ in 0..200 {
        match database.writer(TABLES, "1.0.0").await {
            Err(JournalError::Locked { .. }) => tokio::time::sleep(Duration::from_millis(25)).await,
            other => return other.expect("a new leader"),
        }
    }
    panic!("the old leader is still there after five seconds");
}

/// The old session still holds the lock until the server has seen it go.
async fn reconnect(writer: &mut Writer) {
    for _ in 0..200 {
        match writer.reconnect().await {
            Err(error) if error.is_transient() => tokio::time::sleep(Duration::from_millis(25)).await,
            other => return other.expect("nobody else leads"),
        }
    }
    panic!("the writer is not back after five seconds");
}

async fn count(database: &Database) -> u64 {
    database.fetch(Statement::new("SELECT COUNT(*) FROM stock")).await.unwrap()[0].get(0).unwrap()
}

async fn sees_whether_the_last_stop_was_clean(place: Place) {
    let (database, writer) = place.lead().await;
    assert_eq!((writer.head().epoch, writer.head().previous_stop_clean), (1, true), "a new database has lost nothing");
    let log_id = writer.head().log_id.clone();
    drop(writer);
    let writer = next_writer(&database).await;
    assert_eq!((writer.head().epoch, writer.head().previous_stop_clean), (2, false));
    writer.stop().await.unwrap();
    let writer = next_writer(&database).await;
    assert_eq!((writer.head().epoch, writer.head().previous_stop_clean), (3, true));
    assert_eq!(writer.head().log_id, log_id, "the log keeps its name");
    place.remove().await;
}

async fn stops_with_a_transaction_open(place: Place) {
    let (database, mut writer) = place.lead().await;
    writer.begin().await.unwrap();
    writer.put(stock("a", 1));
    writer.sql(Statement::new("SELECT 1")).await.unwrap();
    writer.stop().await.unwrap();
    let writer = next_writer(&database).await;
    assert!(writer.head().previous_stop_clean);
    assert_eq!(count(&database).await, 0);
    place.remove().await;
}

async fn goes_on_after_a_rollback(place: Place) {
    let (database, mut writer) = place.lead().await;
    for round in 1..=3_u64 {
        writer.begin().await.unwrap();
        writer.put(stock("dropped", 1));
        writer.append_inbox(input("dropped", 1), String::new());
        writer.append_outbox(message("dropped", "{}"));
        writer.rollback().await.unwrap();
        writer.rollback().await.expect("a second rollback does no harm");
        writer.begin().await.unwrap();
        assert_eq!(writer.get::<Stock>(&"dropped".to_owned()).await.unwrap(), None);
        writer.append_inbox(input(&format!("cmd_{round}"), 1), String::new());
        writer.append_outbox(message(&format!("msg_{round}"), "{}"));
        writer.commit().await.unwrap();
        let head = database.head().await.unwrap().unwrap();
        assert_eq!((head.inbox_end, head.outbox_end), (round, round));
    }
    place.remove().await;
}

/// Whatever step of the writer failed: after a rollback the next transaction commits.
async fn goes_on_after_every_kind_of_error(place: Place) {
    let (database, mut writer) = place.lead().await;
    for kind in 0..9 {
        writer.begin().await.unwrap();
        writer.put(stock(&format!("lost {kind}"), 1));
        match kind {
            0 => drop(refused(writer.sql(Statement::new("THIS IS NO SQL")).await)),
            1 => drop(refused(writer.sql(Statement::new("SELECT no_column FROM stock")).await)),
            2 => {
                // The flush before the statement fails.
                writer.put(stock("negative", -1));
                assert_eq!(refused(writer.sql(Statement::new("SELECT 1")).await).code(), "constraint");
            }
            3 => {
                writer.append_inbox(input("twice", 1), String::new());
                writer.append_inbox(input("twice", 1), String::new());
                assert_eq!(refused(writer.commit().await).code(), "constraint");
            }
            4 => {
                // The message of a log's position that is taken: as after a restored outbox.
                writer.sql(Statement::new(
                    "INSERT INTO outbox (position, id, subject, key, causation_id, correlation_id, actor, created_at, payload) \
                     VALUES (1, '', '', '', '', '', '', 0, '')",
                ))
                .await
                .unwrap();
                writer.append_outbox(message("msg_1", "{}"));
                assert_eq!(refused(writer.commit().await).code(), "constraint");
            }
            5 => drop(refused(writer.begin().await)),
            6 => drop(refused(writer.record_attempt("cmd").await)),
            7 => {
                // A transaction that was ended behind the writer's back.
                let _ = writer.sql(Statement::new("ROLLBACK")).await;
            }
            _ => drop(refused(writer.sql(Statement::new("SELECT ?").bind("a\0b")).await)),
        }
        writer.rollback().await.unwrap_or_else(|error| panic!("kind {kind}: {error}"));
        writer.begin().await.unwrap_or_else(|error| panic!("kind {kind}: {error}"));
        writer.put(stock(&format!("kept {kind}"), 1));
        writer.commit().await.unwrap_or_else(|error| panic!("kind {kind}: {error}"));
        assert_eq!(count(&database).await, kind + 1, "kind {kind}");
    }
    assert_eq!(database.head().await.unwrap().unwrap().outbox_end, 0);
    place.remove().await;
}

async fn reconnects_to_what_was_committed(place: Place) {
    let (database, mut writer) = place.lead().await;
    writer.begin().await.unwrap();
    writer.put(stock("a", 1));
    writer.append_outbox(message("msg_1", "{}"));
    writer.commit().await.unwrap();
    writer.begin().await.unwrap();
    writer.put(stock("b", 1));
    writer.append_outbox(message("msg_2", "{}"));
    writer.sql(Statement::new("SELECT 1")).await.unwrap();
    reconnect(&mut writer).await;
    assert_eq!((writer.head().epoch, writer.head().outbox_end), (1, 1));
    writer.begin().await.unwrap();
    writer.put(stock("c", 1));
    writer.commit().await.unwrap();
    assert_eq!(count(&database).await, 2);
    place.remove().await;
}

async fn is_superseded_when_the_head_moved(place: Place) {
    let (_, mut writer) = place.lead().await;
    for column in ["outbox_end", "inbox_end"] {
        place.stranger(&format!("UPDATE head SET {column} = {column} + 1")).await;
        let error = refused(writer.begin().await);
        assert!(matches!(error, JournalError::Superseded { ours: 1, found: 1 }), "{error}");
        refused(writer.commit().await);
        writer.rollback().await.unwrap();
        place.stranger(&format!("UPDATE head SET {column} = {column} - 1")).await;
        writer.begin().await.unwrap();
        writer.commit().await.unwrap();
    }
    place.remove().await;
}

async fn is_superseded_by_a_new_epoch(place: Place) {
    let (database, mut writer) = place.lead().await;
    writer.begin().await.unwrap();
    writer.commit().await.unwrap();
    place.stranger("UPDATE head SET epoch = 7").await;
    for _ in 0..2 {
        let error = refused(writer.begin().await);
        assert!(matches!(error, JournalError::Superseded { ours: 1, found: 7 }), "{error}");
        writer.rollback().await.unwrap();
    }
    assert!(matches!(refused(writer.record_attempt("cmd").await), JournalError::Superseded { .. }));
    writer.rollback().await.unwrap();
    assert_eq!(
        database.fetch(Statement::new("SELECT COUNT(*) FROM attempt")).await.unwrap()[0].get::<i64>(0).unwrap(),
        0
    );
    assert!(matches!(refused(writer.reconnect().await), JournalError::Superseded { ours: 1, found: 7 }));
    place.remove().await;
}

/// What each step says when the server has ended the session, and that the writer goes on after a reconnect.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn goes_on_after_the_server_ended_its_session() {
    let place = Place::postgres();
    let (database, mut writer) = place.lead().await;
    for step in ["begin", "get", "sql", "commit", "rollback"] {
        if step != "begin" {
            writer.begin().await.unwrap();
            writer.put(stock(&format!("lost in {step}"), 1));
            writer.append_outbox(message("lost", "{}"));
        }
        let kill = format!(
            "SELECT pg_terminate_backend(pid, 5000)::TEXT FROM pg_stat_activity WHERE application_name = 'pangaea-{}'",
            place.module
        );
        assert!(!place.stranger(&kill).await.is_empty());
        let error = match step {
            "begin" => refused(writer.begin().await),
            "get" => refused(writer.get::<Stock>(&"a".to_owned()).await),
            "sql" => refused(writer.sql(Statement::new("SELECT 1")).await),
            "commit" => refused(writer.commit().await),
            _ => refused(writer.rollback().await),
        };
        assert!(error.is_transient(), "{step}: {error:?}");
        // The connection is gone for this one too; it still drops the batch.
        let _ = writer.rollback().await;
        writer.reconnect().await.unwrap();
        writer.begin().await.unwrap();
        writer.put(stock(&format!("kept after {step}"), 1));
        writer.append_outbox(message(&format!("msg_{step}"), "{}"));
        writer.commit().await.unwrap();
    }
    assert_eq!(count(&database).await, 5);
    assert_eq!((writer.head().epoch, writer.head().outbox_end), (1, 5));
    place.remove().await;
}

/// The old session is still there, as after a cut network: that passes, so it is no reason to give up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waits_for_its_own_old_session() {
    let place = Place::postgres();
    let (_, mut writer) = place.lead().await;
    let url = place.url.clone();
    let mut holder = <sqlx::PgConnection as sqlx::Connection>::connect(&url).await.unwrap();
    let kill = format!(
        "SELECT pg_terminate_backend(pid, 5000)::TEXT FROM pg_stat_activity WHERE application_name = 'pangaea-{}'",
        place.module
    );
    place.stranger(&kill).await;
    let lock = format!("SELECT pg_advisory_lock(hashtextextended('pangaea/{}', 0))::TEXT", place.module);
    sqlx::raw_sql(sqlx::AssertSqlSafe(lock)).execute(&mut holder).await.unwrap();
    let error = refused(writer.reconnect().await);
    assert!(matches!(&error, JournalError::Unavailable(reason) if reason.contains("still locked")), "{error:?}");
    // Had it been another leader, which has written, this one gives up.
    place.stranger("UPDATE head SET epoch = 2").await;
    assert!(matches!(refused(writer.reconnect().await), JournalError::Superseded { ours: 1, found: 2 }));
    place.stranger("UPDATE head SET epoch = 1").await;
    sqlx::Connection::close(holder).await.unwrap();
    reconnect(&mut writer).await;
    writer.begin().await.unwrap();
    writer.commit().await.unwrap();
    place.remove().await;
}
