//! A module whose tables can be made again, and what a test does with it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use futures_util::future::BoxFuture;
use pangaea_contracts::payment::{Authorize, Authorized};
use pangaea_contracts::{Actor, Currency, Message, Money, OrderId, PaymentId, Timestamp};
use pangaea_journal::{Contents, Database, DatabaseOptions, Migration, Statement, record};
use pangaea_kernel::{
    Cx, Definition, Done, Executor, ExecutorError, Failure, Input, InputKind, Rebuild, RebuildError, RebuildOptions,
    RebuildProgress, RebuildReport, RebuildStep, Steps, Work,
};
use serde::{Deserialize, Serialize};

record! {
    /// What an order has been asked for, added up.
    pub(crate) struct Sum in "sum" {
        key { order_id: OrderId }
        amount: i64,
        bonus: i64,
    }
}

record! {
    /// What is shown of it, a row for each time.
    pub(crate) struct Shown in "shown" {
        key { order_id: OrderId, number: i64 }
        amount: i64,
        note: Option<String>,
    }
}

pub(crate) const MIGRATION: Migration = Migration {
    name: "0001",
    sql: "CREATE TABLE sum (order_id TEXT PRIMARY KEY, amount BIGINT NOT NULL, bonus BIGINT NOT NULL);
          CREATE TABLE shown (order_id TEXT NOT NULL, number BIGINT NOT NULL, amount BIGINT NOT NULL, note TEXT,
              PRIMARY KEY (order_id, number));
          CREATE TABLE counted (id BIGINT PRIMARY KEY, orders BIGINT NOT NULL);",
};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Bonus {
    pub(crate) bonus: i64,
}

/// Of a release that counts otherwise.
pub(crate) async fn authorize_doubled(cx: &mut Cx, command: Authorize) -> Result<(), Failure> {
    let amount = Money::new(command.amount.amount * 2, command.amount.currency);
    authorize(cx, Authorize { amount, ..command }).await
}

pub(crate) async fn authorize(cx: &mut Cx, command: Authorize) -> Result<(), Failure> {
    let order_id = command.order_id.clone();
    let number =
        cx.sql(Statement::new("SELECT COUNT(*) FROM shown WHERE order_id = ?").bind(order_id.as_str())).await?;
    let number: i64 = number[0].get(0)?;
    // Past the rows by key.
    let count = "INSERT INTO counted VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET orders = counted.orders + 1";
    cx.sql(Statement::new(count)).await?;
    let before = cx.get::<Sum>(&order_id).await?.map_or(0, |sum| sum.amount);
    let bonus = cx.settings::<Bonus>()?.bonus;
    let amount = before + command.amount.amount;
    cx.put(Sum { order_id: order_id.clone(), amount, bonus });
    cx.put(Shown { order_id: order_id.clone(), number, amount, note: None });
    let payment_id: PaymentId = cx.id()?;
    cx.emit(&Authorized { order_id, payment_id, amount: Money::new(amount, Currency::GBP) });
    Ok(())
}

pub(crate) fn definition() -> Definition {
    declared().on(authorize)
}

pub(crate) fn declared() -> Definition {
    Definition::new("payment")
        .migrations(&[MIGRATION])
        .settings::<Bonus>()
        .emits::<Authorized>()
        .projection("shown", &["shown"])
        .projection("nowhere", &["not_there"])
}

/// A module whose database outlives its executor, as it does a process.
pub(crate) struct Module {
    pub(crate) folder: PathBuf,
    pub(crate) executor: Option<Executor>,
    pub(crate) delivered: u64,
    /// Inputs that come before each step of a rebuild.
    pub(crate) between: u64,
    /// Steps done so far, and after how many the process is gone.
    pub(crate) steps: u32,
    pub(crate) dies_after: Option<u32>,
    pub(crate) is_swapping: Arc<AtomicBool>,
}

// === impl Module ===

impl Module {
    pub(crate) async fn start(definition: Definition) -> Self {
        static FOLDERS: AtomicU32 = AtomicU32::new(0);
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("pangaea-rebuild-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let mut module = Self {
            folder,
            executor: None,
            delivered: 0,
            between: 0,
            steps: 0,
            dies_after: None,
            is_swapping: Arc::default(),
        };
        module.restart(definition).await;
        module
    }

    pub(crate) async fn restart(&mut self, definition: Definition) {
        drop(self.executor.take());
        let url = format!("sqlite:{}", self.folder.join("{module}.db").display());
        let options = DatabaseOptions { url, read_connections_max: 2, synchronous_full: false };
        let database = Database::open("payment", &options).await.unwrap();
        let definition = Arc::new(definition);
        let writer = database.writer(definition.all_migrations(), "0.1.0").await.unwrap();
        self.executor = Some(Executor::new(writer, definition, "0.1.0").await.unwrap());
    }

    pub(crate) fn database(&self) -> Database {
        self.executor.as_ref().unwrap().writer().database().clone()
    }

    pub(crate) async fn run(&mut self, work: &[Work]) -> Result<Vec<Done>, ExecutorError> {
        let now = Timestamp::from_millis(1_700_000_000_000);
        Ok(self.executor.as_mut().unwrap().run(work, now).await?.done)
    }

    /// Orders come: a few keys, again and again.
    pub(crate) async fn deliver(&mut self, count: u64) {
        for position in self.delivered + 1..=self.delivered + count {
            let order_id: OrderId = format!("ord_{}", position % 7).parse().unwrap();
            let amount = Money::new(position as i64, Currency::GBP);
            let message = Authorize { order_id, amount, payment_token: "tok_ok".into() };
            let (log_id, after) = ("log_1".into(), position - 1);
            let kind = InputKind::Delivery { source: "order".into(), log_id, after, position };
            let work = input(&format!("msg_{position}"), kind, Authorize::SUBJECT, &message);
            assert_eq!(self.run(&[work]).await.unwrap(), [Done::Handled]);
        }
        self.delivered += count;
    }

    /// Somebody writes past the store, while it is stopped.
    pub(crate) async fn damage(&mut self, sql: &str) {
        let executor = self.executor.take().unwrap();
        let database = executor.writer().database().clone();
        executor.stop().await.unwrap();
        let mut writer = database.writer(definition().all_migrations(), "0.1.0").await.unwrap();
        writer.begin().await.unwrap();
        writer.sql(Statement::new(sql)).await.unwrap();
        writer.commit().await.unwrap();
        writer.stop().await.unwrap();
        self.restart(definition()).await;
    }

    pub(crate) async fn rebuild(
        &mut self,
        definition: Definition,
        options: RebuildOptions,
    ) -> Result<RebuildReport, RebuildError> {
        let progress = RebuildProgress::default();
        let (definition, database) = (Arc::new(definition), self.database());
        Rebuild::new(definition, database, options, &progress, self).run().await
    }

    pub(crate) async fn contents(&self) -> Vec<Contents> {
        let mut contents = self.database().contents().await.unwrap();
        contents.iter_mut().for_each(|one| one.rows.sort());
        contents
    }

    /// Shadow tables that are there.
    pub(crate) async fn shadows(&self) -> usize {
        let sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE '%!_!_rebuild' ESCAPE '!'";
        self.database().fetch(Statement::new(sql)).await.unwrap().len()
    }

    /// The tables are those that the same inputs make where nobody has written past the store.
    pub(crate) async fn is_as_never_damaged(&self) {
        let mut twin = Module::start(definition()).await;
        twin.deliver(self.delivered).await;
        assert_eq!(self.contents().await, twin.contents().await);
        assert_eq!(self.shadows().await, 0);
        twin.end();
    }

    pub(crate) fn end(mut self) {
        drop(self.executor.take());
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Steps for Module {
    fn take(&mut self, work: Work) -> BoxFuture<'_, Result<Done, String>> {
        Box::pin(async move {
            self.deliver(self.between).await;
            if self.dies_after.is_some_and(|steps| self.steps >= steps) {
                return Err("the process is gone".to_owned());
            }
            self.steps += 1;
            let is_swap = matches!(&work, Work::Rebuild(RebuildStep::Swap(_)));
            self.is_swapping.store(is_swap, Ordering::Relaxed);
            let done = self.run(&[work]).await;
            self.is_swapping.store(false, Ordering::Relaxed);
            Ok(done.map_err(|error| error.to_string())?.remove(0))
        })
    }

    fn rest(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

pub(crate) fn input(id: &str, kind: InputKind, subject: &str, payload: &impl Serialize) -> Work {
    Work::Input(Input {
        id: id.to_owned(),
        kind,
        subject: subject.to_owned(),
        key: "key".to_owned(),
        causation_id: id.to_owned(),
        correlation_id: id.to_owned(),
        actor: Actor::system(),
        traceparent: None,
        payload: serde_json::to_string(payload).unwrap(),
        secrets: Vec::new(),
    })
}

pub(crate) fn shown() -> RebuildOptions {
    RebuildOptions { projection: Some("shown".into()), ..RebuildOptions::default() }
}
