use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::sync::mpsc;

use super::batch::{Batch, Database, Value, Written, now_ms, timer};
use super::{Said, all_that_waits, order, sku_id};

pub(super) const TABLES: &str = include_str!("../../../product/migrations/0001_product.sql");
const STOCK: &str = "INSERT INTO stock (sku_id, on_hand, reserved, movements, withdrawn)";
const STOCK_TAIL: &str = " ON CONFLICT (sku_id) DO UPDATE SET on_hand = excluded.on_hand, reserved = excluded.reserved, movements = excluded.movements, withdrawn = excluded.withdrawn";
const RESERVATION: &str = "INSERT INTO reservation (order_id, state, lines, returned, expires_at, refusal)";
const RESERVATION_TAIL: &str = " ON CONFLICT (order_id) DO UPDATE SET state = excluded.state, lines = excluded.lines, returned = excluded.returned, expires_at = excluded.expires_at, refusal = excluded.refusal";
const MOVEMENT: &str = "INSERT INTO stock_movement (sku_id, number, kind, quantity, cause, note, moved_at)";
const MOVEMENT_TAIL: &str = " ON CONFLICT (sku_id, number) DO UPDATE SET kind = excluded.kind, quantity = excluded.quantity, cause = excluded.cause, note = excluded.note, moved_at = excluded.moved_at";
const EXPIRED: &str = "product.tmr.reservation_expired.v1";
const TTL_MS: i64 = 900_000;
const OPENING: i64 = 100_000_000;

pub(super) struct Product {
    database: Database,
    to_order: mpsc::Sender<order::Input>,
    stock: HashMap<String, Stock>,
}

#[derive(Clone, Copy)]
struct Stock {
    on_hand: i64,
    reserved: i64,
    movements: i64,
}

impl Product {
    pub(super) async fn open(
        folder: &Path,
        to_order: mpsc::Sender<order::Input>,
        products: u64,
        written: Arc<Written>,
    ) -> Result<Self> {
        let database = Database::create(folder, "product", TABLES, written).await?;
        Ok(Self::new(database, to_order, products))
    }

    pub(super) fn new(database: Database, to_order: mpsc::Sender<order::Input>, products: u64) -> Self {
        let opened = Stock { on_hand: OPENING, reserved: 0, movements: 1 };
        let stock = (1..=products).map(|number| (sku_id(number), opened)).collect();
        Self { database, to_order, stock }
    }

    pub(super) async fn run(mut self, mut inputs: mpsc::Receiver<Said>) -> Result<()> {
        while let Some(waiting) = all_that_waits(&mut inputs).await {
            self.batch(waiting).await?;
        }
        Ok(())
    }

    async fn batch(&mut self, inputs: Vec<Said>) -> Result<()> {
        let (now, mut batch) = (now_ms(), Batch::default());
        self.database.begin().await?;
        let new = inputs.iter().filter(|said| is_reserve(said)).map(|said| said.facts.order_id.clone()).collect();
        let select = "SELECT order_id, state, lines, returned, expires_at, refusal FROM reservation WHERE order_id";
        self.database.read(select, new).await?;
        let (mut stock, mut reservations) = (BTreeMap::new(), BTreeMap::new());
        let (mut movements, mut timers, mut says) = (Vec::new(), BTreeMap::new(), Vec::new());
        for said in inputs {
            let (facts, reserves) = (said.facts.clone(), is_reserve(&said));
            for line in &facts.lines {
                let row = self.stock.get_mut(&line.sku_id).context("an unknown SKU")?;
                if reserves {
                    ensure!(row.on_hand - row.reserved >= line.quantity, "{} is sold out", line.code);
                    row.reserved += line.quantity;
                } else {
                    row.reserved -= line.quantity;
                    row.on_hand -= line.quantity;
                    row.movements += 1;
                    movements.push(vec![
                        (&line.sku_id).into(),
                        Value::Position(row.movements),
                        "sale".into(),
                        (-line.quantity).into(),
                        (&facts.order_id).into(),
                        Value::Null,
                        now.into(),
                    ]);
                }
                stock.insert(line.sku_id.clone(), *row);
            }
            reservations.insert(facts.order_id.clone(), reservation(&said, reserves, now));
            let set = reserves.then(|| {
                let payload = json!({ "order_id": facts.order_id }).to_string();
                timer(&said, EXPIRED, self.database.id("tmr"), now + TTL_MS, payload)
            });
            timers.insert(facts.order_id.clone(), set);
            self.database.admit(&mut batch, &said, Some("order"), None, now);
            let (subject, payload) = match reserves {
                true => {
                    ("product.evt.stock_reserved.v1", json!({ "order_id": facts.order_id, "expires_at": now + TTL_MS }))
                }
                false => ("product.evt.stock_committed.v1", json!({ "order_id": facts.order_id })),
            };
            says.push(self.database.say(&mut batch, &said, subject, payload.to_string()));
        }
        batch.insert(RESERVATION, reservations.into_values().collect(), RESERVATION_TAIL);
        let stock = stock.into_iter().map(|(sku_id, row)| {
            let Stock { on_hand, reserved, movements } = row;
            vec![sku_id.into(), on_hand.into(), reserved.into(), movements.into(), Value::Number(0)]
        });
        batch.insert(STOCK, stock.collect(), STOCK_TAIL);
        batch.insert(MOVEMENT, movements, MOVEMENT_TAIL);
        let ended = timers.iter().filter(|(_, row)| row.is_none()).map(|(key, _)| key.clone()).collect();
        batch.timers(EXPIRED, timers.into_values().flatten().collect(), ended);
        self.database.commit(batch, now).await?;
        for said in says {
            self.to_order.send(order::Input::Said(said)).await.ok().context("order has stopped")?;
        }
        Ok(())
    }
}

fn is_reserve(said: &Said) -> bool {
    said.subject == "order.cmd.product.reserve_stock.v1"
}

fn reservation(said: &Said, reserves: bool, now: i64) -> Vec<Value> {
    let lines: Vec<_> =
        said.facts.lines.iter().map(|line| json!({ "sku_id": line.sku_id, "quantity": line.quantity })).collect();
    vec![
        (&said.facts.order_id).into(),
        if reserves { "open" } else { "committed" }.into(),
        serde_json::Value::Array(lines).to_string().into(),
        "[]".into(),
        (now + TTL_MS).into(),
        Value::Null,
    ]
}
