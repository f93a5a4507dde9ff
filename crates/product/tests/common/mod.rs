//! The real module on a SQLite database in memory, driven one batch at a time.

// Each test binary uses its own part of this.
#![allow(dead_code)]

pub(crate) mod shop;

use std::collections::BTreeMap;
use std::sync::Arc;

use pangaea_contracts::product::{CreateProducts, NewProduct, NewVariant, StockLine};
use pangaea_contracts::{Actor, Currency, Envelope, Message, Money, OrderId, SkuId, Timestamp};
use pangaea_journal::{Column, Database, DatabaseOptions, Statement, Value};
use pangaea_kernel::http::Intent;
use pangaea_kernel::{Answer, BatchResult, Done, Executor, Input, InputKind, Module, Work};
use pangaea_product::Product;

pub(crate) struct Store {
    pub(crate) database: Database,
    pub(crate) executor: Executor,
    pub(crate) now: Timestamp,
    /// The last position of order's log that was delivered.
    position: u64,
    commands: u64,
}

pub(crate) const TTL_MS: i64 = 900_000;

impl Store {
    pub(crate) async fn open() -> Self {
        Self::open_at("sqlite::memory:", "product").await
    }

    /// `name` is the file's or the schema's.
    pub(crate) async fn open_at(url: &str, name: &str) -> Self {
        let options = DatabaseOptions { url: url.to_owned(), read_connections_max: 2, synchronous_full: false };
        let database = Database::open(name, &options).await.unwrap();
        let definition = Product::new().define();
        assert_eq!(definition.faults(), [] as [String; 0]);
        let writer = database.writer(definition.all_migrations(), "test").await.unwrap();
        let executor = Executor::new(writer, Arc::new(definition), "test").await.unwrap();
        Self { database, executor, now: Timestamp::from_millis(1_800_000_000_000), position: 0, commands: 0 }
    }

    /// A store with one product per (code, units), at £4.50 each.
    pub(crate) async fn with_stock(codes: &[(&str, i64)]) -> Self {
        let mut store = Self::open().await;
        store.stock_up(codes).await;
        store
    }

    pub(crate) async fn stock_up(&mut self, codes: &[(&str, i64)]) {
        let products = codes.iter().map(|(code, stock)| product(code, *stock)).collect();
        let command = CreateProducts { sku_id: SkuId::from_code("x"), products, only_if_empty: false };
        assert_eq!(self.command(&command).await.0.status, 200);
    }

    pub(crate) async fn run(&mut self, inputs: Vec<Input>) -> BatchResult {
        let work: Vec<Work> = inputs.into_iter().map(Work::Input).collect();
        self.executor.run(&work, self.now).await.unwrap()
    }

    /// Sends a command under a key of its own; the answer and what was said.
    pub(crate) async fn command<M: Message>(&mut self, command: &M) -> (Answer, Vec<Arc<Envelope>>) {
        self.commands += 1;
        let key = format!("command-{}", self.commands);
        self.command_as(&key, command).await
    }

    pub(crate) async fn command_as<M: Message>(&mut self, key: &str, command: &M) -> (Answer, Vec<Arc<Envelope>>) {
        let input = Intent::system("/test", key).command(command, Vec::new()).unwrap();
        let result = self.run(vec![input]).await;
        let [Done::Answered(answer)] = result.done.as_slice() else { panic!("not answered: {:?}", result.done) };
        assert_eq!(result.refusals_after_write, 0);
        (answer.clone(), result.log)
    }

    /// The next message of order's log.
    pub(crate) fn delivery<M: Message>(&mut self, message: &M) -> Input {
        let after = self.position;
        self.position += 1;
        let id = format!("msg_{}", self.position);
        Input {
            kind: InputKind::Delivery {
                source: "order".into(),
                log_id: "log_1".into(),
                after,
                position: self.position,
            },
            subject: M::SUBJECT.into(),
            key: message.key(),
            causation_id: id.clone(),
            correlation_id: id.clone(),
            actor: Actor::system(),
            traceparent: None,
            payload: serde_json::to_string(message).unwrap(),
            secrets: Vec::new(),
            id,
        }
    }

    /// Delivers one message of order; returns what was said, as (subject, payload).
    pub(crate) async fn deliver<M: Message>(&mut self, message: &M) -> Vec<(String, serde_json::Value)> {
        let input = self.delivery(message);
        let result = self.run(vec![input]).await;
        assert_eq!(result.done, [Done::Handled]);
        said(&result.log)
    }

    /// Lets the time go on and fires what is due.
    pub(crate) async fn wait_ms(&mut self, millis: i64) -> Vec<(String, serde_json::Value)> {
        self.now = self.now.plus_millis(millis);
        said(&self.run(Vec::new()).await.log)
    }

    /// (on hand, reserved)
    pub(crate) async fn stock(&self, code: &str) -> (i64, i64) {
        let sql =
            Statement::new("SELECT on_hand, reserved FROM stock WHERE sku_id = ?").bind_column(&SkuId::from_code(code));
        let rows = self.database.fetch(sql).await.unwrap();
        (rows[0].get(0).unwrap(), rows[0].get(1).unwrap())
    }

    /// (kind, quantity) of a SKU's movements, in their order.
    pub(crate) async fn movements(&self, code: &str) -> Vec<(String, i64)> {
        let sql = Statement::new("SELECT kind, quantity FROM stock_movement WHERE sku_id = ? ORDER BY number");
        let rows = self.database.fetch(sql.bind_column(&SkuId::from_code(code))).await.unwrap();
        rows.iter().map(|row| (row.get(0).unwrap(), row.get(1).unwrap())).collect()
    }

    pub(crate) async fn state(&self, order: &OrderId) -> Option<String> {
        let sql = Statement::new("SELECT state FROM reservation WHERE order_id = ?").bind_column(order);
        self.database.fetch(sql).await.unwrap().first().map(|row| row.get(0).unwrap())
    }

    pub(crate) async fn one<T: Column>(&self, sql: &str, value: impl Into<Value>) -> T {
        let rows = self.database.fetch(Statement::new(sql).bind(value)).await.unwrap();
        rows.first().expect("a row").get(0).unwrap()
    }

    pub(crate) async fn sound(&self) {
        assert_eq!(pangaea_product::verify(&self.database).await.unwrap(), [] as [String; 0]);
    }
}

pub(crate) fn product(code: &str, stock: i64) -> NewProduct {
    let variant =
        NewVariant { code: code.into(), options: BTreeMap::new(), price: Money::new(450, Currency::GBP), stock };
    NewProduct {
        name: format!("The {code}"),
        description: "Something to sell.".into(),
        categories: vec!["Tests".into()],
        variants: vec![variant],
        picture: None,
    }
}

pub(crate) fn said(log: &[Arc<Envelope>]) -> Vec<(String, serde_json::Value)> {
    log.iter().map(|said| (said.subject.clone(), serde_json::from_str(&said.payload).unwrap())).collect()
}

pub(crate) fn order(number: u32) -> OrderId {
    format!("ord_{number}").parse().unwrap()
}

pub(crate) fn line(code: &str, quantity: i64) -> StockLine {
    StockLine { sku_id: SkuId::from_code(code), quantity }
}

/// The subjects of what was said.
pub(crate) fn subjects(said: &[(String, serde_json::Value)]) -> Vec<&str> {
    said.iter().map(|(subject, _)| subject.as_str()).collect()
}
