//! A shadow follows its leader, says what differs, and knows when it follows another history.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pangaea_contracts::{Actor, Message, OrderId, Timestamp};
use pangaea_journal::{Database, DatabaseOptions, Migration, record};
use pangaea_kernel::{Answer, Cx, Definition, Executor, Failure, Input, InputKind, ProblemKind, Work};
use pangaea_replay::{Change, Compared, Ignore, Shadow, ShadowOptions, StateVerdict, Step};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

record! {
    pub struct Sale in "sale" {
        key { order_id: OrderId }
        amount: i64,
    }
}

record! {
    /// The same in a later release.
    pub struct LaterSale in "sale" {
        key { order_id: OrderId }
        amount: i64,
        doubled: i64,
    }
}

const FIRST: Migration =
    Migration { name: "0001", sql: "CREATE TABLE sale (order_id TEXT PRIMARY KEY, amount BIGINT NOT NULL);" };
const LATER: Migration = Migration {
    name: "0002",
    sql: "ALTER TABLE sale ADD COLUMN doubled BIGINT NOT NULL DEFAULT 0; UPDATE sale SET doubled = 2 * amount;",
};

#[derive(Serialize, Deserialize, JsonSchema)]
struct Sell {
    order_id: OrderId,
    amount: i64,
    #[schemars(extend("x-personal" = true))]
    to: String,
}

/// Says again what was sold.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Tell {
    order_id: OrderId,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Sold {
    order_id: OrderId,
    amount: i64,
    #[schemars(extend("x-personal" = true))]
    to: String,
}

impl Message for Sell {
    const SUBJECT: &'static str = "till.rpc.sell.v1";

    fn key(&self) -> String {
        self.order_id.to_string()
    }
}

impl Message for Tell {
    const SUBJECT: &'static str = "till.rpc.tell.v1";

    fn key(&self) -> String {
        self.order_id.to_string()
    }
}

impl Message for Sold {
    const SUBJECT: &'static str = "till.evt.sold.v1";

    fn key(&self) -> String {
        self.order_id.to_string()
    }
}

async fn sell(cx: &mut Cx, Sell { order_id, amount, to }: Sell) -> Result<Answer, Failure> {
    cx.emit(&Sold { order_id: order_id.clone(), amount, to });
    cx.put(Sale { order_id, amount });
    Ok(Answer::empty(200))
}

async fn sell_for_more(cx: &mut Cx, Sell { order_id, amount, to }: Sell) -> Result<Answer, Failure> {
    sell(cx, Sell { order_id, amount: amount + i64::from(amount > 100), to }).await
}

async fn book_more(cx: &mut Cx, Sell { order_id, amount, to }: Sell) -> Result<Answer, Failure> {
    cx.emit(&Sold { order_id: order_id.clone(), amount, to });
    cx.put(Sale { order_id, amount: amount + 1 });
    Ok(Answer::empty(200))
}

async fn call_somebody_else(cx: &mut Cx, command: Sell) -> Result<Answer, Failure> {
    sell(cx, Sell { to: format!("not {}", command.to), ..command }).await
}

async fn sell_later(cx: &mut Cx, Sell { order_id, amount, to }: Sell) -> Result<Answer, Failure> {
    cx.emit(&Sold { order_id: order_id.clone(), amount, to });
    cx.put(LaterSale { order_id, amount, doubled: 2 * amount });
    Ok(Answer::empty(200))
}

async fn tell(cx: &mut Cx, Tell { order_id }: Tell) -> Result<Answer, Failure> {
    let sale = cx.get::<Sale>(&order_id).await?.ok_or_else(|| Failure::refusal(ProblemKind::NotFound, "no sale"))?;
    cx.emit(&Sold { order_id, amount: sale.amount, to: String::new() });
    Ok(Answer::empty(200))
}

async fn tell_later(cx: &mut Cx, Tell { order_id }: Tell) -> Result<Answer, Failure> {
    let sale = cx.get::<LaterSale>(&order_id).await?;
    let sale = sale.ok_or_else(|| Failure::refusal(ProblemKind::NotFound, "no sale"))?;
    cx.emit(&Sold { order_id, amount: sale.doubled / 2, to: String::new() });
    Ok(Answer::empty(200))
}

fn till() -> Definition {
    Definition::new("till").migrations(&[FIRST]).command(tell).emits::<Sold>()
}

fn later() -> Arc<Definition> {
    let definition = Definition::new("till").migrations(&[FIRST, LATER]);
    Arc::new(definition.command(sell_later).command(tell_later).emits::<Sold>())
}

/// A leader that runs in the test.
struct Leader {
    database: Database,
    executor: Executor,
    commands: i64,
}

// === impl Leader ===

impl Leader {
    async fn start(folder: &Path, definition: Arc<Definition>) -> Self {
        let options = DatabaseOptions {
            url: format!("sqlite:{}/", folder.display()),
            read_connections_max: 2,
            synchronous_full: false,
        };
        let database = Database::open("till", &options).await.unwrap();
        let writer = database.writer(definition.all_migrations(), "test").await.unwrap();
        let executor = Executor::new(writer, definition, "test").await.unwrap();
        Self { database, executor, commands: 0 }
    }

    async fn handle<M: Message + Serialize>(&mut self, message: &M) {
        self.commands += 1;
        let id = format!("cmd_{:026}", self.commands);
        let command = Input {
            kind: InputKind::Command { fingerprint: id.clone() },
            subject: M::SUBJECT.to_owned(),
            key: message.key(),
            causation_id: id.clone(),
            correlation_id: id.clone(),
            actor: Actor::system(),
            traceparent: None,
            payload: serde_json::to_string(message).unwrap(),
            secrets: Vec::new(),
            id,
        };
        let now = Timestamp::from_millis(1_700_000_000_000 + self.commands);
        self.executor.run(&[Work::Input(command)], now).await.unwrap();
    }

    async fn sell(&mut self, numbers: std::ops::Range<i64>) {
        for number in numbers {
            self.handle(&Sell { order_id: order(number), amount: number, to: "Canary Yellowbird".to_owned() }).await;
        }
    }
}

fn order(number: i64) -> OrderId {
    format!("ord_{number:04}").parse().unwrap()
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("pangaea-shadow-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn options(from_start: bool) -> ShadowOptions {
    ShadowOptions { from_start, redaction_key: Some("a key".to_owned()), ..ShadowOptions::default() }
}

/// Steps until nothing is new.
async fn catch_up(shadow: &mut Shadow) -> Compared {
    let mut all = Compared::default();
    loop {
        let Step::Compared(step) = shadow.step().await.unwrap() else { panic!("the leader is there") };
        all.inputs += step.inputs;
        all.outputs += step.outputs;
        all.differences.extend(step.differences);
        if step.behind == 0 {
            return all;
        }
    }
}

#[tokio::test]
async fn the_same_handlers_say_the_same_from_the_start_and_from_a_copy() {
    let folder = folder("same");
    let definition = Arc::new(till().command(sell));
    let mut leader = Leader::start(&folder, definition.clone()).await;
    leader.sell(1..700).await;
    let mut from_start = Shadow::start(&leader.database, &definition, &options(true)).await.unwrap();
    let mut from_copy = Shadow::start(&leader.database, &definition, &options(false)).await.unwrap();
    assert_eq!((from_start.first(), from_copy.first()), (1, 700));
    assert_eq!(from_copy.copied().unwrap().rows, 699);
    leader.sell(700..720).await;
    // Of a sale that only the copy knows of.
    leader.handle(&Tell { order_id: order(5) }).await;
    for (shadow, inputs) in [(&mut from_start, 720), (&mut from_copy, 21)] {
        let compared = catch_up(shadow).await;
        assert_eq!((compared.inputs, compared.outputs, compared.differences), (inputs, inputs, Vec::new()));
        let (steps, state) = shadow.last().await.unwrap();
        assert_eq!((steps, state), (Vec::new(), StateVerdict::Equal));
    }
    let _ = std::fs::remove_dir_all(folder);
}

#[tokio::test]
async fn what_differs_is_said_with_its_input_and_without_what_is_personal() {
    let folder = folder("differs");
    let mut leader = Leader::start(&folder, Arc::new(till().command(sell))).await;
    leader.sell(1..10).await;
    let changed = Arc::new(till().command(sell_for_more));
    let mut shadow = Shadow::start(&leader.database, &changed, &options(false)).await.unwrap();
    leader.sell(99..103).await;
    let compared = catch_up(&mut shadow).await;
    let positions: Vec<_> = compared.differences.iter().map(|difference| difference.input.position).collect();
    assert_eq!((compared.inputs, positions), (4, vec![12, 13]));
    let text = compared.differences[0].text(false);
    assert!(text.contains("- /amount 101") && text.contains("+ /amount 102"), "{text}");
    assert!(!text.contains("Canary"), "{text}");
    assert!(matches!(shadow.last().await.unwrap().1, StateVerdict::NotCompared(_)));

    // Where the difference itself is what is personal, only its place is said.
    let changed = Arc::new(till().command(call_somebody_else));
    let mut shadow = Shadow::start(&leader.database, &changed, &options(false)).await.unwrap();
    leader.sell(200..201).await;
    let compared = catch_up(&mut shadow).await;
    let text = compared.differences[0].text(false);
    assert!(text.contains("/to") && !text.contains("Canary"), "{text}");
    assert!(matches!(&compared.differences[0].changes[..], [Change::Changed { .. }]));
    let ignore = Ignore::parse(&["till.evt.sold.v1:/to".to_owned()]).unwrap();
    let ignoring = ShadowOptions { ignore, ..options(true) };
    let mut shadow = Shadow::start(&leader.database, &changed, &ignoring).await.unwrap();
    assert_eq!(catch_up(&mut shadow).await.differences, Vec::new());
    let _ = std::fs::remove_dir_all(folder);
}

#[tokio::test]
async fn rows_that_differ_are_seen_at_the_end_and_in_what_follows_from_them() {
    let folder = folder("rows");
    let mut leader = Leader::start(&folder, Arc::new(till().command(sell))).await;
    let changed = Arc::new(till().command(book_more));
    let mut shadow = Shadow::start(&leader.database, &changed, &options(false)).await.unwrap();
    leader.sell(1..3).await;
    assert_eq!(catch_up(&mut shadow).await.differences, Vec::new());
    // What came since is caught up with first.
    leader.sell(3..5).await;
    let (steps, state) = shadow.last().await.unwrap();
    assert_eq!(steps.iter().map(|step| step.inputs).sum::<u64>(), 2);
    let StateVerdict::Differs(tables) = state else { panic!("{state:?}") };
    assert_eq!(tables[0].table, "sale");
    leader.handle(&Tell { order_id: order(1) }).await;
    assert_eq!(catch_up(&mut shadow).await.differences.len(), 1);
    let _ = std::fs::remove_dir_all(folder);
}

#[tokio::test]
async fn a_later_release_migrates_its_copy_and_an_older_one_leaves_out_what_it_does_not_know() {
    let folder = folder("later");
    let mut leader = Leader::start(&folder, Arc::new(till().command(sell))).await;
    leader.sell(1..10).await;
    let mut shadow = Shadow::start(&leader.database, &later(), &options(false)).await.unwrap();
    assert!(shadow.unlike()[0].contains("0002"), "{:?}", shadow.unlike());
    leader.sell(10..12).await;
    // The migration has filled the column of rows that were there before it.
    leader.handle(&Tell { order_id: order(3) }).await;
    let compared = catch_up(&mut shadow).await;
    assert_eq!((compared.inputs, compared.differences), (3, Vec::new()));
    assert!(matches!(shadow.last().await.unwrap().1, StateVerdict::NotCompared(_)));
    leader.executor.stop().await.unwrap();

    let mut leader = Leader::start(&folder, later()).await;
    leader.commands = 100;
    let earlier = Arc::new(till().command(sell));
    let mut shadow = Shadow::start(&leader.database, &earlier, &options(false)).await.unwrap();
    assert!(shadow.unlike()[0].contains("doubled: left out"), "{:?}", shadow.unlike());
    leader.handle(&Tell { order_id: order(3) }).await;
    let compared = catch_up(&mut shadow).await;
    assert_eq!((compared.inputs, compared.differences), (1, Vec::new()));
    let _ = std::fs::remove_dir_all(folder);
}

#[tokio::test]
async fn a_file_that_is_away_is_waited_for_and_another_history_is_refused() {
    let folder = folder("another");
    let definition = Arc::new(till().command(sell));
    let mut leader = Leader::start(&folder, definition.clone()).await;
    leader.sell(1..5).await;
    let mut shadow = Shadow::start(&leader.database, &definition, &options(true)).await.unwrap();
    assert_eq!(catch_up(&mut shadow).await.inputs, 4);
    leader.executor.stop().await.unwrap();
    leader.database.close().await;

    let elsewhere = folder.join("elsewhere");
    std::fs::create_dir_all(&elsewhere).unwrap();
    let move_all = |from: &Path, to: &Path| {
        for name in ["till.db", "till.db-wal", "till.db-shm"] {
            let _ = std::fs::rename(from.join(name), to.join(name));
        }
    };
    move_all(&folder, &elsewhere);
    // A session of before still has the old file; a quiet one is made anew.
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    assert!(matches!(shadow.step().await.unwrap(), Step::Away(_)));
    assert!(!folder.join("till.db").exists(), "a file that is not there is not made");
    move_all(&elsewhere, &folder);
    assert_eq!(catch_up(&mut shadow).await.inputs, 0);
    let mut leader = Leader::start(&folder, definition.clone()).await;
    leader.commands = 4;
    leader.sell(5..7).await;
    let compared = catch_up(&mut shadow).await;
    assert_eq!((compared.inputs, compared.differences), (2, Vec::new()));
    leader.executor.stop().await.unwrap();
    leader.database.close().await;

    move_all(&folder, &elsewhere);
    let mut other = Leader::start(&folder, definition).await;
    other.sell(1..9).await;
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let error = shadow.step().await.unwrap_err().to_string();
    assert!(error.contains("another history"), "{error}");
    let _ = std::fs::remove_dir_all(folder);
}
