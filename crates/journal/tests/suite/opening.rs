//! Opening from every form of URL, clear errors for bad ones, and one writer only.

use pangaea_journal::{Database, JournalError, Kind, Statement};

use crate::support::{
    Folder, Place, TABLES, on_each_database, on_each_durable_database, options, postgres_url, refused, stock,
};

on_each_database!(reads_but_never_writes_with_the_pool, refuses_a_second_writer, has_no_head_before_the_first_writer);
on_each_durable_database!(takes_turns);

async fn reads_but_never_writes_with_the_pool(place: Place) {
    let (database, mut writer) = place.lead().await;
    writer.begin().await.unwrap();
    writer.put(stock("a", 1));
    writer.commit().await.unwrap();

    database.ping().await.unwrap();
    let rows = database.fetch(Statement::new("SELECT on_hand FROM stock WHERE sku = ?").bind("a")).await.unwrap();
    assert_eq!(rows[0].get::<i64>(0).unwrap(), 1);
    let error = refused(database.fetch(Statement::new("UPDATE stock SET on_hand = 2")).await);
    // The same answer as that of a server which has become a replica: no input is to blame for it.
    assert!(matches!(&error, JournalError::Unavailable(reason) if reason.to_lowercase().contains("read")), "{error}");
    let rows = database.fetch(Statement::new("SELECT on_hand FROM stock")).await.unwrap();
    assert_eq!(rows[0].get::<i64>(0).unwrap(), 1);
    place.remove().await;
}

async fn refuses_a_second_writer(place: Place) {
    let (database, writer) = place.lead().await;
    let error = refused(database.writer(TABLES, "1.0.0").await.map(drop));
    assert!(matches!(error, JournalError::Locked { .. }), "{error}");
    assert_eq!(error.code(), "database_locked");
    writer.stop().await.unwrap();
    let writer = database.writer(TABLES, "1.0.0").await.unwrap();
    assert_eq!(writer.head().epoch, 2);
    place.remove().await;
}

async fn has_no_head_before_the_first_writer(place: Place) {
    let database = place.open().await;
    assert_eq!(database.head().await.unwrap(), None);
    let writer = database.writer(TABLES, "1.0.0").await.unwrap();
    assert_eq!(database.head().await.unwrap().unwrap().log_id, writer.head().log_id);
    place.remove().await;
}

/// The same through two handles on one place, as two processes would have.
async fn takes_turns(place: Place) {
    let (first, writer) = place.lead().await;
    let second = place.open().await;
    assert!(matches!(refused(second.writer(TABLES, "1.0.0").await.map(drop)), JournalError::Locked { .. }));
    let log_id = writer.head().log_id.clone();
    writer.stop().await.unwrap();
    first.close().await;
    let writer = second.writer(TABLES, "1.0.0").await.unwrap();
    assert_eq!((writer.head().epoch, &writer.head().log_id), (2, &log_id));
    place.remove().await;
}

#[tokio::test]
async fn opens_every_form_of_sqlite_url() {
    let folder = Folder::new();
    let root = folder.path().display();
    for (url, file) in [
        (format!("sqlite:{root}/"), "stock.db"),
        (format!("sqlite:{root}"), "stock.db"),
        (format!("sqlite:{root}/deep/er/"), "deep/er/stock.db"),
        (format!("sqlite:{root}/of_{{module}}.sqlite"), "of_stock.sqlite"),
        (format!("sqlite://{root}/{{module}}/data"), "stock/data"),
    ] {
        let database = Database::open("stock", &options(&url)).await.unwrap();
        assert_eq!(database.kind(), Kind::Sqlite, "{url}");
        assert_eq!(database.file(), Some(folder.path().join(file).as_path()), "{url}");
        database.writer(TABLES, "1.0.0").await.unwrap().stop().await.unwrap();
        assert!(folder.path().join(file).is_file(), "{url}");
    }
    let memory = Database::open("stock", &options("sqlite::memory:")).await.unwrap();
    assert_eq!((memory.kind(), memory.file(), memory.module()), (Kind::Sqlite, None, "stock"));
}

#[tokio::test]
async fn opens_both_names_of_postgres() {
    let url = postgres_url();
    let rest = url.split_once(':').unwrap().1;
    for scheme in ["postgres", "postgresql"] {
        let database = Database::open("stock", &options(&format!("{scheme}:{rest}"))).await.unwrap();
        assert_eq!((database.kind(), database.file()), (Kind::Postgres, None));
        database.ping().await.unwrap();
    }
}

#[tokio::test]
async fn says_what_is_wrong_with_a_url() {
    let folder = Folder::new();
    let root = folder.path().display();
    for (url, says) in [
        ("mysql://root@localhost/shop".to_owned(), "neither sqlite: nor postgres:"),
        (String::new(), "neither sqlite: nor postgres:"),
        ("sqlite:".to_owned(), "no file is named"),
        (format!("sqlite:{root}/shop.db"), "{module}"),
        (format!("sqlite:{root}/?mode=ro"), "options after ?"),
        ("postgres://host:notaport/shop".to_owned(), "port"),
    ] {
        let error = refused(Database::open("stock", &options(&url)).await);
        assert!(matches!(error, JournalError::Url { .. }), "{url}: {error}");
        assert!(error.to_string().contains(says), "{url}: {error}");
        assert!(!error.is_transient());
    }
    for module in ["", "Stock", "../stock", "stock\"; DROP SCHEMA public; --", "1stock", &"s".repeat(41)] {
        let error = refused(Database::open(module, &options("sqlite::memory:")).await);
        assert!(error.to_string().contains("the module's name"), "{module}: {error}");
    }
}

#[tokio::test]
async fn never_shows_a_password() {
    for url in [
        "postgres://shop:s3cret@host:notaport/shop",
        "mysql://shop:s3cret@host/shop",
        "postgres://shop:s3cret@127.0.0.1:1/shop",
    ] {
        let error = refused(Database::open("stock", &options(url)).await);
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
    }
}

#[tokio::test]
async fn says_at_once_that_nothing_listens() {
    let started = std::time::Instant::now();
    let error = refused(Database::open("stock", &options("postgres://127.0.0.1:1/shop")).await);
    assert!(matches!(error, JournalError::Open { .. }), "{error}");
    assert!(
        error.to_string().contains("postgres://127.0.0.1:1/shop") && error.to_string().contains("refused"),
        "{error}"
    );
    assert!(started.elapsed().as_secs() < 4);
}

#[tokio::test]
async fn says_that_a_file_is_no_database() {
    let folder = Folder::new();
    std::fs::write(folder.path().join("stock.db"), "this is a text, and long enough to be read as a header of a file")
        .unwrap();
    let error = refused(Database::open("stock", &options(&format!("sqlite:{}/", folder.path().display()))).await);
    assert!(matches!(error, JournalError::Open { .. }), "{error}");
    assert!(error.to_string().contains("stock.db") && error.to_string().contains("not a database"), "{error}");
    std::fs::write(folder.path().join("plain"), "").unwrap();
    let error =
        refused(Database::open("stock", &options(&format!("sqlite:{}/plain/sub/", folder.path().display()))).await);
    assert!(matches!(error, JournalError::Open { .. }), "{error}");
}

/// Cargo does not notice when `[env]` of `.cargo/config.toml` changes, so a target folder from before keeps the old library.
#[tokio::test]
async fn sqlite_shares_nothing_between_connections() {
    let database = Database::open("stock", &options("sqlite::memory:")).await.unwrap();
    let rows = database.fetch(Statement::new("PRAGMA compile_options")).await.unwrap();
    let compiled: Vec<String> = rows.iter().map(|row| row.get(0).unwrap()).collect();
    let has = |option: &str| compiled.iter().any(|compiled| compiled == option);
    let as_configured = has("DEFAULT_MEMSTATUS=0") && !has("ENABLE_MEMORY_MANAGEMENT");
    assert!(as_configured, "run `cargo clean -p libsqlite3-sys`, then build again: {compiled:?}");
}
