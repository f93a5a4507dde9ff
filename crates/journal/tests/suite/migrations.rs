use pangaea_journal::{JournalError, Migration, Statement};

use crate::support::{Place, on_each_database, refused};

on_each_database!(applies_each_once, refuses_a_changed_one, leaves_nothing_of_one_that_fails, takes_any_layout);

const FIRST: Migration = Migration { name: "0001", sql: "CREATE TABLE one (id BIGINT PRIMARY KEY);" };
const SECOND: Migration = Migration { name: "0002", sql: "ALTER TABLE one ADD COLUMN note TEXT;" };

async fn applies_each_once(place: Place) {
    let database = place.open().await;
    let mut writer = database.writer(&[FIRST], "1.0.0").await.unwrap();
    writer.begin().await.unwrap();
    writer.sql(Statement::new("INSERT INTO one (id) VALUES (7)")).await.unwrap();
    writer.commit().await.unwrap();
    writer.stop().await.unwrap();
    for _ in 0..2 {
        database.writer(&[FIRST, SECOND], "1.1.0").await.unwrap().stop().await.unwrap();
    }
    let rows = database.fetch(Statement::new("SELECT id, note FROM one")).await.unwrap();
    assert_eq!((rows.len(), rows[0].get::<i64>(0).unwrap(), rows[0].get::<Option<String>>(1).unwrap()), (1, 7, None));
    let names = database.fetch(Statement::new("SELECT name FROM migration ORDER BY name")).await.unwrap();
    let names: Vec<String> = names.iter().map(|row| row.get(0).unwrap()).collect();
    assert_eq!(names, ["0001", "0002", "journal/0001", "journal/0002"]);
    place.remove().await;
}

async fn refuses_a_changed_one(place: Place) {
    let database = place.open().await;
    database.writer(&[FIRST], "1.0.0").await.unwrap().stop().await.unwrap();
    let changed = Migration { sql: "CREATE TABLE one (id BIGINT PRIMARY KEY, more TEXT);", ..FIRST };
    let error = refused(database.writer(&[changed, SECOND], "1.1.0").await.map(drop));
    assert!(matches!(&error, JournalError::MigrationChanged { name, .. } if name == "0001"), "{error}");
    assert!(error.to_string().contains("restore its text"), "{error}");
    // The refusal gave the lock back and applied nothing after the changed one.
    let writer = database.writer(&[FIRST], "1.0.0").await.unwrap();
    assert_eq!(writer.head().epoch, 2);
    refused(database.fetch(Statement::new("SELECT note FROM one")).await);
    place.remove().await;
}

async fn leaves_nothing_of_one_that_fails(place: Place) {
    let database = place.open().await;
    let broken = Migration {
        name: "0002",
        sql: "CREATE TABLE two (id BIGINT PRIMARY KEY); INSERT INTO two (id) VALUES (1); INSERT INTO nowhere (id) VALUES (1);",
    };
    let error = refused(database.writer(&[FIRST, broken], "1.0.0").await.map(drop));
    assert!(error.to_string().contains("migration 0002") && error.to_string().contains("nowhere"), "{error}");
    refused(database.fetch(Statement::new("SELECT id FROM two")).await);
    // Put right, it is applied from its beginning.
    let mended = Migration { name: "0002", sql: "CREATE TABLE two (id BIGINT PRIMARY KEY);" };
    database.writer(&[FIRST, mended], "1.0.0").await.unwrap();
    assert!(database.fetch(Statement::new("SELECT id FROM two")).await.unwrap().is_empty());
    place.remove().await;
}

/// No final semicolon, a comment at the end, a name and a text with quotes and non-ASCII letters.
async fn takes_any_layout(place: Place) {
    let database = place.open().await;
    let odd = [
        Migration { name: "l'été", sql: "CREATE TABLE one (id BIGINT PRIMARY KEY, note TEXT)" },
        Migration {
            name: "0002", sql: "INSERT INTO one (id, note) VALUES (1, 'it''s ''naïve'' \"日本\"') -- the end"
        },
    ];
    for _ in 0..2 {
        database.writer(&odd, "1.0.0").await.unwrap().stop().await.unwrap();
    }
    let rows = database.fetch(Statement::new("SELECT note FROM one")).await.unwrap();
    assert_eq!(rows[0].get::<String>(0).unwrap(), "it's 'naïve' \"日本\"");
    place.remove().await;
}
