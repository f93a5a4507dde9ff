//! Two runs of one workload have one digest, and whatever they did differently changes it.

use std::sync::Arc;

use pangaea_contracts::{Actor, Message, OrderId, PaymentId, Timestamp};
use pangaea_journal::{Database, DatabaseOptions, Migration, record};
use pangaea_kernel::{Answer, Cx, Definition, Executor, Failure, Input, InputKind, Work};
use pangaea_replay::{Canonical, canonical};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

record! {
    pub struct Sale in "sale" {
        key { order_id: OrderId }
        payment_id: PaymentId,
        amount: i64,
        buyer_sealed: String,
        sold_at: Timestamp,
    }
}

const MIGRATION: Migration = Migration {
    name: "0001",
    sql: "CREATE TABLE sale (order_id TEXT PRIMARY KEY, payment_id TEXT NOT NULL, amount BIGINT NOT NULL, buyer_sealed TEXT NOT NULL, sold_at BIGINT NOT NULL);",
};

/// What a run does otherwise than the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Twist {
    #[default]
    None,
    OutputsSwapped,
    WrongAmount,
    WrongAmountInTheTable,
    MissingEvent,
    MissingRow,
    /// The event and the row of an order name two payments.
    OtherPayment,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Sell {
    amount: i64,
    twist: Twist,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Sold {
    order_id: OrderId,
    sold_at: Timestamp,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Paid {
    order_id: OrderId,
    payment_id: PaymentId,
    amount: i64,
}

impl Message for Sell {
    const SUBJECT: &'static str = "till.rpc.sell.v1";

    fn key(&self) -> String {
        "till".to_owned()
    }
}

impl Message for Sold {
    const SUBJECT: &'static str = "till.evt.sold.v1";

    fn key(&self) -> String {
        self.order_id.to_string()
    }
}

impl Message for Paid {
    const SUBJECT: &'static str = "till.evt.paid.v1";

    fn key(&self) -> String {
        self.order_id.to_string()
    }
}

async fn sell(cx: &mut Cx, command: Sell) -> Result<Answer, Failure> {
    let Sell { amount, twist } = command;
    let (order_id, payment_id): (OrderId, PaymentId) = (cx.id()?, cx.id()?);
    let other: PaymentId = cx.id()?;
    let sold = Sold { order_id: order_id.clone(), sold_at: cx.now() };
    let said_amount = amount + i64::from(twist == Twist::WrongAmount);
    let paid = Paid { order_id: order_id.clone(), payment_id: payment_id.clone(), amount: said_amount };
    if twist == Twist::OutputsSwapped {
        cx.emit(&paid);
        cx.emit(&sold);
    } else {
        cx.emit(&sold);
        if twist != Twist::MissingEvent {
            cx.emit(&paid);
        }
    }
    if twist != Twist::MissingRow {
        let amount = amount + i64::from(twist == Twist::WrongAmountInTheTable);
        let payment_id = if twist == Twist::OtherPayment { other } else { payment_id };
        // Other bytes in each run, as a seal has.
        let buyer_sealed = format!("sealed-{}", cx.now().as_millis());
        cx.put(Sale { order_id, payment_id, amount, buyer_sealed, sold_at: cx.now() });
    }
    Ok(Answer::empty(200))
}

/// Sells three things, the second with a twist. Ids and times follow from `run`.
async fn run(run: i64, twist: Twist) -> Canonical {
    let options = DatabaseOptions { url: "sqlite::memory:".into(), read_connections_max: 2, synchronous_full: false };
    let database = Database::open("till", &options).await.unwrap();
    let definition = Definition::new("till").migrations(&[MIGRATION]).command(sell).emits::<Sold>().emits::<Paid>();
    let writer = database.writer(definition.all_migrations(), "test").await.unwrap();
    let mut executor = Executor::new(writer, Arc::new(definition), "test").await.unwrap();
    for (number, twist) in [(1, Twist::None), (2, twist), (3, Twist::None)] {
        let id = format!("cmd_{run}{number}aaaaaaaaaaaaaaaaaaaaaaaa");
        let command = Input {
            kind: InputKind::Command { fingerprint: id.clone() },
            subject: Sell::SUBJECT.to_owned(),
            key: "till".into(),
            causation_id: id.clone(),
            correlation_id: id.clone(),
            actor: Actor::system(),
            traceparent: Some(format!("00-{run:032x}-b7ad6b7169203331-01")),
            payload: serde_json::to_string(&Sell { amount: 100 * number, twist }).unwrap(),
            secrets: Vec::new(),
            id,
        };
        let now = Timestamp::from_millis(1_700_000_000_000 + run * 86_400_000 + number);
        let result = executor.run(&[Work::Input(command)], now).await.unwrap();
        assert!(matches!(&result.done[0], pangaea_kernel::Done::Answered(answer) if answer.status == 200));
    }
    canonical(&[database]).await.unwrap()
}

#[tokio::test]
async fn the_same_workload_at_another_time_has_the_same_digest() {
    let (first, second) = (run(1, Twist::None).await, run(2, Twist::None).await);
    assert_eq!(first.difference(&second), None);
    assert_eq!(first.digest(), second.digest());
    let text = first.lines().join("\n");
    assert_eq!(first.lines().len(), 9, "{text}");
    assert!(
        text.contains("\"amount\":200") && text.contains("till holds sale") && text.contains("sold_at=time"),
        "{text}"
    );
    assert!(!text.contains("ord_") && !text.contains("pay_"), "an id is left: {text}");
}

#[tokio::test]
async fn whatever_a_run_does_otherwise_changes_the_digest() {
    let plain = run(1, Twist::None).await;
    let mut digests = vec![plain.digest()];
    for twist in [
        Twist::OutputsSwapped,
        Twist::WrongAmount,
        Twist::WrongAmountInTheTable,
        Twist::MissingEvent,
        Twist::MissingRow,
        Twist::OtherPayment,
    ] {
        let twisted = run(1, twist).await;
        assert!(plain.difference(&twisted).is_some(), "{twist:?}");
        assert_eq!(twisted.digest(), run(2, twist).await.digest(), "{twist:?} is the same twist at another time");
        digests.push(twisted.digest());
    }
    let count = digests.len();
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), count, "two of the runs have one digest");
}
