//! What handlers observe counts once for each input that is committed, and at no other time.

use std::sync::{Arc, Mutex};

use pangaea_contracts::payment::{Authorize, Authorized};
use pangaea_contracts::{Actor, Currency, Message, Money, OrderId, PaymentId, Timestamp};
use pangaea_faults::{Action, Failpoint, with_hook};
use pangaea_journal::{Database, DatabaseOptions, Migration, record};
use pangaea_kernel::{
    AdmittedInput, Answer, Cx, Definition, Done, Executor, Failure, Histogram, Input, InputKind, Observation, Observer,
    ProblemKind, Replayer, Unit, Work,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const AMOUNT: Histogram = Histogram {
    name: "payment_amount",
    unit: Unit::Count,
    label: "size",
    values: &["small", "large"],
    buckets: &[10.0, 1_000.0],
};
const PANICS: i64 = 13;
const UNDECLARED: i64 = 14;
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

record! {
    pub struct Paid in "paid" {
        key { order_id: OrderId }
        amount: i64,
    }
}

const MIGRATION: Migration =
    Migration { name: "0001", sql: "CREATE TABLE paid (order_id TEXT PRIMARY KEY, amount BIGINT NOT NULL);" };

/// Asked at the edge; it is refused after it has observed something.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Quote {
    order_id: OrderId,
}

impl Message for Quote {
    const SUBJECT: &'static str = "payment.rpc.quote.v1";

    fn key(&self) -> String {
        self.order_id.to_string()
    }
}

async fn authorize(cx: &mut Cx, command: Authorize) -> Result<(), Failure> {
    let amount = command.amount.amount;
    let size = if amount == UNDECLARED {
        "huge"
    } else if amount < 100 {
        "small"
    } else {
        "large"
    };
    cx.observe(&AMOUNT, size, amount as f64);
    assert_ne!(amount, PANICS, "thirteen is a bug");
    cx.put(Paid { order_id: command.order_id.clone(), amount });
    let payment_id: PaymentId = cx.id()?;
    cx.emit(&Authorized { order_id: command.order_id, payment_id, amount: command.amount });
    Ok(())
}

async fn quote(cx: &mut Cx, _: Quote) -> Result<Answer, Failure> {
    cx.observe(&AMOUNT, "large", 5.0);
    Err(Failure::refusal(ProblemKind::Conflict, "not today"))
}

fn definition() -> Definition {
    Definition::new("payment")
        .migrations(&[MIGRATION])
        .histogram(&AMOUNT)
        .on(authorize)
        .command(quote)
        .emits::<Authorized>()
}

#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<Observation>>>);

impl Observer for Told {
    fn observed(&mut self, observation: Observation) {
        self.0.lock().unwrap().push(observation);
    }
}

impl Told {
    fn take(&self) -> Vec<(&'static str, f64)> {
        let told = std::mem::take(&mut *self.0.lock().unwrap());
        told.iter().map(|one| (AMOUNT.values[one.value], one.measured)).collect()
    }
}

async fn database() -> Database {
    let options = DatabaseOptions { url: "sqlite::memory:".into(), read_connections_max: 2, synchronous_full: false };
    Database::open("payment", &options).await.unwrap()
}

async fn watched() -> (Executor, Told) {
    let (definition, told) = (Arc::new(definition()), Told::default());
    assert_eq!(definition.faults(), &[] as &[String]);
    let writer = database().await.writer(definition.all_migrations(), "0.1.0").await.unwrap();
    let executor = Executor::new(writer, definition, "0.1.0").await.unwrap();
    (executor.observed_by(Box::new(told.clone())), told)
}

fn input<M: Message>(id: &str, kind: InputKind, message: &M) -> Input {
    Input::new(kind, id.to_owned(), M::SUBJECT, &message.key(), serde_json::to_string(message).unwrap())
}

fn paying(position: u64, amount: i64) -> Input {
    let kind = InputKind::Delivery { source: "order".into(), log_id: "log_1".into(), after: position - 1, position };
    let order_id = format!("ord_{position}").parse().unwrap();
    let amount = Money::new(amount, Currency::GBP);
    input(&format!("msg_{position}"), kind, &Authorize { order_id, amount, payment_token: "tok_ok".into() })
}

#[tokio::test]
async fn a_batch_that_is_undone_counts_once_and_its_dead_letters_never() {
    let (mut executor, told) = watched().await;
    let amounts = [5, PANICS, 200, UNDECLARED, 7];
    let work: Vec<Work> = (1..).zip(amounts).map(|(position, amount)| Work::Input(paying(position, amount))).collect();
    let result = executor.run(&work, NOW).await.unwrap();
    assert_eq!(result.done, [Done::Handled, Done::Dead, Done::Handled, Done::Dead, Done::Handled]);
    assert_eq!(told.take(), [("small", 5.0), ("large", 200.0), ("small", 7.0)]);
    let letters = executor.writer().database().dead_letters(10).await.unwrap();
    assert!(letters[1].error.contains("\"huge\" is not a value that payment declares"), "{}", letters[1].error);
    // A repeat is none.
    executor.run(&work[..1], NOW).await.unwrap();
    assert_eq!(told.take(), []);
}

#[tokio::test]
async fn what_is_refused_does_not_count() {
    let (mut executor, told) = watched().await;
    let kind = InputKind::Command { fingerprint: "f".into() };
    let quote = input("cmd_1", kind, &Quote { order_id: "ord_1".parse().unwrap() });
    let quote = Input { actor: Actor::system(), ..quote };
    let result = executor.run(&[Work::Input(quote)], NOW).await.unwrap();
    assert!(matches!(&result.done[..], [Done::Answered(answer)] if answer.status == 409), "{result:?}");
    assert_eq!(told.take(), []);
}

#[tokio::test]
async fn what_is_not_committed_does_not_count_until_it_is() {
    let (mut executor, told) = watched().await;
    let work = [Work::Input(paying(1, 5))];
    let hook = with_hook(|point| (point == Failpoint::CommitBefore).then_some(Action::Fail));
    executor.run(&work, NOW).await.unwrap_err();
    drop(hook);
    assert_eq!(told.take(), []);
    executor.run(&work, NOW).await.unwrap();
    assert_eq!(told.take(), [("small", 5.0)]);
}

#[tokio::test]
async fn a_replay_counts_nothing_and_says_the_same() {
    let (mut executor, told) = watched().await;
    let input = paying(1, 5);
    let log = executor.run(&[Work::Input(input.clone())], NOW).await.unwrap().log;
    assert_eq!(told.take(), [("small", 5.0)]);

    let definition = Arc::new(definition());
    let writer = database().await.writer(definition.all_migrations(), "0.1.0").await.unwrap();
    let mut replayer = Replayer::new(writer, definition).await.unwrap();
    let said = replayer.run(&[AdmittedInput { admitted_at: NOW, input }]).await.unwrap();
    assert_eq!((said[0].messages[0].id.as_str(), said[0].failure.as_deref()), (log[0].id.as_str(), None));
    assert_eq!(told.take(), []);
}
