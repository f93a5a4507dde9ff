//! Going to places of a small recording: what an id's story is, what the tables held then, and where there is nothing.

use std::path::PathBuf;
use std::sync::Arc;

use pangaea_contracts::{Actor, Message, OrderId, Timestamp};
use pangaea_journal::{Database, DatabaseOptions, Migration, record as record_type};
use pangaea_kernel::{Answer, Cx, Definition, Executor, Failure, Input, InputKind, Work};
use pangaea_replay::{
    Bound, Change, EntryKind, Header, Ignore, ModuleRecording, Progress, RecordOptions, Recording, RecordingWriter,
    RowsWanted, Spot, Traveller, Until, UtteranceKind, check_bounds, concerned, find, record, story,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

record_type! {
    pub struct Tab in "tab" {
        key { order_id: OrderId }
        drinks: i64,
    }
}

const MIGRATION: Migration =
    Migration { name: "0001", sql: "CREATE TABLE tab (order_id TEXT PRIMARY KEY, drinks BIGINT NOT NULL);" };
/// 2023-11-14T22:13:20Z.
const BEGIN_MS: i64 = 1_700_000_000_000;

#[derive(Serialize, Deserialize, JsonSchema)]
struct Order {
    order_id: OrderId,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Served {
    order_id: OrderId,
    drinks: i64,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct LastCall {
    order_id: OrderId,
}

macro_rules! messages {
    ($($name:ident = $subject:literal;)*) => {$(
        impl Message for $name {
            const SUBJECT: &'static str = $subject;

            fn key(&self) -> String {
                self.order_id.to_string()
            }
        }
    )*};
}

messages! {
    Order = "bar.rpc.order.v1";
    Served = "bar.evt.served.v1";
    LastCall = "bar.tmr.last_call.v1";
}

async fn order<const AT_ONCE: i64>(cx: &mut Cx, command: Order) -> Result<Answer, Failure> {
    let order_id = command.order_id;
    let drinks = AT_ONCE + cx.get::<Tab>(&order_id).await?.map_or(0, |tab| tab.drinks);
    cx.put(Tab { order_id: order_id.clone(), drinks });
    cx.emit(&Served { order_id: order_id.clone(), drinks });
    cx.after(60_000, &LastCall { order_id: order_id.clone() });
    Answer::json(200, &json!({ "id": order_id, "drinks": drinks }))
}

async fn last_call(cx: &mut Cx, timer: LastCall) -> Result<(), Failure> {
    cx.delete::<Tab>(&timer.order_id);
    Ok(())
}

/// Serves so many drinks at once: one as recorded.
fn bar<const AT_ONCE: i64>() -> Arc<Definition> {
    let definition = Definition::new("bar").migrations(&[MIGRATION]).command(order::<AT_ONCE>).timer(last_call);
    let definition = definition.emits::<Served>();
    assert_eq!(definition.faults(), &[] as &[String]);
    Arc::new(definition)
}

fn id(number: u64) -> String {
    format!("ord_{number}")
}

fn at(position: i64) -> Timestamp {
    Timestamp::from_millis(BEGIN_MS + position)
}

fn command(number: u64, position: u64) -> Work {
    let id = format!("cmd_{position}");
    let order = Order { order_id: format!("ord_{number}").parse().unwrap() };
    Work::Input(Input {
        kind: InputKind::Command { fingerprint: id.clone() },
        subject: Order::SUBJECT.to_owned(),
        key: order.key(),
        causation_id: id.clone(),
        correlation_id: id.clone(),
        actor: Actor::system(),
        traceparent: None,
        payload: serde_json::to_string(&order).unwrap(),
        secrets: Vec::new(),
        id,
    })
}

/// Three guests by turns, 300 orders a millisecond apart; nobody stays until the last call. `from` is the first recorded.
async fn recorded(name: &str, from: u64) -> (PathBuf, ModuleRecording) {
    let options = DatabaseOptions { url: "sqlite::memory:".into(), read_connections_max: 2, synchronous_full: false };
    let database = Database::open("bar", &options).await.unwrap();
    let writer = database.writer(bar::<1>().all_migrations(), "test").await.unwrap();
    let mut executor = Executor::new(writer, bar::<1>(), "test").await.unwrap();
    for position in 1..=300 {
        executor.run(&[command(position % 3, position)], at(position as i64)).await.unwrap();
    }
    let file = std::env::temp_dir().join(format!("pangaea-travel-{}-{name}.rec", std::process::id()));
    let header = Header { made_by: "test".into(), made_at: at(0), redacted: false };
    let mut out = RecordingWriter::create(&file, &header, true).unwrap();
    let options = RecordOptions { from: Some(pangaea_replay::From::Position(from)), ..RecordOptions::default() };
    record(&database, &bar::<1>(), &options, &mut out, &Progress::default()).await.unwrap();
    out.finish().unwrap();
    let recording = Recording::open(&file).unwrap();
    let module = recording.module("bar").unwrap().clone();
    (file, module)
}

async fn traveller(module: &ModuleRecording, bound: Bound) -> Traveller {
    Traveller::at_start(vec![(module.clone(), bar::<1>())], bound, Ignore::default()).await.unwrap()
}

async fn drinks(traveller: &Traveller, key: &str) -> serde_json::Value {
    let wanted = RowsWanted { table: Some("tab".into()), key: Some(key.into()), rows_max: 10 };
    let views = traveller.rows(0, &wanted).await.unwrap();
    views[0].rows.first().map(|row| row[1].clone()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_has_its_inputs_with_what_they_said_and_the_rows_that_they_changed() {
    let (file, module) = recorded("story", 1).await;
    let found = concerned(std::slice::from_ref(&module), &id(2)).await.unwrap().unwrap();
    assert_eq!((found.inputs, found.last.position), (100, 299));
    let told = story(vec![(module.clone(), bar::<1>())], &found, Ignore::default()).await.unwrap();
    assert!(told.is_as_recorded() && told.more == 0);
    let positions: Vec<_> = told.inputs.iter().map(|input| input.input.position).collect();
    assert_eq!(positions, (0..100).map(|turn| 3 * turn + 2).collect::<Vec<_>>());
    let (first, last) = (&told.inputs[0], &told.inputs[99]);
    assert_eq!((first.module.as_str(), &first.kind), ("bar", &EntryKind::Command));
    let said: Vec<_> = first.said.iter().map(|one| one.kind).collect();
    assert_eq!(said, [UtteranceKind::Message, UtteranceKind::Timer, UtteranceKind::Answer]);
    assert_eq!(first.rows[0].before, None);
    assert_eq!(serde_json::to_value(&last.rows[0].key).unwrap(), json!({ "order_id": id(2) }));
    let (from, to) = (json!(99), json!(100));
    assert_eq!(last.rows[0].changed().collect::<Vec<_>>(), [("drinks", Some(&from), Some(&to))]);

    // By what else it is known: an input's own id.
    let one = concerned(std::slice::from_ref(&module), "cmd_7").await.unwrap().unwrap();
    assert_eq!((one.inputs, one.last.position), (1, 7));
    assert_eq!(concerned(std::slice::from_ref(&module), "ord_9").await.unwrap(), None);
    std::fs::remove_file(file).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_differs_from_the_recording_is_told_with_the_input() {
    let (file, module) = recorded("differs", 1).await;
    let found = concerned(std::slice::from_ref(&module), &id(0)).await.unwrap().unwrap();
    let told = story(vec![(module, bar::<2>())], &found, Ignore::default()).await.unwrap();
    assert!(!told.is_as_recorded());
    let Change::Changed { fields, .. } = &told.inputs[0].changes[0] else { panic!("{:?}", told.inputs[0].changes) };
    assert_eq!((fields[0].path.as_str(), &fields[0].replayed), ("/drinks", &Some(json!(2))));
    std::fs::remove_file(file).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_those_of_the_place_forwards_and_back() {
    let (file, module) = recorded("rows", 1).await;
    let mut traveller = traveller(&module, Bound::End).await;
    assert_eq!((traveller.last_of(0), drinks(&traveller, &id(1)).await), (None, json!(null)));
    let until = Bound::Until(Until::Position(100));
    traveller.pass(|spot| until.includes(spot)).await.unwrap();
    assert_eq!(traveller.last_of(0), Some((100, at(100))));
    assert_eq!((drinks(&traveller, &id(1)).await, drinks(&traveller, &id(0)).await), (json!(34), json!(33)));
    let next = traveller.step().await.unwrap().unwrap();
    assert_eq!((next.input.position, next.is_as_recorded()), (101, true));

    let modules = std::slice::from_ref(&module);
    let wanted = find(modules, traveller.peek().await.unwrap(), |_, entry| entry.id == "cmd_250").await.unwrap();
    let wanted = wanted.unwrap();
    assert_eq!(wanted, Spot { time: at(250), module: 0, position: 250 });
    traveller.pass(|spot| spot < wanted).await.unwrap();
    assert_eq!(traveller.last_of(0).unwrap().0, 249);

    traveller.rewind().await.unwrap();
    traveller.pass(|spot| spot.time <= at(3)).await.unwrap();
    let all = RowsWanted { table: Some("tab".into()), key: None, rows_max: 2 };
    let view = traveller.rows(0, &all).await.unwrap().remove(0);
    assert_eq!((view.columns, view.more), (vec!["order_id".to_owned(), "drinks".to_owned()], 1));
    assert_eq!(view.rows, [[json!("ord_0"), json!(1)], [json!("ord_1"), json!(1)]]);
    let unknown = RowsWanted { table: Some("tabs".into()), ..all };
    let refused = traveller.rows(0, &unknown).await.unwrap_err().to_string();
    assert!(refused.contains("no table \"tabs\"; it has ") && refused.contains("tab"), "{refused}");
    traveller.stop().await.unwrap();
    std::fs::remove_file(file).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_ends_at_its_bound_and_places_outside_are_refused_with_the_bounds() {
    let (file, module) = recorded("bounds", 100).await;
    let mut bounded = traveller(&module, Bound::Until(Until::Time(at(101)))).await;
    assert_eq!(drinks(&bounded, &id(1)).await, json!(33), "the state that the recording begins with");
    assert_eq!(bounded.step().await.unwrap().unwrap().input.position, 100);
    assert_eq!(bounded.step().await.unwrap().unwrap().input.position, 101);
    assert_eq!((bounded.peek().await.unwrap(), bounded.step().await.unwrap()), (None, None));
    bounded.stop().await.unwrap();

    let modules = [module];
    for inside in [Until::Position(100), Until::Position(300), Until::Time(at(100)), Until::Time(at(9_999))] {
        check_bounds(&modules, inside).unwrap();
    }
    for outside in [Until::Position(99), Until::Position(301), Until::Time(at(99))] {
        let refused = check_bounds(&modules, outside).unwrap_err().to_string();
        assert!(refused.contains("positions 100 to 300") && refused.contains("2023-11-14T22:13:20.100Z"), "{refused}");
    }
    std::fs::remove_file(file).unwrap();
}
