//! Drives the real module on SQLite: inputs in, and out come answers, messages and rows.
#![allow(dead_code, reason = "every test file uses its own part of this")]

use std::sync::Arc;

use pangaea_contracts::order::{CancelOrder, PlaceLine, PlaceOrder, Reason, RefundLine, RefundOrder};
use pangaea_contracts::payment::{self, Authorized, Captured};
use pangaea_contracts::product::{self, SkuPriced, StockCommitted, StockReserved};
use pangaea_contracts::{
    Actor, Currency, Envelope, Message, Money, OrderId, PaymentId, ProductId, RefundId, Role, SkuId, Timestamp,
};
use pangaea_journal::{Database, DatabaseOptions, Statement};
use pangaea_kernel::{Answer, Definition, Done, Executor, Input, InputKind, Module, Work};
use pangaea_order::Order;
use serde_json::Value;

pub(crate) const START: Timestamp = Timestamp::from_millis(1_764_000_000_000);

pub(crate) struct Rig {
    pub(crate) database: Database,
    pub(crate) executor: Executor,
    pub(crate) now: Timestamp,
    positions: [(&'static str, u64); 3],
    inputs: u64,
    /// What the module has said since it was last asked.
    said: Vec<Arc<Envelope>>,
}

pub(crate) fn customer() -> Actor {
    Actor::user("usr_alice", [Role::Customer])
}

pub(crate) fn stranger() -> Actor {
    Actor::user("usr_mallory", [Role::Customer])
}

pub(crate) fn staff() -> Actor {
    Actor::user("usr_staff", [Role::Staff])
}

pub(crate) fn gbp(amount: i64) -> Money {
    Money::new(amount, Currency::GBP)
}

pub(crate) fn why(code: &str) -> Reason {
    Reason::new(code, "in a test")
}

pub(crate) fn payment_id() -> PaymentId {
    "pay_1".parse().unwrap()
}

/// Three mugs at 8.50 and one tea at 3.99: 29.49 in all.
pub(crate) fn basket() -> PlaceOrder {
    let line = |sku: &str, quantity| PlaceLine { sku: sku.into(), quantity, unit_price: None };
    PlaceOrder {
        placed_by: "usr_alice".into(),
        lines: vec![line("MUG", 3), line("tea", 1)],
        payment_token: "tok_ok".into(),
        customer_reference: None,
        shipping_address: None,
    }
}

pub(crate) const TOTAL: i64 = 3 * 850 + 399;

/// A command as the edge makes it.
pub(crate) fn command<M: Message>(id: &str, actor: &Actor, message: &M) -> Input {
    let payload = serde_json::to_string(message).unwrap();
    Input {
        id: id.to_owned(),
        kind: InputKind::Command { fingerprint: payload.clone() },
        subject: M::SUBJECT.to_owned(),
        key: message.key(),
        causation_id: id.to_owned(),
        correlation_id: id.to_owned(),
        actor: actor.clone(),
        traceparent: None,
        payload,
        secrets: Vec::new(),
    }
}

impl Rig {
    /// A module that knows the prices of MUG (8.50) and TEA (3.99).
    pub(crate) async fn new() -> Self {
        Self::with(Order::new().define()).await
    }

    pub(crate) async fn with(definition: Definition) -> Self {
        let options =
            DatabaseOptions { url: "sqlite::memory:".into(), read_connections_max: 2, synchronous_full: false };
        let database = Database::open("order", &options).await.unwrap();
        assert_eq!(definition.faults(), &[] as &[String]);
        let writer = database.writer(definition.all_migrations(), "test").await.unwrap();
        let executor = Executor::new(writer, Arc::new(definition), "test").await.unwrap();
        let positions = [("product", 0), ("payment", 0), ("user", 0)];
        let mut rig = Self { database, executor, now: START, positions, inputs: 0, said: Vec::new() };
        rig.price("MUG", gbp(850)).await;
        rig.price("TEA", gbp(399)).await;
        rig
    }

    pub(crate) async fn price(&mut self, code: &str, unit_price: Money) {
        let event = SkuPriced {
            sku_id: SkuId::from_code(code),
            code: code.into(),
            product_id: "prod_1".parse::<ProductId>().unwrap(),
            name: code.to_lowercase(),
            unit_price,
            price_version: 1,
        };
        self.hear(&event).await;
    }

    pub(crate) async fn run(&mut self, work: Vec<Work>) -> Vec<Done> {
        let result = self.executor.run(&work, self.now).await.unwrap();
        assert_eq!(result.refusals_after_write, 0, "a refusal came after a write");
        self.said.extend(result.log);
        result.done
    }

    /// Lets time pass, and whatever is due happen.
    pub(crate) async fn pass(&mut self, millis: i64) {
        self.now = self.now.plus_millis(millis);
        self.run(Vec::new()).await;
    }

    /// An event that the module reads from the log of its source.
    pub(crate) fn delivery<M: Message>(&mut self, event: &M) -> Work {
        let source = M::SUBJECT.split('.').next().unwrap();
        let (_, end) = self.positions.iter_mut().find(|(name, _)| *name == source).unwrap();
        *end += 1;
        let id = format!("msg_{source}{end}");
        Work::Input(Input {
            kind: InputKind::Delivery {
                source: source.into(),
                log_id: format!("log_{source}"),
                after: *end - 1,
                position: *end,
            },
            ..command(&id, &Actor::system(), event)
        })
    }

    pub(crate) async fn hear<M: Message>(&mut self, event: &M) {
        let work = self.delivery(event);
        assert_eq!(self.run(vec![work]).await, [Done::Handled], "{}", M::SUBJECT);
    }

    pub(crate) async fn ask<M: Message>(&mut self, actor: &Actor, message: &M) -> Answer {
        self.inputs += 1;
        let input = command(&format!("cmd_{}", self.inputs), actor, message);
        match self.run(vec![Work::Input(input)]).await.remove(0) {
            Done::Answered(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn place(&mut self) -> OrderId {
        let answer = self.ask(&customer(), &basket()).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.body["id"].as_str().unwrap().parse().unwrap()
    }

    /// Places an order and brings it to `state` along the happy path; what is said on the way is forgotten.
    pub(crate) async fn bring_to(&mut self, state: &str) -> OrderId {
        let order_id = self.place().await;
        for step in ["placed", "reserved", "authorized", "committed", "confirmed"] {
            if self.state(&order_id).await == state {
                self.said.clear();
                return order_id;
            }
            self.go_on(&order_id, step).await;
        }
        assert_eq!(self.state(&order_id).await, state);
        self.said.clear();
        order_id
    }

    /// Gives the answer that an order in `state` waits for.
    pub(crate) async fn go_on(&mut self, order_id: &OrderId, state: &str) {
        let order_id = order_id.clone();
        match state {
            "placed" => self.hear(&StockReserved { order_id, expires_at: self.now }).await,
            "reserved" => self.hear(&Authorized { order_id, payment_id: payment_id(), amount: gbp(TOTAL) }).await,
            "authorized" => self.hear(&StockCommitted { order_id }).await,
            "committed" => self.hear(&Captured { order_id, payment_id: payment_id(), amount: gbp(TOTAL) }).await,
            _ => {}
        }
    }

    pub(crate) async fn cancel(&mut self, actor: &Actor, order_id: &OrderId) -> Answer {
        self.ask(actor, &CancelOrder { order_id: order_id.clone(), reason: None }).await
    }

    /// Units by line; none of them for the whole.
    pub(crate) async fn refund(&mut self, order_id: &OrderId, lines: &[(u32, i64)], restock: bool) -> Answer {
        let lines = lines.iter().map(|(line, quantity)| RefundLine { line: *line, quantity: *quantity }).collect();
        self.ask(&staff(), &RefundOrder { order_id: order_id.clone(), lines, restock, reason: None }).await
    }

    pub(crate) async fn refunded(&mut self, order_id: &OrderId, refund_id: &RefundId, amount: i64) {
        let (order_id, refund_id) = (order_id.clone(), refund_id.clone());
        self.hear(&payment::Refunded { order_id, refund_id, amount: gbp(amount) }).await;
    }

    pub(crate) async fn released(&mut self, order_id: &OrderId) {
        self.hear(&product::StockReleased { order_id: order_id.clone() }).await;
    }

    pub(crate) async fn voided(&mut self, order_id: &OrderId) {
        self.hear(&payment::Voided { order_id: order_id.clone() }).await;
    }

    /// The names of what the module has said since it was last asked, without what is the same in all.
    pub(crate) fn said(&mut self) -> Vec<String> {
        self.take_said().iter().map(|message| message.subject.replace(".v1", "").replace("order.", "")).collect()
    }

    pub(crate) fn take_said(&mut self) -> Vec<Arc<Envelope>> {
        std::mem::take(&mut self.said)
    }

    pub(crate) async fn texts(&self, sql: &str) -> Vec<Option<String>> {
        let rows = self.database.fetch(Statement::new(sql)).await.unwrap();
        rows.iter().map(|row| row.get(0).unwrap()).collect()
    }

    pub(crate) async fn number(&self, sql: &str) -> i64 {
        self.database.fetch(Statement::new(sql)).await.unwrap()[0].get(0).unwrap()
    }

    pub(crate) async fn state(&self, order_id: &OrderId) -> String {
        let mut found = self.texts(&format!("SELECT state FROM orders WHERE id = '{order_id}'")).await;
        found.remove(0).unwrap()
    }

    /// The code of the reason why the order ended; empty without one.
    pub(crate) async fn reason(&self, order_id: &OrderId) -> String {
        let mut found = self.texts(&format!("SELECT reason FROM orders WHERE id = '{order_id}'")).await;
        let Some(text) = found.remove(0) else { return String::new() };
        serde_json::from_str::<Value>(&text).unwrap()["code"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn timeline(&self, order_id: &OrderId) -> Vec<String> {
        let rows = self.texts(&format!("SELECT event FROM timeline WHERE order_id = '{order_id}' ORDER BY seq")).await;
        rows.into_iter().flatten().collect()
    }

    pub(crate) async fn timers(&self) -> i64 {
        self.number("SELECT COUNT(*) FROM timer").await
    }

    /// Everything that must be true at any time, and no dead letters.
    pub(crate) async fn check(&self) {
        assert_eq!(pangaea_order::verify(&self.database).await.unwrap(), Vec::<String>::new());
        assert_eq!(self.executor.dead_letters(), 0);
    }
}

pub(crate) fn id_in<T: std::str::FromStr>(answer: &Answer) -> T
where
    T::Err: std::fmt::Debug,
{
    answer.body["id"].as_str().unwrap().parse().unwrap()
}
