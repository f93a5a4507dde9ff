use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::json;
use tokio::sync::{mpsc, oneshot, watch};

use super::batch::{Batch, Database, Value, Written, now_ms, timer};
use super::{Facts, Said, all_that_waits, payment};

pub(super) const TABLES: &str = include_str!("../../../order/migrations/0001_orders.sql");
const ORDERS: &str = "INSERT INTO orders (id, version, state, state_since, attempt, awaits_void, awaits_release, placed_at, customer_id, customer_reference, currency, total, captured, refunded, refund_pending, lines, reason, payment_token, shipping_address)";
const ORDERS_TAIL: &str = " ON CONFLICT (id) DO UPDATE SET version = excluded.version, state = excluded.state, state_since = excluded.state_since, attempt = excluded.attempt, awaits_void = excluded.awaits_void, awaits_release = excluded.awaits_release, placed_at = excluded.placed_at, customer_id = excluded.customer_id, customer_reference = excluded.customer_reference, currency = excluded.currency, total = excluded.total, captured = excluded.captured, refunded = excluded.refunded, refund_pending = excluded.refund_pending, lines = excluded.lines, reason = excluded.reason, payment_token = excluded.payment_token, shipping_address = excluded.shipping_address";
const TIMELINE: &str = "INSERT INTO timeline (order_id, seq, at, state, event, detail)";
const TIMELINE_TAIL: &str = " ON CONFLICT (order_id, seq) DO UPDATE SET at = excluded.at, state = excluded.state, event = excluded.event, detail = excluded.detail";
const DEADLINE: &str = "order.tmr.deadline.v1";
const ANSWER_MS: i64 = 30_000;

pub(super) enum Input {
    Place(Arc<Facts>, Option<oneshot::Sender<String>>),
    Said(Said),
}

pub(super) struct Order {
    database: Database,
    to_product: mpsc::Sender<Said>,
    to_payment: mpsc::Sender<payment::Input>,
    versions: HashMap<String, i64>,
    confirmed: watch::Sender<u64>,
}

/// What a step brings: its state, its version, and what is said.
struct Step {
    state: &'static str,
    says: Vec<(&'static str, String)>,
}

impl Order {
    pub(super) async fn open(
        folder: &Path,
        to_product: mpsc::Sender<Said>,
        to_payment: mpsc::Sender<payment::Input>,
        confirmed: watch::Sender<u64>,
        written: Arc<Written>,
    ) -> Result<Self> {
        let database = Database::create(folder, "order", TABLES, written).await?;
        Ok(Self::new(database, to_product, to_payment, confirmed))
    }

    pub(super) fn new(
        database: Database,
        to_product: mpsc::Sender<Said>,
        to_payment: mpsc::Sender<payment::Input>,
        confirmed: watch::Sender<u64>,
    ) -> Self {
        Self { database, to_product, to_payment, versions: HashMap::new(), confirmed }
    }

    pub(super) async fn run(mut self, mut inputs: mpsc::Receiver<Input>) -> Result<()> {
        while let Some(waiting) = all_that_waits(&mut inputs).await {
            self.batch(waiting).await?;
        }
        Ok(())
    }

    async fn batch(&mut self, inputs: Vec<Input>) -> Result<()> {
        let (now, mut batch) = (now_ms(), Batch::default());
        self.database.begin().await?;
        let commands = inputs.iter().filter_map(|input| match input {
            Input::Place(facts, _) => Some(facts.command_id.clone()),
            Input::Said(_) => None,
        });
        self.database.read("SELECT id, fingerprint, answer FROM inbox WHERE id", commands.collect()).await?;
        let (mut rows, mut timers) = (BTreeMap::new(), BTreeMap::new());
        let (mut entries, mut replies, mut says) = (Vec::new(), Vec::new(), Vec::new());
        let mut confirmed = 0;
        for input in inputs {
            let (said, source, reply) = match input {
                Input::Place(facts, reply) => (placing(facts), None, reply),
                Input::Said(said) => {
                    let source = said.subject.split('.').next();
                    (said, source, None)
                }
            };
            let step = step(&said).with_context(|| format!("what is {}?", said.subject))?;
            let (order_id, is_end) = (said.facts.order_id.clone(), step.state == "confirmed");
            let version = self.versions.entry(order_id.clone()).or_default();
            *version += 1;
            rows.insert(order_id.clone(), order_row(&said.facts, *version, step.state, now));
            let entry: [Value; 6] =
                [(&order_id).into(), (*version).into(), now.into(), step.state.into(), step.state.into(), Value::Null];
            entries.push(entry.to_vec());
            if is_end {
                self.versions.remove(&order_id);
                timers.insert(order_id.clone(), None);
                confirmed += 1;
            } else {
                let payload = json!({ "order_id": order_id, "state": step.state, "attempt": 0 }).to_string();
                let row = timer(&said, DEADLINE, self.database.id("tmr"), now + ANSWER_MS, payload);
                timers.insert(order_id.clone(), Some(row));
            }
            let answer = (said.subject == "order.rpc.place.v1").then(|| answer(&said.facts));
            self.database.admit(&mut batch, &said, source, answer.as_deref(), now);
            for (subject, payload) in step.says {
                says.push(self.database.say(&mut batch, &said, subject, payload));
            }
            replies.extend(reply.zip(answer));
        }
        batch.insert(ORDERS, rows.into_values().collect(), ORDERS_TAIL);
        batch.insert(TIMELINE, entries, TIMELINE_TAIL);
        let ended = timers.iter().filter(|(_, row)| row.is_none()).map(|(key, _)| key.clone()).collect();
        batch.timers(DEADLINE, timers.into_values().flatten().collect(), ended);
        self.database.commit(batch, now).await?;
        self.tell(replies, says, confirmed).await
    }

    async fn tell(
        &self,
        replies: Vec<(oneshot::Sender<String>, String)>,
        says: Vec<Said>,
        confirmed: u64,
    ) -> Result<()> {
        for (reply, answer) in replies {
            // Whoever asked may have gone.
            let _ = reply.send(answer);
        }
        for said in says {
            match said.subject.split('.').nth(2) {
                Some("product") => self.to_product.send(said).await.ok().context("product has stopped")?,
                Some("payment") => {
                    self.to_payment.send(payment::Input::Said(said)).await.ok().context("payment has stopped")?;
                }
                _ => {}
            }
        }
        self.confirmed.send_modify(|all| *all += confirmed);
        Ok(())
    }
}

/// The command of a client, as if it were said.
fn placing(facts: Arc<Facts>) -> Said {
    let lines: Vec<_> = facts
        .lines
        .iter()
        .map(|line| json!({ "sku": line.code, "quantity": line.quantity, "unit_price": null }))
        .collect();
    let payload = json!({
        "placed_by": "usr_00000000000000000000000000", "lines": lines, "payment_token": "tok_ok",
        "customer_reference": facts.reference, "shipping_address": null,
    });
    let id = facts.command_id.clone();
    Said {
        subject: "order.rpc.place.v1",
        id: id.clone(),
        causation: id,
        position: 0,
        payload: payload.to_string(),
        facts,
    }
}

fn step(said: &Said) -> Option<Step> {
    let facts = &said.facts;
    let id = &facts.order_id;
    let money = json!({ "amount": facts.total, "currency": "GBP" });
    let of_order = || json!({ "order_id": id }).to_string();
    let (state, says) = match said.subject {
        "order.rpc.place.v1" => {
            let placed = json!({ "order_id": id, "lines": priced(facts), "total": money, "customer_reference": facts.reference });
            let lines: Vec<_> =
                facts.lines.iter().map(|line| json!({ "sku_id": line.sku_id, "quantity": line.quantity })).collect();
            let reserve = json!({ "order_id": id, "lines": lines, "ttl_ms": 900_000 });
            let says = [("order.evt.placed.v1", placed), ("order.cmd.product.reserve_stock.v1", reserve)];
            ("placed", says.map(|(subject, payload)| (subject, payload.to_string())).to_vec())
        }
        "product.evt.stock_reserved.v1" => {
            let authorize = json!({ "order_id": id, "amount": money, "payment_token": "tok_ok", "owner": null });
            ("reserved", vec![("order.cmd.payment.authorize.v1", authorize.to_string())])
        }
        "payment.evt.authorized.v1" => ("authorized", vec![("order.cmd.product.commit_stock.v1", of_order())]),
        "product.evt.stock_committed.v1" => ("committed", vec![("order.cmd.payment.capture.v1", of_order())]),
        "payment.evt.captured.v1" => {
            let confirmed = json!({ "order_id": id, "total": money });
            ("confirmed", vec![("order.evt.confirmed.v1", confirmed.to_string())])
        }
        _ => return None,
    };
    Some(Step { state, says })
}

fn order_row(facts: &Facts, version: i64, state: &'static str, now: i64) -> Vec<Value> {
    let captured = if state == "confirmed" { facts.total } else { 0 };
    let token = if matches!(state, "placed" | "reserved") { "tok_ok".into() } else { Value::Null };
    let lines: Vec<_> = (1..).zip(&facts.lines).map(|(number, line)| {
        json!({ "line": number, "sku_id": line.sku_id, "code": line.code, "quantity": line.quantity, "unit_price": line.unit_price })
    }).collect();
    let lines = serde_json::Value::Array(lines).to_string();
    let zero = || Value::Number(0);
    vec![
        (&facts.order_id).into(),
        version.into(),
        state.into(),
        now.into(),
        zero(),
        zero(),
        zero(),
        facts.placed_at.into(),
        Value::Null,
        (&facts.reference).into(),
        "GBP".into(),
        facts.total.into(),
        captured.into(),
        zero(),
        zero(),
        lines.into(),
        Value::Null,
        token,
        Value::Null,
    ]
}

fn priced(facts: &Facts) -> Vec<serde_json::Value> {
    let line = |line: &super::Line| {
        json!({
            "code": line.code, "quantity": line.quantity, "sku_id": line.sku_id,
            "unit_price": { "amount": line.unit_price, "currency": "GBP" },
        })
    };
    facts.lines.iter().map(line).collect()
}

fn answer(facts: &Facts) -> String {
    json!({
        "customer_reference": facts.reference, "id": facts.order_id, "lines": priced(facts), "placed_at": facts.placed_at,
        "refunded": { "amount": 0, "currency": "GBP" }, "state": "placed", "total": { "amount": facts.total, "currency": "GBP" },
    })
    .to_string()
}
