//! The unit of work against a model: whatever is put, deleted, taken back, rolled back or committed, in any order, the map
//! and the database hold what a `BTreeMap` with snapshots holds.

use std::collections::BTreeMap;

use pangaea_journal::{Database, Mark, Statement, Writer};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::support::{Place, Price, TABLES};

type Key = (u8, u8);
type Rows = BTreeMap<Key, i64>;

#[derive(Clone, Debug)]
enum Step {
    Put(Key, i64),
    Delete(Key),
    Get(Key),
    Prefetch(Vec<Key>),
    Mark,
    /// To one of the marks that are held, counted from the newest.
    RollbackTo(usize),
    Sql,
    Commit,
    Rollback,
    /// The writer goes and another comes: what was not committed is gone.
    Restart,
}

/// What the writer must hold.
#[derive(Default)]
struct Model {
    committed: Rows,
    now: Rows,
    marks: Vec<(Mark, Rows)>,
}

fn key() -> impl Strategy<Value = Key> {
    (0_u8..4, 0_u8..3)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (key(), any::<i64>()).prop_map(|(key, value)| Step::Put(key, value)),
        4 => key().prop_map(Step::Delete),
        3 => key().prop_map(Step::Get),
        1 => prop::collection::vec(key(), 0..6).prop_map(Step::Prefetch),
        3 => Just(Step::Mark),
        3 => (0_usize..4).prop_map(Step::RollbackTo),
        1 => Just(Step::Sql),
        2 => Just(Step::Commit),
        1 => Just(Step::Rollback),
        1 => Just(Step::Restart),
    ]
}

fn texts((sku, currency): Key) -> (String, String) {
    (format!("sku {sku}"), format!("currency '{currency}'"))
}

fn row(key: Key, amount: i64) -> Price {
    let (sku, currency) = texts(key);
    Price { sku, currency, amount }
}

async fn apply(step: Step, database: &Database, mut writer: Writer, model: &mut Model) -> Writer {
    match step {
        Step::Put(key, amount) => {
            writer.put(row(key, amount));
            model.now.insert(key, amount);
        }
        Step::Delete(key) => {
            let (sku, currency) = texts(key);
            writer.delete::<Price>((&sku, &currency));
            model.now.remove(&key);
        }
        Step::Get(key) => check_key(&mut writer, key, &model.now).await,
        Step::Prefetch(keys) => {
            let keys = keys.into_iter().map(texts).map(|(sku, currency)| vec![sku.into(), currency.into()]);
            writer.prefetch::<Price>(keys).await.unwrap();
        }
        Step::Mark => model.marks.push((writer.mark(), model.now.clone())),
        Step::RollbackTo(back) => {
            let keep = model.marks.len().saturating_sub(back);
            model.marks.truncate(keep);
            if let Some((mark, rows)) = model.marks.pop() {
                writer.rollback_to(mark);
                model.now = rows;
            }
        }
        Step::Sql => {
            let rows = writer.sql(Statement::new("SELECT COUNT(*) FROM price")).await.unwrap();
            assert_eq!(rows[0].get::<u64>(0).unwrap(), model.now.len() as u64);
            // Earlier marks whose changes are now in the database cannot be gone back to.
            model.marks.retain(|(mark, _)| writer.can_roll_back_to(*mark));
        }
        Step::Commit => {
            writer.commit().await.unwrap();
            model.committed = model.now.clone();
            check_database(database, &model.committed).await;
            writer.begin().await.unwrap();
            model.marks.clear();
        }
        Step::Rollback => {
            writer.rollback().await.unwrap();
            check_database(database, &model.committed).await;
            writer.begin().await.unwrap();
            model.now = model.committed.clone();
            model.marks.clear();
        }
        Step::Restart => {
            writer.stop().await.unwrap();
            writer = database.writer(TABLES, "1.0.0").await.unwrap();
            writer.begin().await.unwrap();
            model.now = model.committed.clone();
            model.marks.clear();
        }
    }
    writer
}

async fn check_key(writer: &mut Writer, key: Key, rows: &Rows) {
    let (sku, currency) = texts(key);
    let found = writer.get::<Price>((&sku, &currency)).await.unwrap();
    assert_eq!(found, rows.get(&key).map(|amount| row(key, *amount)));
}

async fn check_database(database: &Database, rows: &Rows) {
    let found = database.fetch(Statement::new("SELECT sku, currency, amount FROM price")).await.unwrap();
    let mut found: Vec<(String, String, i64)> =
        found.iter().map(|row| (row.get(0).unwrap(), row.get(1).unwrap(), row.get(2).unwrap())).collect();
    found.sort();
    let expected: Vec<_> = rows.iter().map(|(key, amount)| (texts(*key).0, texts(*key).1, *amount)).collect();
    assert_eq!(found, expected);
}

async fn run(database: &Database, steps: Vec<Step>) {
    let mut writer = database.writer(TABLES, "1.0.0").await.unwrap();
    writer.begin().await.unwrap();
    writer.sql(Statement::new("DELETE FROM price")).await.unwrap();
    writer.commit().await.unwrap();
    writer.begin().await.unwrap();
    let mut model = Model::default();
    for step in steps {
        writer = apply(step, database, writer, &mut model).await;
    }
    for sku in 0..4 {
        for currency in 0..3 {
            check_key(&mut writer, (sku, currency), &model.now).await;
        }
    }
    writer.commit().await.unwrap();
    check_database(database, &model.now).await;
    writer.stop().await.unwrap();
}

fn equals_the_model(place: Place, cases: u32) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let database = runtime.block_on(place.open());
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&prop::collection::vec(step(), 1..60), |steps| {
        // A failed case leaves a writer behind in no state to be used: the next case opens its own.
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(run(&database, steps))));
        caught.map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            TestCaseError::fail(
                text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default(),
            )
        })
    });
    result.unwrap();
    runtime.block_on(place.remove());
}

#[test]
fn sqlite_file() {
    equals_the_model(Place::sqlite_file(), 48);
}

#[test]
fn sqlite_memory() {
    equals_the_model(Place::sqlite_memory(), 96);
}

#[test]
fn postgres() {
    equals_the_model(Place::postgres(), 24);
}
