//! Tables made by somebody who is not the module's writer.

use pangaea_journal::{JournalError, Migration, Statement};

use crate::support::{Place, on_each_durable_database, refused};

on_each_durable_database!(a_writer_waits_for_tables_that_others_make, additions_are_made_beside_a_leader);

const FIRST: Migration = Migration { name: "0001", sql: "CREATE TABLE one (id BIGINT PRIMARY KEY);" };
const SECOND: Migration = Migration { name: "0002", sql: "ALTER TABLE one ADD COLUMN note TEXT;" };
const ENDING: Migration =
    Migration { name: "0003", sql: "-- writable_from: 1.2.0\nALTER TABLE one ADD COLUMN more TEXT;" };

async fn a_writer_waits_for_tables_that_others_make(place: Place) {
    let (database, job) = (place.open().await.migrated_elsewhere(), place.open().await);
    let told = refused(database.writer(&[FIRST], "1.0.0").await.map(drop));
    assert!(matches!(&told, JournalError::NotMigrated { migration, .. } if migration == "journal/0001"), "{told}");
    assert!(told.to_string().contains("pangaea provision"), "{told}");
    let made = job.provision(&[FIRST], "1.0.0", Some("nobody_of_this_name")).await.unwrap();
    assert_eq!(
        (made.applied, made.granted_to),
        (vec!["journal/0001".into(), "journal/0002".into(), "0001".into()], None)
    );
    database.writer(&[FIRST], "1.0.0").await.unwrap().stop().await.unwrap();
    let told = refused(database.writer(&[FIRST, SECOND], "1.1.0").await.map(drop));
    assert!(matches!(&told, JournalError::NotMigrated { migration, .. } if migration == "0002"), "{told}");
    // Done again, it changes nothing.
    assert!(job.provision(&[FIRST], "1.0.0", None).await.unwrap().applied.is_empty());
    place.remove().await;
}

/// A SQLite file has one process, so that there nothing is made beside a leader.
async fn additions_are_made_beside_a_leader(place: Place) {
    let (database, job) = (place.open().await, place.open().await);
    let mut leader = database.writer(&[FIRST], "1.0.0").await.unwrap();
    if place.is_postgres() {
        assert_eq!(job.provision(&[FIRST, SECOND], "1.1.0", None).await.unwrap().applied, ["0002"]);
    }
    let told = refused(job.provision(&[FIRST, SECOND, ENDING], "1.2.0", None).await);
    assert!(matches!(&told, JournalError::Locked { .. }), "{told}");
    leader.begin().await.unwrap();
    leader.sql(Statement::new("INSERT INTO one (id) VALUES (7)")).await.unwrap();
    leader.commit().await.unwrap();
    leader.stop().await.unwrap();
    let made = job.provision(&[FIRST, SECOND, ENDING], "1.2.0", None).await.unwrap();
    assert_eq!(made.applied.last().map(String::as_str), Some("0003"));
    let told = refused(database.writer(&[FIRST], "1.0.0").await.map(drop));
    assert!(matches!(&told, JournalError::TooOld { .. }), "{told}");
    place.remove().await;
}
