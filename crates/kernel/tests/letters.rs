//! Dead letters on an operator's word: redriven in order and in whole, or abandoned; never lost.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::future::BoxFuture;
use pangaea_contracts::payment::{Authorize, Authorized};
use pangaea_contracts::{Actor, Currency, Message, Money, OrderId, PaymentId, Timestamp};
use pangaea_faults::{Action, Failpoint, with_hook};
use pangaea_journal::{Database, DatabaseOptions, DeadLetterRow, DeadLetterState, Migration, Statement, record};
use pangaea_kernel::{
    Answer, BatchResult, Call, Cx, Definition, Done, Effect, Executor, ExecutorError, Failure, Input, InputKind,
    LetterOutcome, Outcome, Performed, Performer, TryError, Work, settings_subject,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

record! {
    /// What was handled, in its order.
    pub struct Seen in "seen" {
        key { name: String }
        number: i64,
    }
}

const MIGRATION: Migration =
    Migration { name: "0001", sql: "CREATE TABLE seen (name TEXT PRIMARY KEY, number BIGINT NOT NULL);" };

/// What the module can do: a change of it stands for the release that mends a bug.
#[derive(Clone, Serialize, Deserialize)]
#[serde(default)]
struct Abilities {
    amount_max: i64,
    timers: bool,
    results: bool,
}

impl Default for Abilities {
    fn default() -> Self {
        Self { amount_max: 100, timers: false, results: false }
    }
}

macro_rules! about_an_order {
    ($($type:ident = $subject:literal),*) => {$(
        #[derive(Clone, Serialize, Deserialize, JsonSchema)]
        struct $type {
            order_id: OrderId,
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
struct Nobody;

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

async fn note(cx: &mut Cx, name: String) -> Result<(), Failure> {
    let number = cx.sql(Statement::new("SELECT COUNT(*) FROM seen")).await?[0].get::<i64>(0)?;
    cx.put(Seen { name, number });
    Ok(())
}

async fn authorize(cx: &mut Cx, command: Authorize) -> Result<(), Failure> {
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

async fn remind(cx: &mut Cx, reminder: Reminder) -> Result<(), Failure> {
    note(cx, format!("{} timer", reminder.order_id)).await?;
    assert!(cx.settings::<Abilities>()?.timers, "this release cannot remind");
    Ok(())
}

async fn charged(cx: &mut Cx, charge: Performed<Charge>) -> Result<(), Failure> {
    note(cx, format!("{} charged", charge.effect.order_id)).await?;
    assert!(cx.settings::<Abilities>()?.results, "this release cannot charge");
    Ok(())
}

async fn look_up(_: &mut Cx, _: LookUp) -> Result<Answer, Failure> {
    Ok(Answer::empty(200))
}

fn definition() -> Definition {
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
struct Module {
    folder: PathBuf,
    executor: Option<Executor>,
    /// The last position that was delivered.
    delivered: u64,
    now: Timestamp,
    commands: u32,
}

// === impl Module ===

impl Module {
    async fn start(name: &str) -> Self {
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
    async fn die_and_start(&mut self) {
        drop(self.executor.take());
        self.executor = Some(open(&self.folder).await);
    }

    fn executor(&mut self) -> &mut Executor {
        self.executor.as_mut().unwrap()
    }

    fn database(&self) -> Database {
        self.executor.as_ref().unwrap().writer().database().clone()
    }

    async fn try_run(&mut self, work: &[Work]) -> Result<BatchResult, ExecutorError> {
        let now = self.now;
        self.executor().run(work, now).await
    }

    async fn run(&mut self, work: &[Work]) -> Vec<Done> {
        self.try_run(work).await.unwrap().done
    }

    /// Delivers one command for each `(order, amount)`.
    async fn authorize(&mut self, orders: &[(u32, i64)]) -> Vec<Done> {
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

    async fn can(&mut self, abilities: Abilities) {
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
    async fn command(&mut self, number: u32) -> u16 {
        self.commands += 1;
        let kind = InputKind::Command { fingerprint: String::new() };
        let work = input(&format!("cmd_{}", self.commands), kind, &LookUp { order_id: order(number) });
        match self.run(&[work]).await.remove(0) {
            Done::Answered(answer) => answer.status,
            other => panic!("a command was not answered: {other:?}"),
        }
    }

    async fn redrive(&mut self, id: &str) -> LetterOutcome {
        letter(self.run(&[Work::Redrive { letter_id: id.into() }]).await.remove(0))
    }

    async fn abandon(&mut self, id: &str) -> LetterOutcome {
        letter(self.run(&[Work::Abandon { letter_id: id.into() }]).await.remove(0))
    }

    async fn letters(&self) -> Vec<DeadLetterRow> {
        self.database().dead_letters(100).await.unwrap()
    }

    async fn letter_ids(&self) -> Vec<String> {
        self.letters().await.into_iter().map(|letter| letter.id).collect()
    }

    /// What was handled, in its order.
    async fn seen(&self) -> Vec<String> {
        let rows = self.database().fetch(Statement::new("SELECT name FROM seen ORDER BY number")).await.unwrap();
        rows.iter().map(|row| row.get(0).unwrap()).collect()
    }

    /// The count in memory is that of the table, and what a fresh start would count.
    async fn counts(&mut self, expected: u32) {
        let counted = self.database().dead_letter_counts().await.unwrap();
        assert_eq!((counted.dead + counted.parked, self.executor().dead_letters()), (expected.into(), expected));
    }

    async fn end(mut self) {
        let extents = self.database().extents().await.unwrap().unwrap();
        assert_eq!((extents.inbox.rows, extents.outbox.rows), (extents.inbox.last, extents.outbox.last), "dense");
        self.executor.take().unwrap().stop().await.unwrap();
        std::fs::remove_dir_all(self.folder).unwrap();
    }
}

async fn open(folder: &Path) -> Executor {
    let url = format!("sqlite:{}", folder.join("{module}.db").display());
    let options = DatabaseOptions { url, read_connections_max: 2, synchronous_full: false };
    let database = Database::open("payment", &options).await.unwrap();
    let definition = Arc::new(definition());
    assert_eq!(definition.faults(), &[] as &[String]);
    let writer = database.writer(definition.all_migrations(), "test").await.unwrap();
    Executor::new(writer, definition, "test").await.unwrap()
}

fn order(number: u32) -> OrderId {
    format!("ord_{number}").parse().unwrap()
}

fn input<M: Message>(id: &str, kind: InputKind, message: &M) -> Work {
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

fn letter(done: Done) -> LetterOutcome {
    match done {
        Done::Letter(outcome) => outcome,
        other => panic!("not about a letter: {other:?}"),
    }
}

fn failed(outcome: &LetterOutcome) -> (&str, u32) {
    match outcome {
        LetterOutcome::FailedAgain { error, attempts } => (error, *attempts),
        other => panic!("it should have failed again: {other:?}"),
    }
}

const MENDED: Abilities = Abilities { amount_max: 1_000, timers: true, results: true };

#[tokio::test]
async fn a_letter_that_fails_again_stays_with_its_new_error_and_takes_nothing_else_with_it() {
    let mut module = Module::start("again").await;
    assert_eq!(module.authorize(&[(1, 500), (1, 7)]).await, [Done::Dead, Done::Dead]);
    let before = module.letters().await;
    module.can(Abilities { amount_max: 101, ..Abilities::default() }).await;

    // In one batch with a delivery before it and one behind it: both are handled.
    module.delivered += 1;
    let delivery = |module: &mut Module, number: u32, position: u64| {
        module.delivered = position;
        let kind =
            InputKind::Delivery { source: "order".into(), log_id: "log_1".into(), after: position - 1, position };
        let money = Money::new(5, Currency::GBP);
        let message = Authorize { order_id: order(number), amount: money, payment_token: "tok_ok".into() };
        input(&format!("msg_{position}"), kind, &message)
    };
    let redrive = Work::Redrive { letter_id: "msg_1".into() };
    let work = [delivery(&mut module, 2, 3), redrive, delivery(&mut module, 3, 4)];
    let done = module.run(&work).await;
    assert_eq!((&done[0], &done[2]), (&Done::Handled, &Done::Handled));
    let outcome = letter(done[1].clone());
    assert_eq!(failed(&outcome), ("500 is more than this release can count", before[0].attempts + 1));

    let after = module.letters().await;
    assert_eq!(after.len(), 2, "nothing is lost");
    assert_eq!(after[0].attempts, before[0].attempts + 1);
    assert_eq!((&after[0].input, after[0].position), (&before[0].input, before[0].position), "whole and in its place");
    assert_eq!(after[0].fingerprint, before[0].fingerprint, "the same cause");
    assert_eq!(after[1], before[1]);
    assert_eq!(module.seen().await, ["ord_2 5", "ord_3 5"], "the failed one left nothing");
    assert_eq!(module.database().outbox_after("log", 0, 10).await.unwrap().len(), 2);
    assert_eq!(module.command(1).await, 503, "its key stays parked");
    module.counts(2).await;
    module.end().await;
}

#[tokio::test]
async fn a_key_is_redriven_in_order_only_and_then_goes_on() {
    let mut module = Module::start("order").await;
    module.authorize(&[(1, 500), (1, 7), (1, 8), (2, 600)]).await;
    assert_eq!(module.letter_ids().await, ["msg_1", "msg_2", "msg_3", "msg_4"]);
    module.can(MENDED).await;
    let behind = LetterOutcome::Behind { older_id: "msg_1".into() };
    assert_eq!(module.redrive("msg_3").await, behind);
    assert_eq!(module.redrive("msg_2").await, behind);
    assert_eq!(module.redrive("msg_1").await, LetterOutcome::Redriven);
    assert_eq!(module.command(1).await, 503, "two wait still");
    // Those of a key in one batch, and what comes for the key meanwhile is behind them.
    let work: Vec<Work> = ["msg_2", "msg_3"].map(|id| Work::Redrive { letter_id: id.into() }).into();
    assert_eq!(module.authorize(&[(1, 9)]).await, [Done::Dead]);
    assert_eq!(module.run(&work).await, vec![Done::Letter(LetterOutcome::Redriven); 2]);
    assert_eq!(module.redrive("msg_5").await, LetterOutcome::Redriven);
    assert_eq!(module.seen().await, ["ord_1 500", "ord_1 7", "ord_1 8", "ord_1 9"]);
    assert_eq!(module.command(1).await, 200, "the key goes on");
    assert_eq!(module.authorize(&[(1, 10)]).await, [Done::Handled]);
    assert_eq!(module.command(2).await, 503, "another key has a letter of its own");
    module.counts(1).await;
    assert_eq!(module.redrive("msg_4").await, LetterOutcome::Redriven);
    assert_eq!(module.redrive("msg_4").await, LetterOutcome::Redriven, "asked for again, and done once");
    assert_eq!(module.redrive("msg_99").await, LetterOutcome::NotFound);
    assert_eq!(module.seen().await.len(), 6);
    module.counts(0).await;
    module.end().await;
}

#[tokio::test]
async fn what_was_parked_and_fails_by_itself_is_a_dead_letter_of_its_own() {
    let mut module = Module::start("parked").await;
    module.authorize(&[(1, 200), (1, 700), (1, 3)]).await;
    module.can(Abilities { amount_max: 300, ..MENDED }).await;
    assert_eq!(module.redrive("msg_1").await, LetterOutcome::Redriven);
    assert_eq!(failed(&module.redrive("msg_2").await).1, 1);
    let letters = module.letters().await;
    assert_eq!((letters[0].id.as_str(), letters[0].state), ("msg_2", DeadLetterState::Dead));
    assert_eq!(module.redrive("msg_3").await, LetterOutcome::Behind { older_id: "msg_2".into() });
    assert_eq!(module.abandon("msg_2").await, LetterOutcome::Abandoned);
    assert_eq!(module.abandon("msg_2").await, LetterOutcome::NotFound);
    assert_eq!(module.command(1).await, 503, "one waits still");
    assert_eq!(module.redrive("msg_3").await, LetterOutcome::Redriven);
    assert_eq!(module.seen().await, ["ord_1 200", "ord_1 3"]);
    assert_eq!(module.command(1).await, 200);
    module.counts(0).await;
    module.end().await;
}

#[tokio::test]
async fn timers_and_results_of_effects_are_redriven_alike() {
    let mut module = Module::start("kinds").await;
    module.authorize(&[(1, 50)]).await;
    let effect = module.executor().effects().next().unwrap().clone();
    // The timer fails by itself; the effect's result comes while its key is parked.
    module.now = module.now.plus_millis(1_000);
    module.run(&[]).await;
    let charge = Charge { order_id: order(1) };
    let kind = InputKind::EffectResult { effect_id: effect.id.clone() };
    let Work::Input(result) = input(&format!("{}:result", effect.id), kind, &charge) else { unreachable!() };
    let payload = serde_json::to_string(&Performed { effect: charge, outcome: Outcome::Done(1) }).unwrap();
    let result = Work::Input(Input { payload, ..result });
    assert_eq!(module.run(std::slice::from_ref(&result)).await, [Done::Dead]);
    let letters = module.letters().await;
    assert_eq!(
        letters.iter().map(|letter| letter.subject.as_str()).collect::<Vec<_>>(),
        [Reminder::SUBJECT, Charge::SUBJECT]
    );
    module.die_and_start().await;
    assert_eq!(module.executor().effects().count(), 0, "its result is kept, so it is not performed again");
    assert_eq!(module.run(&[result]).await, [Done::Duplicate]);

    module.can(Abilities { results: false, ..MENDED }).await;
    assert_eq!(module.redrive(&letters[0].id).await, LetterOutcome::Redriven);
    let outcome = module.redrive(&letters[1].id).await;
    assert!(failed(&outcome).0.contains("this release cannot charge"), "{outcome:?}");
    module.can(MENDED).await;
    assert_eq!(module.redrive(&letters[1].id).await, LetterOutcome::Redriven);
    assert_eq!(module.seen().await, ["ord_1 50", "ord_1 timer", "ord_1 charged"]);
    module.counts(0).await;
    module.end().await;
}

#[tokio::test]
async fn settings_are_abandoned_and_never_brought_back() {
    let mut module = Module::start("settings").await;
    let Work::Input(like) = input("set_bad", InputKind::Settings, &LookUp { order_id: order(0) }) else {
        unreachable!()
    };
    let payload = "{\"amount_max\": \"many\"}".to_owned();
    let bad = Input { subject: settings_subject("payment"), key: "payment".into(), payload, ..like };
    assert_eq!(module.run(&[Work::Input(bad)]).await, [Done::Dead]);
    assert!(matches!(module.redrive("set_bad").await, LetterOutcome::Unfit { .. }));
    module.counts(1).await;
    assert_eq!(module.abandon("set_bad").await, LetterOutcome::Abandoned);
    module.counts(0).await;
    module.end().await;
}

/// At every boundary that a redrive comes to, for one that goes well and one that fails again.
#[tokio::test]
async fn a_crash_anywhere_in_a_redrive_loses_nothing_and_does_nothing_twice() {
    let points = [
        Failpoint::HandlerBefore,
        Failpoint::HandlerAfter,
        Failpoint::OutboxBefore,
        Failpoint::OutboxAfter,
        Failpoint::CommitBefore,
        Failpoint::CommitAfter,
    ];
    for (point, mended) in points.into_iter().flat_map(|point| [(point, true), (point, false)]) {
        let mut module = Module::start("crash").await;
        module.authorize(&[(1, 500), (1, 7)]).await;
        if mended {
            module.can(MENDED).await;
        }
        let hook = with_hook(move |reached| (reached == point).then_some(Action::Crash));
        let crashed = module.try_run(&[Work::Redrive { letter_id: "msg_1".into() }]).await;
        drop(hook);
        assert!(matches!(crashed, Err(ExecutorError::Transient(_))), "{point}: {crashed:?}");
        module.die_and_start().await;

        let is_done = mended && point == Failpoint::CommitAfter;
        let left: &[&str] = if is_done { &["msg_2"] } else { &["msg_1", "msg_2"] };
        assert_eq!(module.letter_ids().await, left, "{point}, mended: {mended}");
        module.counts(left.len() as u32).await;
        assert_eq!(module.command(1).await, 503, "{point}");
        module.can(MENDED).await;
        assert_eq!(module.redrive("msg_1").await, LetterOutcome::Redriven, "{point}");
        assert_eq!(module.redrive("msg_2").await, LetterOutcome::Redriven, "{point}");
        assert_eq!(module.seen().await, ["ord_1 500", "ord_1 7"], "{point}");
        assert_eq!(module.database().outbox_after("log", 0, 10).await.unwrap().len(), 2, "{point}");
        assert_eq!(module.executor().effects().count(), 2, "{point}");
        module.counts(0).await;
        module.end().await;
    }
}

/// The process lives on, as the writer's task does when the database is away for a moment: the same work again.
#[tokio::test]
async fn a_commit_without_an_answer_is_asked_for_again_and_counts_stay_right() {
    let mut module = Module::start("unknown").await;
    module.authorize(&[(1, 500), (1, 7)]).await;
    module.can(MENDED).await;
    for (letter_id, left) in [("msg_1", 1), ("msg_2", 0)] {
        let hook = with_hook(|reached| (reached == Failpoint::CommitAfter).then_some(Action::Fail));
        let work = [Work::Redrive { letter_id: letter_id.into() }];
        let unknown = module.try_run(&work).await;
        drop(hook);
        assert!(matches!(unknown, Err(ExecutorError::Transient(_))), "{unknown:?}");
        assert_eq!(module.run(&work).await, [Done::Letter(LetterOutcome::Redriven)]);
        module.counts(left).await;
    }
    assert_eq!(module.seen().await, ["ord_1 500", "ord_1 7"]);
    assert_eq!(module.command(1).await, 200);
    module.end().await;
}
