//! A module that sells and delivers, in the version that was recorded and in versions with a mistake.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::cell::Cell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use pangaea_contracts::{Actor, Message, OrderId, Timestamp};
use pangaea_journal::{Database, DatabaseOptions, Migration, record};
use pangaea_kernel::{Answer, Cx, Definition, Executor, Failure, Input, InputKind, Work, settings_subject};
use pangaea_replay::{Header, Progress, RecordOptions, Recording, RecordingWriter};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

record! {
    pub(crate) struct Sale in "sale" {
        key { order_id: OrderId }
        customer: String,
        amount: i64,
        sold_at: Timestamp,
    }
}

record! {
    pub(crate) struct Total in "total" {
        key { name: String }
        amount: i64,
    }
}

const MIGRATION: Migration = Migration {
    name: "0001",
    sql: "CREATE TABLE sale (order_id TEXT PRIMARY KEY, customer TEXT NOT NULL, amount BIGINT NOT NULL, sold_at BIGINT NOT NULL);
          CREATE TABLE total (name TEXT PRIMARY KEY, amount BIGINT NOT NULL);",
};

/// A mistake of a version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mistake {
    #[default]
    None,
    WrongAmount,
    /// Only of sales above 900.
    WrongAmountOfLargeSales,
    OutputsSwapped,
    MissingEvent,
    ExtraEvent,
    OtherDeadline,
    OtherAnswer,
    Panic,
    WrongRow,
    WallClock,
    UnorderedMap,
}

thread_local! {
    static MISTAKE: Cell<Mistake> = const { Cell::new(Mistake::None) };
}

/// What follows on this thread is that version.
pub(crate) fn with(mistake: Mistake) {
    MISTAKE.with(|current| current.set(mistake));
}

pub(crate) fn current() -> Mistake {
    MISTAKE.with(Cell::get)
}

fn is(mistake: Mistake) -> bool {
    current() == mistake
}

#[derive(Serialize, Deserialize, JsonSchema)]
pub(crate) struct Sell {
    pub(crate) amount: i64,
    #[schemars(extend("x-personal" = true))]
    pub(crate) customer: String,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Sold {
    order_id: OrderId,
    amount: i64,
    #[schemars(extend("x-personal" = true))]
    customer: String,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Counted {
    order_id: OrderId,
    total: i64,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Reminder {
    order_id: OrderId,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Reminded {
    order_id: OrderId,
}

macro_rules! message {
    ($type:ident, $subject:literal) => {
        impl Message for $type {
            const SUBJECT: &'static str = $subject;

            fn key(&self) -> String {
                self.order_id.to_string()
            }
        }
    };
}

message!(Sold, "till.evt.sold.v1");
message!(Counted, "till.evt.counted.v1");
message!(Reminder, "till.tmr.reminder.v1");
message!(Reminded, "till.evt.reminded.v1");

impl Message for Sell {
    const SUBJECT: &'static str = "till.rpc.sell.v1";

    fn key(&self) -> String {
        "till".to_owned()
    }
}

async fn sell(cx: &mut Cx, command: Sell) -> Result<Answer, Failure> {
    let Sell { amount, customer } = command;
    assert!(!is(Mistake::Panic) || amount != 300, "a mistake");
    let order_id: OrderId = cx.id()?;
    let total = cx.get::<Total>(&"all".to_owned()).await?.map_or(0, |total| total.amount) + amount;
    let is_wrong = is(Mistake::WrongAmount) || is(Mistake::WrongAmountOfLargeSales) && amount > 900;
    let sold = Sold { order_id: order_id.clone(), amount: amount + i64::from(is_wrong), customer: customer.clone() };
    let counted = Counted { order_id: order_id.clone(), total };
    if is(Mistake::OutputsSwapped) {
        cx.emit(&counted);
        cx.emit(&sold);
    } else if is(Mistake::UnorderedMap) {
        let both = HashMap::from([(1, 0), (2, 1), (3, 0), (4, 1), (5, 0), (6, 1)]);
        match both.into_values().next() {
            Some(0) => (cx.emit(&counted), cx.emit(&sold)),
            _ => (cx.emit(&sold), cx.emit(&counted)),
        };
    } else {
        cx.emit(&sold);
        if !is(Mistake::MissingEvent) {
            cx.emit(&counted);
        }
    }
    if is(Mistake::ExtraEvent) {
        cx.emit(&counted);
    }
    cx.after(if is(Mistake::OtherDeadline) { 61_000 } else { 60_000 }, &Reminder { order_id: order_id.clone() });
    let sold_at = if is(Mistake::WallClock) { wall_clock() } else { cx.now() };
    let row_amount = amount + i64::from(is(Mistake::WrongRow));
    cx.put(Sale { order_id, customer, amount: row_amount, sold_at });
    cx.put(Total { name: "all".to_owned(), amount: total });
    Ok(Answer::empty(if is(Mistake::OtherAnswer) { 201 } else { 200 }))
}

#[expect(clippy::disallowed_methods, reason = "a mistake on purpose")]
fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    // In a moment's time every run gets another.
    Timestamp::from_millis(i64::try_from(since.as_nanos() % 1_000_000_000).unwrap())
}

async fn remind(cx: &mut Cx, timer: Reminder) -> Result<(), Failure> {
    cx.emit(&Reminded { order_id: timer.order_id });
    Ok(())
}

pub(crate) fn till() -> Arc<Definition> {
    let definition = Definition::new("till").migrations(&[MIGRATION]).command(sell).timer(remind);
    Arc::new(definition.emits::<Sold>().emits::<Counted>().emits::<Reminded>())
}

/// A folder that is gone when the test is over.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("pangaea-replay-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A store that has sold `sales` things for 100, 200 … to customers of their own, and has been reminded of the first of them.
pub(crate) async fn sold(sales: i64) -> Database {
    with(Mistake::None);
    let options = DatabaseOptions { url: "sqlite::memory:".into(), read_connections_max: 2, synchronous_full: false };
    let database = Database::open("till", &options).await.unwrap();
    let definition = till();
    let writer = database.writer(definition.all_migrations(), "test").await.unwrap();
    let mut executor = Executor::new(writer, definition, "test").await.unwrap();
    let settings = Input::new(InputKind::Settings, "settings".into(), &settings_subject("till"), "till", "null".into());
    executor.run(&[Work::Input(settings)], at(0)).await.unwrap();
    for number in 1..=sales {
        let payload =
            serde_json::to_string(&Sell { amount: 100 * number, customer: format!("customer-{number}@example") });
        let id = format!("cmd_{number:026}");
        let kind = InputKind::Command { fingerprint: id.clone() };
        let input =
            Input { actor: Actor::user("usr_1", []), ..Input::new(kind, id, Sell::SUBJECT, "till", payload.unwrap()) };
        executor.run(&[Work::Input(input)], at(number * 10_000)).await.unwrap();
    }
    executor.stop().await.unwrap();
    database
}

pub(crate) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + millis)
}

pub(crate) fn header() -> Header {
    Header { made_by: "test".into(), made_at: at(0), redacted: false }
}

pub(crate) async fn recorded(database: &Database, options: &RecordOptions, file: &Path) -> Recording {
    let mut out = RecordingWriter::create(file, &header(), true).unwrap();
    pangaea_replay::record(database, &till(), options, &mut out, &Progress::default()).await.unwrap();
    out.finish().unwrap();
    Recording::open(file).unwrap()
}
