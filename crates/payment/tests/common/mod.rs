//! The real module on a database in memory, driven input by input.
#![allow(dead_code, reason = "each test file uses its own part of this module")]

use std::sync::Arc;
use std::time::Duration;

use pangaea_contracts::order::Reason;
use pangaea_contracts::payment::{Authorize, Capture, Refund, Void};
use pangaea_contracts::{Actor, Currency, Envelope, Message, Money, OrderId, RefundId, Role, Timestamp};
use pangaea_journal::{Database, DatabaseOptions, EffectRow, JournalError, Migration, Record, Statement};
use pangaea_kernel::{
    BatchResult, Call, Definition, Done, Effect, Executor, Input, InputKind, Module, Outcome, Performed, TryError, Work,
};
use pangaea_payment::{
    HttpProvider, Payment, PaymentRow, ProviderStatus, ProviderTimeouts, Receipt, RefundRow, TransferRow, verify,
};

pub(crate) const START: Timestamp = Timestamp::from_millis(1_790_000_000_000);

pub(crate) struct Bench {
    executor: Executor,
    definition: Arc<Definition>,
    pub(crate) database: Database,
    pub(crate) now: Timestamp,
    position: u64,
    /// Effects without a result, the oldest first.
    pub(crate) effects: Vec<EffectRow>,
    pub(crate) log: Vec<Arc<Envelope>>,
}

/// What one step said: the subjects' names, e.g. `authorized`.
pub(crate) type Said = Vec<String>;

impl Bench {
    /// A module whose provider is never reached.
    pub(crate) async fn new() -> Self {
        Self::at("http://127.0.0.1:9", ProviderTimeouts::default()).await
    }

    pub(crate) async fn at(provider_url: &str, timeouts: ProviderTimeouts) -> Self {
        let provider = HttpProvider::new(provider_url, timeouts).expect("a usable URL");
        let definition = Arc::new(Payment::new(Arc::new(provider)).define());
        assert_eq!(definition.faults(), [] as [&str; 0]);
        let options =
            DatabaseOptions { url: "sqlite::memory:".into(), read_connections_max: 2, synchronous_full: false };
        let database = Database::open("payment", &options).await.expect("opens");
        let writer = database.writer(definition.all_migrations(), "test").await.expect("leads");
        let executor = Executor::new(writer, definition.clone(), "test").await.expect("starts");
        Self { executor, definition, database, now: START, position: 0, effects: Vec::new(), log: Vec::new() }
    }

    async fn run(&mut self, work: Vec<Work>) -> (Vec<Done>, Said) {
        let BatchResult { done, log, effects, refusals_after_write, .. } =
            self.executor.run(&work, self.now).await.expect("commits");
        assert_eq!(refusals_after_write, 0);
        self.effects.extend(effects);
        let said = log.iter().map(|message| name(message)).collect();
        self.log.extend(log);
        (done, said)
    }

    pub(crate) async fn deliver<M: Message>(&mut self, message: &M, actor: Actor) -> Said {
        self.position += 1;
        let input = self.input(message, actor);
        let (done, said) = self.run(vec![Work::Input(input)]).await;
        assert_eq!(done, [Done::Handled]);
        said
    }

    fn input<M: Message>(&self, message: &M, actor: Actor) -> Input {
        let position = self.position;
        Input {
            id: format!("msg_{position}"),
            kind: InputKind::Delivery { source: "order".into(), log_id: "log".into(), after: position - 1, position },
            subject: M::SUBJECT.into(),
            key: message.key(),
            causation_id: "cause".into(),
            correlation_id: "cause".into(),
            actor,
            traceparent: None,
            payload: serde_json::to_string(message).expect("plain data"),
            secrets: Vec::new(),
        }
    }

    pub(crate) async fn authorize(&mut self, token: &str) -> Said {
        let message = Authorize { order_id: order(), amount: gbp(1_000), payment_token: token.into() };
        self.deliver(&message, customer()).await
    }

    pub(crate) async fn capture(&mut self) -> Said {
        self.deliver(&Capture { order_id: order() }, customer()).await
    }

    pub(crate) async fn void(&mut self) -> Said {
        self.deliver(&Void { order_id: order() }, customer()).await
    }

    pub(crate) async fn refund(&mut self, id: &str, amount: Money) -> Said {
        let message = Refund { order_id: order(), refund_id: refund_id(id), amount };
        self.deliver(&message, customer()).await
    }

    /// The only effect that waits for a result, which must be of this type.
    pub(crate) fn effect<E: Effect>(&self) -> E {
        assert_eq!(self.effects.len(), 1, "{:?}", self.effects);
        assert_eq!(self.effects[0].subject, E::SUBJECT);
        serde_json::from_str(&self.effects[0].payload).expect("the effect's own payload")
    }

    /// Feeds the outcome of the oldest effect, by hand.
    pub(crate) async fn outcome<E: Effect>(&mut self, outcome: Outcome<E::Output>) -> Said {
        let row = self.effects.remove(0);
        assert_eq!(row.subject, E::SUBJECT);
        let effect: E = serde_json::from_str(&row.payload).expect("the effect's own payload");
        let payload = serde_json::to_string(&Performed { effect, outcome }).expect("plain data");
        self.result(&row, payload).await
    }

    pub(crate) async fn result(&mut self, row: &EffectRow, payload: String) -> Said {
        let input = Input {
            id: format!("res_{}", row.id),
            kind: InputKind::EffectResult { effect_id: row.id.clone() },
            subject: row.subject.clone(),
            key: row.key.clone(),
            causation_id: row.causation_id.clone(),
            correlation_id: row.correlation_id.clone(),
            actor: row.actor.clone(),
            traceparent: None,
            payload,
            secrets: Vec::new(),
        };
        let (done, said) = self.run(vec![Work::Input(input)]).await;
        assert_eq!(done, [Done::Handled]);
        said
    }

    /// One try of the oldest effect at the real provider.
    pub(crate) async fn attempt(&mut self, ask_first: bool) -> Result<Said, TryError> {
        let row = self.effects[0].clone();
        let payload = self.call(&row, ask_first).await?;
        self.effects.remove(0);
        Ok(self.result(&row, payload).await)
    }

    /// The provider does the oldest effect, and nobody hears of it.
    pub(crate) async fn perform_unseen(&mut self) {
        let row = self.effects[0].clone();
        let _ = self.call(&row, false).await;
    }

    async fn call(&self, row: &EffectRow, ask_first: bool) -> Result<String, TryError> {
        let performer = self.definition.performer(&row.subject).expect("declared").clone();
        let call = Call {
            operation_id: row.id.clone(),
            effect: row.payload.clone(),
            attempt: 1,
            deadline_at: row.deadline_at,
            timeout: Duration::from_secs(5),
            traceparent: None,
        };
        performer.run(call, ask_first).await
    }

    /// What the runtime does when an effect's deadline has passed.
    pub(crate) async fn give_up(&mut self) -> Said {
        let row = self.effects.remove(0);
        let performer = self.definition.performer(&row.subject).expect("declared");
        let payload = performer.give_up(&row.payload, reason("deadline")).expect("the effect's own payload");
        self.result(&row, payload).await
    }

    /// Lets time pass, and every timer fire that is due then.
    pub(crate) async fn pass(&mut self, millis: i64) -> Said {
        self.now = self.now.plus_millis(millis);
        self.run(Vec::new()).await.1
    }

    pub(crate) async fn timers(&self) -> Vec<String> {
        let sql = "SELECT subject FROM timer ORDER BY subject";
        let rows = self.database.fetch(Statement::new(sql)).await.expect("reads");
        rows.iter().map(|row| row.get(0).expect("a text")).collect()
    }

    async fn rows<R: Record>(&self, order_by: &str) -> Vec<R> {
        let sql = format!("SELECT {} FROM {} ORDER BY {order_by}", R::COLUMNS.join(", "), R::TABLE);
        let rows = self.database.fetch(Statement::new(sql)).await.expect("reads");
        rows.iter().map(|row| R::from_row(row).expect("a row")).collect()
    }

    pub(crate) async fn payment(&self) -> PaymentRow {
        let rows = self.rows::<PaymentRow>("order_id").await;
        assert_eq!(rows.len(), 1);
        rows.into_iter().next().expect("one row")
    }

    pub(crate) async fn refunds(&self) -> Vec<RefundRow> {
        self.rows("refund_id").await
    }

    /// The ledger as `kind state amount`, in the order of writing.
    pub(crate) async fn ledger(&self) -> Vec<String> {
        let rows = self.rows::<TransferRow>("number").await;
        rows.iter().map(|row| format!("{} {} {}", row.kind, row.state, row.amount)).collect()
    }

    /// The payload of the newest message.
    pub(crate) fn last<M: Message>(&self) -> M {
        let message = self.log.last().expect("something was said");
        assert_eq!(message.subject, M::SUBJECT);
        serde_json::from_str(&message.payload).expect("the message's own payload")
    }

    /// Stops the module, changes its tables behind its back, and says what `verify` finds.
    pub(crate) async fn corrupt(self, sql: &'static str) -> Vec<String> {
        let Self { executor, definition, database, .. } = self;
        executor.stop().await.expect("stops");
        let mut migrations = definition.all_migrations().to_vec();
        migrations.push(Migration { name: "corrupt", sql });
        let writer = database.writer(&migrations, "test").await.expect("takes over");
        writer.stop().await.expect("stops");
        verify(&database).await.expect("reads")
    }

    /// Whether the database refuses a change that is made behind the module's back.
    pub(crate) async fn refused(self, sql: &str) -> bool {
        let Self { executor, definition, database, .. } = self;
        executor.stop().await.expect("stops");
        let mut writer = database.writer(definition.all_migrations(), "test").await.expect("takes over");
        writer.begin().await.expect("begins");
        matches!(writer.sql(Statement::new(sql)).await, Err(JournalError::Constraint(_)))
    }

    /// Every step leaves the module in order.
    pub(crate) async fn sound(&self) {
        assert_eq!(verify(&self.database).await.expect("reads"), [] as [&str; 0]);
        assert!(self.database.dead_letters(10).await.expect("reads").is_empty());
    }
}

fn name(message: &Envelope) -> String {
    message.subject.split('.').nth(2).unwrap_or_default().to_owned()
}

pub(crate) fn order() -> OrderId {
    "ord_1".parse().expect("an id")
}

pub(crate) fn refund_id(text: &str) -> RefundId {
    text.parse().expect("an id")
}

pub(crate) fn customer() -> Actor {
    Actor::user("usr_1", [Role::Customer])
}

pub(crate) fn gbp(amount: i64) -> Money {
    Money::new(amount, Currency::GBP)
}

pub(crate) fn reason(code: &str) -> Reason {
    Reason::new(code, "as the test says")
}

/// An intent of 10.00, or a refund of `amount`.
pub(crate) fn receipt(status: ProviderStatus, captured: i64) -> Receipt {
    Receipt { id: "pi_1".into(), status, amount: 1_000, amount_captured: captured, amount_refunded: 0 }
}

pub(crate) fn held() -> Outcome<Receipt> {
    Outcome::Done(receipt(ProviderStatus::RequiresCapture, 0))
}

pub(crate) fn taken() -> Outcome<Receipt> {
    Outcome::Done(receipt(ProviderStatus::Succeeded, 1_000))
}

pub(crate) fn canceled() -> Outcome<Receipt> {
    Outcome::Done(receipt(ProviderStatus::Canceled, 0))
}

pub(crate) fn given_back(amount: i64) -> Outcome<Receipt> {
    let refund = Receipt {
        id: "re_1".into(),
        status: ProviderStatus::Succeeded,
        amount,
        amount_captured: 0,
        amount_refunded: 0,
    };
    Outcome::Done(refund)
}
