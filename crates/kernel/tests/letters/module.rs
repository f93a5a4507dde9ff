//! A module that keeps what it cannot handle, and what a test does with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::future::BoxFuture;
use pangaea_contracts::payment::{Authorize, Authorized};
use pangaea_contracts::{Actor, Currency, Message, Money, OrderId, PaymentId, Timestamp};
use pangaea_journal::{Database, DatabaseOptions, DeadLetterRow, Migration, Statement, record};
use pangaea_kernel::{
    Answer, BatchResult, Call, Cx, Definition, Done, Effect, Executor, ExecutorError, Failure, Input, InputKind,
    LetterOutcome, Outcome, Performed, Performer, TryError, Work, settings_subject,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

record! {
    /// What was handled, in its order.
    pub(crate) struct Seen in "seen" {
        key { name: String }
        number: i64,
    }
}

pub(crate) const MIGRATION: Migration =
    Migration { name: "0001", sql: "CREATE TABLE seen (name TEXT PRIMARY KEY, number BIGINT NOT NULL);" };

/// What the module can do: a change of it stands for the release that mends a bug.
#[derive(Clone, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Abilities {
    pub(crate) amount_max: i64,
    pub(crate) timers: bool,
    pub(crate) results: bool,
}

impl Default for Abilities {
    fn default() -> Self {
        Self { amount_max: 100, timers: false, results: false }
    }
}

macro_rules! about_an_order {
    ($($type:ident = $subject:literal),*) => {$(
        #[derive(Clone, Serialize, Deserialize, JsonSchema)]
        pub(crate) struct $type {
            pub(crate) order_id: OrderId,
        }

        impl Message for $type {
            const SUBJECT: &'static str = $subject;

            fn key(&self) -> String {
                self.order_id.to_string()
            }
        }
    )*};
}

about_an_order!(
    Reminder = "payment.tmr.reminder.v1",
    Charge = "payment.eff.charge.v1",
    LookUp = "payment.rpc.look_up.v1"
);

impl Effect for Charge {
    type Output = u32;
    const DEADLINE_MS: i64 = 60_000;
    const TRY_TIMEOUT_MS: i64 = 1_000;
}

/// The executor only records effects; their results are inputs of the test.
pub(crate) struct Nobody;

impl Performer<Charge> for Nobody {
    fn target(&self) -> &str {
        "nobody"
    }

    fn perform<'a>(&'a self, _: &'a Call<Charge>) -> BoxFuture<'a, Result<Outcome<u32>, TryError>> {
        Box::pin(async { Err(TryError::NotDone("nobody is there".into())) })
    }

    fn query<'a>(&'a self, _: &'a Call<Charge>) -> BoxFuture<'a, Result<Option<Outcome<u32>>, TryError>> {
        Box::pin(async { Ok(None) })
    }
}

pub(crate) async fn note(cx: &mut Cx, name: String) -> Result<(), Failure> {
    let number = cx.sql(Statement::new("SELECT COUNT(*) FROM seen")).await?[0].get::<i64>(0)?;
    cx.put(Seen { name, number });
    Ok(())
}

pub(crate) async fn authorize(cx: &mut Cx, command: Authorize) -> Result<(), Failure> {
    note(cx, format!("{} {}", command.order_id, command.amount.amount)).await?;
    let payment_id: PaymentId = cx.id()?;
    cx.emit(&Authorized { order_id: command.order_id.clone(), payment_id, amount: command.amount });
    cx.after(1_000, &Reminder { order_id: command.order_id.clone() });
    cx.perform(&Charge { order_id: command.order_id });
    let can = cx.settings::<Abilities>()?;
    if command.amount.amount > can.amount_max {
        return Err(Failure::poison(format!("{} is more than this release can count", command.amount.amount)));
    }
    Ok(())
}

pub(crate) async fn remind(cx: &mut Cx, reminder: Reminder) -> Result<(), Failure> {
    note(cx, format!("{} timer", reminder.order_id)).await?;
    assert!(cx.settings::<Abilities>()?.timers, "this release cannot remind");
    Ok(())
}

pub(crate) async fn charged(cx: &mut Cx, charge: Performed<Charge>) -> Result<(), Failure> {
    note(cx, format!("{} charged", charge.effect.order_id)).await?;
    assert!(cx.settings::<Abilities>()?.results, "this release cannot charge");
    Ok(())
}

pub(crate) async fn look_up(_: &mut Cx, _: LookUp) -> Result<Answer, Failure> {
    Ok(Answer::empty(200))
}

pub(crate) fn definition() -> Definition {
    Definition::new("payment")
        .migrations(&[MIGRATION])
        .settings::<Abilities>()
        .on(authorize)
        .timer(remind)
        .effect(Arc::new(Nobody), charged)
        .command(look_up)
        .emits::<Authorized>()
}

/// A module with its database in a file, which survives the executor as it does a process.
pub(crate) struct Module {
    pub(crate) folder: PathBuf,
    pub(crate) executor: Option<Executor>,
    /// The last position that was delivered.
    pub(crate) delivered: u64,
    pub(crate) now: Timestamp,
    pub(crate) commands: u32,
}

// === impl Module ===

impl Module {
    pub(crate) async fn start(name: &str) -> Self {
        // Another one each time: what was dropped closes by and by, and removes the files of that path when it does.
        static FOLDERS: AtomicU32 = AtomicU32::new(0);
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("pangaea-letters-{name}-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let executor = Some(open(&folder).await);
        Self { folder, executor, delivered: 0, now: Timestamp::from_millis(1_700_000_000_000), commands: 0 }
    }

    /// As a process that is killed and started again.
    pub(crate) async fn die_and_start(&mut self) {
        drop(self.executor.take());
        self.executor = Some(open(&self.folder).await);
    }

    pub(crate) fn executor(&mut self) -> &mut Executor {
        self.executor.as_mut().unwrap()
    }

    pub(crate) fn database(&self) -> Database {
        self.executor.as_ref().unwrap().writer().database().clone()
    }

    pub(crate) async fn try_run(&mut self, work: &[Work]) -> Result<BatchResult, ExecutorError> {
        let now = self.now;
        self.executor().run(work, now).await
    }

    pub(crate) async fn run(&mut self, work: &[Work]) -> Vec<Done> {
        self.try_run(work).await.unwrap().done
    }

    /// Delivers one command for each `(order, amount)`.
    pub(crate) async fn authorize(&mut self, orders: &[(u32, i64)]) -> Vec<Done> {
        let mut work = Vec::new();
        for (number, amount) in orders {
            self.delivered += 1;
            let money = Money::new(*amount, Currency::GBP);
            let message = Authorize { order_id: order(*number), amount: money, payment_token: "tok_ok".into() };
            let kind = InputKind::Delivery {
                source: "order".into(),
                log_id: "log_1".into(),
                after: self.delivered - 1,
                position: self.delivered,
            };
            work.push(input(&format!("msg_{}", self.delivered), kind, &message));
        }
        self.run(&work).await
    }

    pub(crate) async fn can(&mut self, abilities: Abilities) {
        let payload = serde_json::to_string(&abilities).unwrap();
        self.commands += 1;
        let Work::Input(like) =
            input(&format!("set_{}", self.commands), InputKind::Settings, &LookUp { order_id: order(0) })
        else {
            unreachable!()
        };
        let settings = Input { subject: settings_subject("payment"), key: "payment".into(), payload, ..like };
        assert_eq!(self.run(&[Work::Input(settings)]).await, [Done::Handled]);
    }

    /// The status of a new command on an order.
    pub(crate) async fn command(&mut self, number: u32) -> u16 {
        self.commands += 1;
        let kind = InputKind::Command { fingerprint: String::new() };
        let work = input(&format!("cmd_{}", self.commands), kind, &LookUp { order_id: order(number) });
        match self.run(&[work]).await.remove(0) {
            Done::Answered(answer) => answer.status,
            other => panic!("a command was not answered: {other:?}"),
        }
    }

    pub(crate) async fn redrive(&mut self, id: &str) -> LetterOutcome {
        letter(self.run(&[Work::Redrive { letter_id: id.into() }]).await.remove(0))
    }

    pub(crate) async fn abandon(&mut self, id: &str) -> LetterOutcome {
        letter(self.run(&[Work::Abandon { letter_id: id.into() }]).await.remove(0))
    }

    pub(crate) async fn letters(&self) -> Vec<DeadLetterRow> {
        self.database().dead_letters(100).await.unwrap()
    }

    pub(crate) async fn letter_ids(&self) -> Vec<String> {
        self.letters().await.into_iter().map(|letter| letter.id).collect()
    }

    /// What was handled, in its order.
    pub(crate) async fn seen(&self) -> Vec<String> {
        let rows = self.database().fetch(Statement::new("SELECT name FROM seen ORDER BY number")).await.unwrap();
        rows.iter().map(|row| row.get(0).unwrap()).collect()
    }

    /// The count in memory is that of the table, and what a fresh start would count.
    pub(crate) async fn counts(&mut self, expected: u32) {
        let counted = self.database().dead_letter_counts().await.unwrap();
        assert_eq!((counted.dead + counted.parked, self.executor().dead_letters()), (expected.into(), expected));
    }

    pub(crate) async fn end(mut self) {
        let extents = self.database().extents().await.unwrap().unwrap();
        assert_eq!((extents.inbox.rows, extents.outbox.rows), (extents.inbox.last, extents.outbox.last), "dense");
        self.executor.take().unwrap().stop().await.unwrap();
        std::fs::remove_dir_all(self.folder).unwrap();
    }
}

pub(crate) async fn open(folder: &Path) -> Executor {
    let url = format!("sqlite:{}", folder.join("{module}.db").display());
    let options = DatabaseOptions { url, read_connections_max: 2, synchronous_full: false };
    let database = Database::open("payment", &options).await.unwrap();
    let definition = Arc::new(definition());
    assert_eq!(definition.faults(), &[] as &[String]);
    let writer = database.writer(definition.all_migrations(), "test").await.unwrap();
    Executor::new(writer, definition, "test").await.unwrap()
}

pub(crate) fn order(number: u32) -> OrderId {
    format!("ord_{number}").parse().unwrap()
}

pub(crate) fn input<M: Message>(id: &str, kind: InputKind, message: &M) -> Work {
    Work::Input(Input {
        id: id.to_owned(),
        kind,
        subject: M::SUBJECT.to_owned(),
        key: message.key(),
        causation_id: id.to_owned(),
        correlation_id: id.to_owned(),
        actor: Actor::system(),
        traceparent: None,
        payload: serde_json::to_string(message).unwrap(),
        secrets: Vec::new(),
    })
}

pub(crate) fn letter(done: Done) -> LetterOutcome {
    match done {
        Done::Letter(outcome) => outcome,
        other => panic!("not about a letter: {other:?}"),
    }
}

pub(crate) fn failed(outcome: &LetterOutcome) -> (&str, u32) {
    match outcome {
        LetterOutcome::FailedAgain { error, attempts } => (error, *attempts),
        other => panic!("it should have failed again: {other:?}"),
    }
}
