use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::json;
use tokio::sync::mpsc;

use super::batch::{Batch, Database, Value, Written, now_ms};
use super::provider::Provider;
use super::{Said, all_that_waits, order};

pub(super) const TABLES: &str = include_str!("../../../payment/migrations/0001_payment.sql");
const COLUMNS: &str = "order_id, payment_id, owner_id, currency, amount, state, reason, provider_intent, intent_open, held, captured, refunded, refund_pending, void, in_flight, authorizing, capturing, voiding, reconcile_round, retry_round, action_until, transfers, version, created_at, updated_at";
const TRANSFER: &str = "INSERT INTO transfer (id, payment_id, order_id, number, kind, state, pending_id, refund_id, debit_account, credit_account, amount, currency, at)";
const TRANSFER_TAIL: &str = " ON CONFLICT (id) DO UPDATE SET payment_id = excluded.payment_id, order_id = excluded.order_id, number = excluded.number, kind = excluded.kind, state = excluded.state, pending_id = excluded.pending_id, refund_id = excluded.refund_id, debit_account = excluded.debit_account, credit_account = excluded.credit_account, amount = excluded.amount, currency = excluded.currency, at = excluded.at";
const EFFECT: &str = "INSERT INTO effect (id, subject, key, state, deadline_at, causation_id, correlation_id, actor, traceparent, payload, tries, try_expires_at)";
const EFFECT_TAIL: &str = " ON CONFLICT (id) DO UPDATE SET subject = excluded.subject, key = excluded.key, state = excluded.state, deadline_at = excluded.deadline_at, causation_id = excluded.causation_id, correlation_id = excluded.correlation_id, actor = excluded.actor, traceparent = excluded.traceparent, payload = excluded.payload, tries = excluded.tries, try_expires_at = excluded.try_expires_at";
const EFFECT_MS: i64 = 120_000;

pub(super) enum Input {
    Said(Said),
    /// What the provider said to an operation: its intent.
    Done {
        operation: Said,
        intent: String,
    },
}

pub(super) struct Payment {
    database: Database,
    to_order: mpsc::Sender<order::Input>,
    to_self: mpsc::Sender<Input>,
    provider: Provider,
    payments: HashMap<String, Row>,
}

struct Row {
    state: &'static str,
    intent: Option<String>,
    transfers: i64,
    version: i64,
    created_at: i64,
    is_held: bool,
    is_captured: bool,
}

impl Payment {
    pub(super) async fn open(
        folder: &Path,
        to_order: mpsc::Sender<order::Input>,
        to_self: mpsc::Sender<Input>,
        provider: Provider,
        written: Arc<Written>,
    ) -> Result<Self> {
        let database = Database::create(folder, "payment", TABLES, written).await?;
        Ok(Self::new(database, to_order, to_self, provider))
    }

    pub(super) fn new(
        database: Database,
        to_order: mpsc::Sender<order::Input>,
        to_self: mpsc::Sender<Input>,
        provider: Provider,
    ) -> Self {
        Self { database, to_order, to_self, provider, payments: HashMap::new() }
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
        let new = inputs.iter().filter_map(|input| match input {
            Input::Said(said) if said.subject.ends_with("authorize.v1") => Some(said.facts.order_id.clone()),
            _ => None,
        });
        self.database.read(&format!("SELECT {COLUMNS} FROM payment WHERE order_id"), new.collect()).await?;
        let (mut rows, mut transfers) = (BTreeMap::new(), Vec::new());
        let (mut effects, mut ended) = (Vec::new(), Vec::new());
        let (mut operations, mut says) = (Vec::new(), Vec::new());
        for input in inputs {
            let (said, intent) = match input {
                Input::Said(said) => (said, None),
                Input::Done { operation, intent } => (operation, Some(intent)),
            };
            let order_id = said.facts.order_id.clone();
            let begun = Row {
                state: "processing",
                intent: None,
                transfers: 0,
                version: 0,
                created_at: now,
                is_held: false,
                is_captured: false,
            };
            let row = self.payments.entry(order_id.clone()).or_insert(begun);
            row.version += 1;
            row.transfers += 1;
            let authorizes = said.subject.ends_with("authorize.v1");
            transfers.push(transfer(&said, row.transfers, authorizes, intent.is_some(), now));
            match intent {
                None => {
                    self.database.admit(&mut batch, &said, Some("order"), None, now);
                    let operation = operation(&mut self.database, &said, authorizes, row.intent.clone());
                    effects.push(effect(&operation, now));
                    operations.push((operation, row.intent.clone()));
                }
                Some(intent) => {
                    row.intent = Some(intent);
                    (row.is_held, row.is_captured) = (authorizes, !authorizes);
                    row.state = if authorizes { "requires_capture" } else { "succeeded" };
                    ended.push(said.id.clone());
                    let result = Said { id: format!("{}:result", said.id), facts: said.facts.clone(), ..said };
                    self.database.admit(&mut batch, &result, None, None, now);
                    let facts = &result.facts;
                    let payload = json!({
                        "order_id": order_id, "payment_id": facts.payment_id, "amount": { "amount": facts.total, "currency": "GBP" },
                    });
                    let subject = if authorizes { "payment.evt.authorized.v1" } else { "payment.evt.captured.v1" };
                    says.push(self.database.say(&mut batch, &result, subject, payload.to_string()));
                    rows.insert(order_id.clone(), payment_row(&result, row, now));
                    if row.is_captured {
                        self.payments.remove(&order_id);
                    }
                    continue;
                }
            }
            rows.insert(order_id, payment_row(&said, row, now));
        }
        let names: Vec<&str> = COLUMNS.split(", ").skip(1).collect();
        let updates: Vec<String> = names.iter().map(|name| format!("{name} = excluded.{name}")).collect();
        let tail = format!(" ON CONFLICT (order_id) DO UPDATE SET {}", updates.join(", "));
        batch.insert(&format!("INSERT INTO payment ({COLUMNS})"), rows.into_values().collect(), &tail);
        batch.insert(TRANSFER, transfers, TRANSFER_TAIL);
        batch.delete("effect", "id", ended);
        batch.insert(EFFECT, effects, EFFECT_TAIL);
        self.database.commit(batch, now).await?;
        for said in says {
            self.to_order.send(order::Input::Said(said)).await.ok().context("order has stopped")?;
        }
        for (operation, intent) in operations {
            self.provider.perform(operation, intent, self.to_self.clone());
        }
        Ok(())
    }
}

fn operation(database: &mut Database, said: &Said, authorizes: bool, intent: Option<String>) -> Said {
    let facts = said.facts.clone();
    let payload =
        json!({ "order_id": facts.order_id, "provider_key": null, "provider_intent": intent, "amount": facts.total });
    Said {
        subject: if authorizes { "payment.eff.authorize.v1" } else { "payment.eff.capture.v1" },
        id: database.id("op"),
        causation: said.id.clone(),
        position: 0,
        payload: payload.to_string(),
        facts,
    }
}

fn effect(operation: &Said, now: i64) -> Vec<Value> {
    let facts = &operation.facts;
    vec![
        (&operation.id).into(),
        operation.subject.into(),
        (&facts.order_id).into(),
        "pending".into(),
        (now + EFFECT_MS).into(),
        (&operation.causation).into(),
        (&facts.command_id).into(),
        "usr_00000000000000000000000000;staff".into(),
        (&facts.trace).into(),
        (&operation.payload).into(),
        Value::Number(1),
        (now + 5_000).into(),
    ]
}

fn transfer(said: &Said, number: i64, authorizes: bool, is_posted: bool, now: i64) -> Vec<Value> {
    let facts = &said.facts;
    let accounts = if authorizes { ("authorized_holds", "customer") } else { ("captured", "authorized_holds") };
    vec![
        format!("{}-{number}", facts.payment_id).into(),
        (&facts.payment_id).into(),
        (&facts.order_id).into(),
        number.into(),
        if authorizes { "authorize" } else { "capture" }.into(),
        if is_posted { "posted" } else { "pending" }.into(),
        if is_posted { format!("{}-{}", facts.payment_id, number - 1).into() } else { Value::Null },
        Value::Null,
        accounts.0.into(),
        accounts.1.into(),
        facts.total.into(),
        "GBP".into(),
        now.into(),
    ]
}

fn payment_row(said: &Said, row: &Row, now: i64) -> Vec<Value> {
    let facts = &said.facts;
    let stage = |posted: bool| json!({ "key": said.id, "open": null, "unknown": false, "posted": posted }).to_string();
    let zero = || Value::Number(0);
    let part = |is: bool| Value::Number(if is { facts.total } else { 0 });
    vec![
        (&facts.order_id).into(),
        (&facts.payment_id).into(),
        Value::Null,
        "GBP".into(),
        facts.total.into(),
        row.state.into(),
        Value::Null,
        row.intent.as_ref().map_or(Value::Null, Value::from),
        Value::Number(i64::from(row.is_held)),
        part(row.is_held),
        part(row.is_captured),
        zero(),
        zero(),
        "none".into(),
        Value::Null,
        stage(row.is_held || row.is_captured).into(),
        stage(row.is_captured).into(),
        stage(false).into(),
        zero(),
        zero(),
        Value::Null,
        row.transfers.into(),
        row.version.into(),
        row.created_at.into(),
        now.into(),
    ]
}
