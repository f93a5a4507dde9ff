//! Readers that a later release adds: each has its own cursor, and an older release leaves it alone.

use std::sync::Arc;

use pangaea_contracts::{Actor, Message, Timestamp};
use pangaea_journal::{Database, DatabaseOptions, Migration, record};
use pangaea_kernel::{Cx, Definition, Done, Executor, Failure, Input, InputKind, Reader, Reading, Start, Work};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

record! {
    pub struct Count in "count_of" {
        key { subject: String }
        messages: i64,
    }
}

const MIGRATION: Migration =
    Migration { name: "0001", sql: "CREATE TABLE count_of (subject TEXT PRIMARY KEY, messages BIGINT NOT NULL);" };

macro_rules! message {
    ($name:ident, $subject:literal) => {
        #[derive(Serialize, Deserialize, JsonSchema)]
        struct $name {}

        impl Message for $name {
            const SUBJECT: &'static str = $subject;

            fn key(&self) -> String {
                "key".to_owned()
            }
        }
    };
}

message!(Baked, "oven.evt.baked.v1");
message!(Tasted, "oven.evt.tasted.v1");
message!(Burnt, "oven.evt.burnt.v1");

async fn count<M: Message>(cx: &mut Cx, _: M) -> Result<(), Failure> {
    let subject = M::SUBJECT.to_owned();
    let before = cx.get::<Count>(&subject).await?.map_or(0, |count| count.messages);
    cx.put(Count { subject, messages: before + 1 });
    Ok(())
}

const TASTING: Reader = Reader::named("tasting", Start::History);

fn older() -> Definition {
    Definition::new("van").migrations(&[MIGRATION]).on(count::<Baked>)
}

fn newer() -> Definition {
    older().on_from(TASTING, count::<Tasted>)
}

async fn database() -> Database {
    let options = DatabaseOptions { url: "sqlite::memory:".into(), read_connections_max: 2, synchronous_full: false };
    Database::open("van", &options).await.unwrap()
}

async fn lead(database: &Database, definition: Definition) -> Executor {
    assert_eq!(definition.faults(), &[] as &[String]);
    let writer = database.writer(definition.all_migrations(), "0.2.0").await.unwrap();
    Executor::new(writer, Arc::new(definition), "0.2.0").await.unwrap()
}

/// The message at `position`, when nothing after `after` was for its reader.
fn delivery<M: Message>(after: u64, position: u64) -> Work {
    Work::Input(Input {
        id: format!("msg_{position}"),
        kind: InputKind::Delivery { source: "oven".into(), log_id: "log_1".into(), after, position },
        subject: M::SUBJECT.to_owned(),
        key: "key".into(),
        causation_id: "cmd_1".into(),
        correlation_id: "cmd_1".into(),
        actor: Actor::system(),
        traceparent: None,
        payload: "{}".into(),
        secrets: Vec::new(),
    })
}

fn advance(reader: &str, after: u64, position: u64) -> Work {
    Work::Advance {
        reader: reader.into(),
        source: "oven".into(),
        log_id: "log_1".into(),
        after,
        position,
        message_id: format!("msg_{position}"),
    }
}

async fn run(executor: &mut Executor, work: &[Work]) -> Vec<Done> {
    executor.run(work, Timestamp::from_millis(1)).await.unwrap().done
}

fn cursors(executor: &Executor) -> Vec<(String, u64)> {
    executor.cursors().map(|row| (row.reader.clone(), row.position)).collect()
}

#[tokio::test]
async fn each_reader_of_a_source_has_its_own_cursor() {
    let database = database().await;
    let mut executor = lead(&database, newer()).await;
    let done = run(&mut executor, &[delivery::<Baked>(0, 3), delivery::<Tasted>(0, 1), delivery::<Tasted>(1, 4)]).await;
    assert_eq!(done, [Done::Handled, Done::Handled, Done::Handled]);
    assert_eq!(cursors(&executor), [("van".into(), 3), ("van-tasting".into(), 4)]);
    assert_eq!(executor.cursor("oven").unwrap().position, 3);
    let again =
        [delivery::<Tasted>(1, 4), delivery::<Baked>(5, 6), delivery::<Tasted>(5, 6), advance("van-tasting", 4, 9)];
    let expected = [Done::Duplicate, Done::Gap { expected_after: 3 }, Done::Gap { expected_after: 4 }, Done::Handled];
    assert_eq!(run(&mut executor, &again).await, expected);
    assert_eq!(cursors(&executor), [("van".into(), 3), ("van-tasting".into(), 9)]);
}

#[tokio::test]
async fn a_roll_back_and_forward_skips_nothing() {
    let database = database().await;
    let mut executor = lead(&database, newer()).await;
    run(&mut executor, &[delivery::<Baked>(0, 1), delivery::<Tasted>(0, 2)]).await;
    executor.stop().await.unwrap();
    // The older release reads on, and passes over what only the newer one handles.
    let mut executor = lead(&database, older()).await;
    let done = run(&mut executor, &[delivery::<Baked>(1, 5), advance("van", 5, 8)]).await;
    assert_eq!(done, [Done::Handled, Done::Handled]);
    assert_eq!(cursors(&executor), [("van".into(), 8), ("van-tasting".into(), 2)], "it is left alone");
    executor.stop().await.unwrap();
    let mut executor = lead(&database, newer()).await;
    let done = run(&mut executor, &[delivery::<Tasted>(2, 6), delivery::<Tasted>(6, 7)]).await;
    assert_eq!(done, [Done::Handled, Done::Handled]);
    let count = executor
        .writer()
        .database()
        .fetch(pangaea_journal::Statement::new("SELECT messages FROM count_of WHERE subject = 'oven.evt.tasted.v1'"));
    assert_eq!(count.await.unwrap()[0].get::<i64>(0).unwrap(), 3);
}

#[test]
fn readings_name_each_subject_once() {
    let definition = newer().on_from(TASTING, count::<Burnt>);
    let reading = |reader: &str, source: &str, subjects: &[&'static str]| Reading {
        reader: reader.into(),
        source: source.into(),
        start: Start::History,
        subjects: subjects.iter().copied().collect(),
    };
    let expected = [
        reading("van", "oven", &[Baked::SUBJECT]),
        reading("van", "user", &["user.evt.key_published.v1"]),
        reading("van-tasting", "oven", &[Burnt::SUBJECT, Tasted::SUBJECT]),
    ];
    assert_eq!(definition.readings(), expected);
    assert_eq!(definition.faults(), &[] as &[String]);
}

#[test]
fn readers_that_cannot_work_are_refused() {
    let two_starts = newer().on_from(Reader::named("tasting", Start::Now), count::<Burnt>);
    assert!(two_starts.faults()[0].contains("two starts"), "{:?}", two_starts.faults());
    for name in ["", "Tasting", "tast.ing", "a-name-that-is-far-too-long-to-be-the-name-of-a-consumer-anywhere"] {
        let definition = older().on_from(Reader::named(name, Start::Now), count::<Burnt>);
        assert_eq!(definition.faults().len(), 1, "{name}");
    }
}
