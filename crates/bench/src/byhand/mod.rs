//! The same saga in one hand-written program: no runtime, no journal library, no messages that could travel.
//!
//! What is the same as in the store: the tables, the statements and their number of rows for every input, the batches (all
//! that waits, at most 256, in one transaction for each module's database), `synchronous=FULL`, HTTP in front, and a provider
//! that is called by HTTP and syncs its ledger. What it saves itself is what a runtime is for: handlers are branches of a
//! `match`, messages are values in a channel, nothing is decoded, retried, replayed, measured, shed or authorized, and a
//! process that dies loses what was in its channels.

mod batch;
mod bulk;
mod order;
mod payment;
mod product;
mod provider;
mod script;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot, watch};

pub(crate) use self::batch::{JOURNAL, Written};
pub(crate) use self::bulk::{Bulk, Calls, rate as bulk_rate};
use self::provider::Provider;
pub(crate) use self::script::{SCHEMAS, script};

/// More than any run has under way: what waits is bounded by the load generator.
const QUEUE: usize = 1 << 20;
/// As the store's `writer.batch_max`.
const BATCH_MAX: usize = 256;
const PRODUCTS: u64 = 200;

/// What every step of an order needs; it is shared, where the store's messages carry it.
struct Facts {
    order_id: String,
    command_id: String,
    payment_id: String,
    reference: String,
    lines: Vec<Line>,
    total: i64,
    placed_at: i64,
    trace: String,
}

struct Line {
    sku_id: String,
    code: String,
    quantity: i64,
    unit_price: i64,
}

/// A message from one module to another.
struct Said {
    subject: &'static str,
    facts: Arc<Facts>,
    id: String,
    causation: String,
    /// In its sender's log.
    position: i64,
    payload: String,
}

/// The running program.
pub(crate) struct ByHand {
    pub(crate) address: SocketAddr,
    entrance: Entrance,
    confirmed: watch::Receiver<u64>,
    pub(crate) written: Arc<Written>,
}

#[derive(Clone)]
struct Entrance {
    orders: mpsc::Sender<order::Input>,
    prices: Arc<HashMap<String, (String, i64)>>,
    numbers: Arc<AtomicU64>,
}

#[derive(Clone, Deserialize)]
struct Wanted {
    lines: Vec<WantedLine>,
    #[serde(default)]
    customer_reference: Option<String>,
}

#[derive(Clone, Deserialize)]
struct WantedLine {
    sku: String,
    quantity: i64,
}

// === impl ByHand ===

impl ByHand {
    /// Databases and tables in `folder`, then a task for each module. Without `with_provider` operations succeed at once,
    /// which leaves the SQL.
    ///
    /// # Errors
    /// When a database cannot be made or no port is free.
    pub(crate) async fn start(folder: &Path, with_provider: bool) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let numbers = Arc::new(AtomicU64::new(1));
        let ((to_order, orders), (to_product, products), (to_payment, payments)) =
            (mpsc::channel(QUEUE), mpsc::channel(QUEUE), mpsc::channel(QUEUE));
        let written = Arc::new(Written::default());
        let (report, confirmed) = watch::channel(0);
        let provider = Provider::start(folder, with_provider).await?;
        let order = order::Order::open(folder, to_product, to_payment.clone(), report, written.clone()).await?;
        let product = product::Product::open(folder, to_order.clone(), PRODUCTS, written.clone()).await?;
        let payment = payment::Payment::open(folder, to_order.clone(), to_payment, provider, written.clone()).await?;
        // They end with the program; an error of one stops the orders, and the run does not end well.
        tokio::spawn(ended("order", order.run(orders)));
        tokio::spawn(ended("product", product.run(products)));
        tokio::spawn(ended("payment", payment.run(payments)));
        let entrance = Entrance { orders: to_order, prices: Arc::new(prices()), numbers };
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.context("no port is free")?;
        let address = listener.local_addr()?;
        let routes = Router::new().route("/v1/orders", post(place)).with_state(entrance.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Ok(Self { address, entrance, confirmed, written })
    }

    /// Places orders past HTTP, as many as there are.
    ///
    /// # Errors
    /// When the program has stopped.
    pub(crate) async fn place_directly(&self, orders: u64) -> Result<()> {
        for number in 0..orders {
            let lines = (0..=number % 3)
                .map(|line| WantedLine { sku: code(1 + (number * 7 + line * 31) % PRODUCTS), quantity: 1 });
            let wanted = Wanted { lines: lines.collect(), customer_reference: Some("load-1".to_owned()) };
            let facts = self.entrance.facts(wanted, &format!("direct-{number}")).context("an unknown product")?;
            let sent = self.entrance.orders.send(order::Input::Place(facts, None)).await;
            sent.map_err(|_| anyhow::anyhow!("the orders' task has stopped"))?;
        }
        Ok(())
    }

    /// Waits until so many orders are confirmed since the start.
    ///
    /// # Errors
    /// When the program has stopped.
    pub(crate) async fn confirmed(&mut self, orders: u64) -> Result<()> {
        self.confirmed.wait_for(|confirmed| *confirmed >= orders).await.context("the orders' task has stopped")?;
        Ok(())
    }
}

/// At most [`BATCH_MAX`], at least one; none when nobody sends any more.
async fn all_that_waits<T>(inputs: &mut mpsc::Receiver<T>) -> Option<Vec<T>> {
    let mut waiting = Vec::with_capacity(BATCH_MAX);
    (inputs.recv_many(&mut waiting, BATCH_MAX).await > 0).then_some(waiting)
}

async fn ended(module: &str, run: impl Future<Output = Result<()>>) {
    if let Err(error) = run.await {
        eprintln!("error: {module} by hand: {error:#}");
    }
}

async fn place(State(entrance): State<Entrance>, headers: HeaderMap, Json(wanted): Json<Wanted>) -> Response {
    let Some(key) = headers.get("idempotency-key").and_then(|key| key.to_str().ok()) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let Some(facts) = entrance.facts(wanted, key) else { return StatusCode::UNPROCESSABLE_ENTITY.into_response() };
    let (reply, answer) = oneshot::channel();
    if entrance.orders.send(order::Input::Place(facts, Some(reply))).await.is_err() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    match answer.await {
        Ok(body) => (StatusCode::ACCEPTED, [("content-type", "application/json")], body).into_response(),
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

// === impl Entrance ===

impl Entrance {
    fn facts(&self, wanted: Wanted, key: &str) -> Option<Arc<Facts>> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let lines = wanted.lines.into_iter().map(|line| {
            let (sku_id, unit_price) = self.prices.get(&line.sku)?.clone();
            Some(Line { sku_id, code: line.sku, quantity: line.quantity, unit_price })
        });
        let lines: Vec<Line> = lines.collect::<Option<_>>()?;
        Some(Arc::new(Facts {
            order_id: format!("ord_{number:026}"),
            command_id: format!("cmd_{key:0>26}"),
            payment_id: format!("pay_{number:026}"),
            reference: wanted.customer_reference.unwrap_or_default(),
            total: lines.iter().map(|line| line.quantity * line.unit_price).sum(),
            lines,
            placed_at: batch::now_ms(),
            trace: format!("00-{number:032x}-{number:016x}-01"),
        }))
    }
}

/// By code: the SKU's id and its price.
fn prices() -> HashMap<String, (String, i64)> {
    (1..=PRODUCTS).map(|number| (code(number), (sku_id(number), 100 + number as i64))).collect()
}

fn code(number: u64) -> String {
    format!("BENCH-{number:04}")
}

fn sku_id(number: u64) -> String {
    format!("sku_{number:016}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn every_order_is_confirmed_and_what_it_needs_is_written() {
        let folder = pangaea_testkit::Folder::new("by-hand").unwrap();
        let mut program = ByHand::start(folder.path(), false).await.unwrap();
        program.place_directly(30).await.unwrap();
        program.confirmed(30).await.unwrap();
        // Inbox, outbox, timeline, transfers and the rest: no batch is so lucky as to write fewer.
        let (rows, values) = (&program.written.rows, &program.written.values);
        assert!(rows.load(Ordering::Relaxed) > 30 * (11 + 10 + 5 + 4), "{rows:?}");
        assert!(values.load(Ordering::Relaxed) > 10 * rows.load(Ordering::Relaxed), "{values:?}");
        folder.set_clean();
    }
}
