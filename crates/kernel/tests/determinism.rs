//! The same inputs give the same ids, outputs and state: twice, and in batches of any size.

use std::sync::Arc;

use pangaea_contracts::order::{Confirmed, Placed};
use pangaea_contracts::payment::{Authorize, Authorized, Declined};
use pangaea_contracts::{Actor, Currency, Message, Money, OrderId, PaymentId, Timestamp};
use pangaea_journal::{Database, DatabaseOptions, DeadLetterState, Migration, Statement, record};
use pangaea_kernel::{Cx, Definition, Done, Executor, Failure, Input, InputKind, ProblemKind, Work};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

record! {
    pub struct Tally in "tally" {
        key { order_id: OrderId }
        payment_id: PaymentId,
        amount: i64,
        seen: i64,
    }
}

/// Sent when an authorization has waited too long.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Reminder {
    order_id: OrderId,
}

impl Message for Reminder {
    const SUBJECT: &'static str = "payment.tmr.reminder.v1";

    fn key(&self) -> String {
        self.order_id.to_string()
    }
}

const MIGRATION: Migration = Migration {
    name: "0001",
    sql: "CREATE TABLE tally (order_id TEXT PRIMARY KEY, payment_id TEXT NOT NULL, amount BIGINT NOT NULL CHECK (amount < 1000000), seen BIGINT NOT NULL);",
};

/// Amounts with a meaning of their own, so that one handler shows every class of failure.
const PANICS: i64 = 13;
const REFUSES: i64 = 17;

async fn authorize(cx: &mut Cx, command: Authorize) -> Result<(), Failure> {
    if let Some(known) = cx.get::<Tally>(&command.order_id).await? {
        cx.put(Tally { seen: known.seen + 1, ..known });
        return Ok(());
    }
    let payment_id: PaymentId = cx.id()?;
    cx.put(Tally {
        order_id: command.order_id.clone(),
        payment_id: payment_id.clone(),
        amount: command.amount.amount,
        seen: 1,
    });
    assert_ne!(command.amount.amount, PANICS, "thirteen is a bug");
    if command.amount.amount == REFUSES {
        return Err(Failure::refusal(ProblemKind::Conflict, "nobody asked"));
    }
    cx.emit(&Authorized { order_id: command.order_id.clone(), payment_id, amount: command.amount });
    cx.after(1_000, &Reminder { order_id: command.order_id });
    Ok(())
}

async fn confirmed(cx: &mut Cx, event: Confirmed) -> Result<(), Failure> {
    cx.cancel::<Reminder>(event.order_id.as_str());
    // Declared by nobody: what is said without a declaration is poison.
    if event.total.amount == PANICS {
        cx.emit(&Placed { order_id: event.order_id, customer_id: None, lines: Vec::new(), total: event.total });
    }
    Ok(())
}

async fn remind(cx: &mut Cx, reminder: Reminder) -> Result<(), Failure> {
    if let Some(tally) = cx.get::<Tally>(&reminder.order_id).await? {
        let payment_id = tally.payment_id.clone();
        cx.put(Tally { seen: tally.seen + 100, ..tally });
        let reason = pangaea_contracts::order::Reason::new("late", "nobody confirmed");
        cx.emit(&Declined { order_id: reminder.order_id, payment_id, reason });
    }
    Ok(())
}

fn definition() -> Definition {
    Definition::new("payment")
        .migrations(&[MIGRATION])
        .on(authorize)
        .wants::<Authorize>(|command, keys| keys.want::<Tally>(&command.order_id))
        .on(confirmed)
        .timer(remind)
        .emits::<Authorized>()
        .emits::<Declined>()
}

async fn executor() -> Executor {
    let options = DatabaseOptions { url: "sqlite::memory:".into(), read_connections_max: 2, synchronous_full: false };
    let database = Database::open("payment", &options).await.unwrap();
    let definition = Arc::new(definition());
    assert_eq!(definition.faults(), &[] as &[String]);
    let writer = database.writer(definition.all_migrations(), "0.1.0").await.unwrap();
    Executor::new(writer, definition, "0.1.0").await.unwrap()
}

fn order(number: u64) -> OrderId {
    format!("ord_{number:04}").parse().unwrap()
}

fn delivery<M: Message>(position: u64, message: &M) -> Work {
    Work::Input(Input {
        id: format!("msg_{position:04}"),
        kind: InputKind::Delivery { source: "order".into(), log_id: "log_1".into(), after: position - 1, position },
        subject: M::SUBJECT.to_owned(),
        key: message.key(),
        causation_id: "cmd_1".into(),
        correlation_id: "cmd_1".into(),
        actor: Actor::system(),
        traceparent: None,
        payload: serde_json::to_string(message).unwrap(),
        secrets: Vec::new(),
    })
}

fn money(amount: i64) -> Money {
    Money::new(amount, Currency::GBP)
}

fn authorizing(position: u64, number: u64, amount: i64) -> Work {
    delivery(position, &Authorize { order_id: order(number), amount: money(amount), payment_token: "tok_ok".into() })
}

/// The state and the log, without log id and admission times of the batch they came in.
async fn digest(executor: &Executor) -> Vec<String> {
    let database = executor.writer().database();
    let mut lines = Vec::new();
    for row in database
        .fetch(Statement::new("SELECT order_id, payment_id, amount, seen FROM tally ORDER BY order_id"))
        .await
        .unwrap()
    {
        lines.push(format!("{row:?}"));
    }
    for envelope in database.outbox_after("log", 0, 10_000).await.unwrap() {
        lines.push(format!("{} {} {} {}", envelope.position, envelope.id, envelope.subject, envelope.payload));
    }
    for letter in database.dead_letters(1_000).await.unwrap() {
        lines.push(format!("{} {:?} {}", letter.id, letter.state, letter.error));
    }
    lines
}

async fn run_in_batches(size: usize, work: &[Work]) -> Vec<String> {
    let mut executor = executor().await;
    let now = Timestamp::from_millis(1_700_000_000_000);
    for batch in work.chunks(size) {
        executor.run(batch, now).await.unwrap();
    }
    executor.run(&[], now.plus_millis(5_000)).await.unwrap();
    digest(&executor).await
}

#[tokio::test]
async fn batches_of_any_size_and_repeats_give_the_same() {
    let mut work = Vec::new();
    for number in 1..=40 {
        let amount = if number == 20 {
            PANICS
        } else if number == 30 {
            2_000_000
        } else {
            100 + number as i64
        };
        work.push(authorizing(number, number % 25, amount));
    }
    for number in 41..=50 {
        work.push(delivery(
            number,
            &Confirmed { order_id: order(number - 40), total: money(if number == 45 { PANICS } else { 1 }) },
        ));
    }
    let one_by_one = run_in_batches(1, &work).await;
    assert!(one_by_one.len() > 60, "{one_by_one:#?}");
    for size in [1, 2, 7, 64] {
        assert_eq!(run_in_batches(size, &work).await, one_by_one, "batches of {size}");
    }
}

#[tokio::test]
async fn a_repeat_a_gap_and_a_reset_are_told_apart() {
    let mut executor = executor().await;
    let now = Timestamp::from_millis(1);
    let result = executor.run(&[authorizing(1, 1, 100), authorizing(1, 1, 100)], now).await.unwrap();
    assert_eq!(result.done, [Done::Handled, Done::Duplicate]);
    let result = executor.run(&[authorizing(3, 1, 100)], now).await.unwrap();
    assert_eq!(result.done, [Done::Gap { expected_after: 1 }]);
    let Work::Input(mut foreign) = authorizing(2, 1, 100) else { unreachable!() };
    foreign.kind = InputKind::Delivery { source: "order".into(), log_id: "log_2".into(), after: 1, position: 2 };
    let result = executor.run(&[Work::Input(foreign)], now).await.unwrap();
    assert_eq!(result.done, [Done::LogReset { expected: "log_1".into() }]);
    assert_eq!(executor.cursor("order").unwrap().position, 1);
}

#[tokio::test]
async fn poison_becomes_a_dead_letter_and_parks_its_key_only() {
    let mut executor = executor().await;
    let now = Timestamp::from_millis(1);
    let work = [authorizing(1, 1, 100), authorizing(2, 2, PANICS), authorizing(3, 2, 100), authorizing(4, 3, 100)];
    let result = executor.run(&work, now).await.unwrap();
    assert_eq!(result.done, [Done::Handled, Done::Dead, Done::Dead, Done::Handled]);
    assert_eq!(executor.cursor("order").unwrap().position, 4);
    let letters = executor.writer().database().dead_letters(10).await.unwrap();
    let states: Vec<_> = letters.iter().map(|letter| (letter.key.as_str(), letter.state, letter.attempts)).collect();
    assert_eq!(states, [("ord_0002", DeadLetterState::Dead, 3), ("ord_0002", DeadLetterState::Parked, 0)]);
    assert!(letters[0].error.contains("thirteen is a bug"), "{}", letters[0].error);
    let rows = executor
        .writer()
        .database()
        .fetch(Statement::new("SELECT order_id FROM tally ORDER BY order_id"))
        .await
        .unwrap();
    assert_eq!(rows.len(), 2, "the dead one left nothing");
}

#[tokio::test]
async fn what_cannot_be_decoded_or_is_refused_without_a_caller_is_dead_and_nothing_is_lost() {
    let mut executor = executor().await;
    let Work::Input(mut broken) = authorizing(1, 1, 100) else { unreachable!() };
    broken.payload = "{\"order_id\":7}".into();
    let result =
        executor.run(&[Work::Input(broken), authorizing(2, 2, REFUSES)], Timestamp::from_millis(1)).await.unwrap();
    assert_eq!(result.done, [Done::Dead, Done::Dead]);
    let letters = executor.writer().database().dead_letters(10).await.unwrap();
    let input: Input = serde_json::from_str(&letters[0].input).unwrap();
    assert_eq!(input.payload, "{\"order_id\":7}", "the whole input is kept");
}

#[tokio::test]
async fn timers_fire_once_and_not_after_they_were_cancelled() {
    let mut executor = executor().await;
    let start = Timestamp::from_millis(1_000_000);
    executor.run(&[authorizing(1, 1, 100), authorizing(2, 2, 100)], start).await.unwrap();
    assert_eq!(executor.next_timer(), Some(start.plus_millis(1_000)));
    let confirmed = delivery(3, &Confirmed { order_id: order(1), total: money(1) });
    executor.run(&[confirmed], start.plus_millis(500)).await.unwrap();
    let fired = executor.run(&[], start.plus_millis(1_000)).await.unwrap();
    assert_eq!((fired.timers_fired, fired.log.len()), (1, 1));
    let again = executor.run(&[], start.plus_millis(9_000)).await.unwrap();
    assert_eq!(again.timers_fired, 0);
    assert_eq!(executor.next_timer(), None);
}

#[tokio::test]
async fn time_never_goes_back() {
    let mut executor = executor().await;
    executor.run(&[authorizing(1, 1, 100)], Timestamp::from_millis(2_000_000)).await.unwrap();
    let result = executor.run(&[authorizing(2, 2, 100)], Timestamp::from_millis(1_000)).await.unwrap();
    assert_eq!(result.log[0].time, Timestamp::from_millis(2_000_000));
}

/// A store in a file that is opened again and again, as a process that is killed does.
async fn reopened(file: &std::path::Path) -> Executor {
    let url = format!("sqlite:{}", file.join("{module}.db").display());
    let options = DatabaseOptions { url, read_connections_max: 2, synchronous_full: false };
    let database = Database::open("payment", &options).await.unwrap();
    let definition = Arc::new(definition());
    let writer = database.writer(definition.all_migrations(), "0.1.0").await.unwrap();
    Executor::new(writer, definition, "0.1.0").await.unwrap()
}

fn folder(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("pangaea-kernel-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[tokio::test]
async fn what_was_handled_is_not_blamed_for_later_deaths_of_the_process() {
    let folder = folder("deaths");
    let now = Timestamp::from_millis(1);
    for start in 0..6 {
        // Dropped without a stop each time: the next start takes care.
        let mut executor = reopened(&folder).await;
        let done = executor.run(&[authorizing(1, 1, 100)], now).await.unwrap().done;
        assert_eq!(done, [if start == 0 { Done::Handled } else { Done::Duplicate }], "start {start}");
        assert_eq!(executor.dead_letters(), 0);
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn an_input_that_kills_the_process_is_found() {
    let folder = folder("killer");
    drop(reopened(&folder).await);
    for _ in 0..3 {
        let options = DatabaseOptions {
            url: format!("sqlite:{}", folder.join("{module}.db").display()),
            read_connections_max: 1,
            synchronous_full: false,
        };
        let database = Database::open("payment", &options).await.unwrap();
        let mut writer = database.writer(definition().all_migrations(), "0.1.0").await.unwrap();
        // As far as a process gets that dies while the handler runs.
        writer.record_attempt("msg_0001").await.unwrap();
    }
    let mut executor = reopened(&folder).await;
    let work = [authorizing(1, 1, 100), authorizing(2, 2, 100)];
    let done = executor.run(&work, Timestamp::from_millis(1)).await.unwrap().done;
    assert_eq!(done, [Done::Dead, Done::Handled]);
    assert_eq!(executor.cursor("order").unwrap().position, 2);
    std::fs::remove_dir_all(folder).unwrap();
}
