use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use pangaea_testkit::eventually;
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::{Session, Shop, Sku, order_body};

/// In the store's folder: an order's id a line.
pub(crate) const ACCEPTED_FILE: &str = "accepted.log";
const ORDERS_MAX: usize = 200_000;
/// How long a client goes on asking. Longer than a restart or an outage takes.
const ANSWER_MAX: Duration = Duration::from_secs(180);
/// How long orders may take to be accepted, when nothing but a restart hinders them.
const ACCEPTED_MAX: Duration = Duration::from_secs(60);
/// Before a client asks again.
const PAUSE: Duration = Duration::from_millis(20);

/// Clients that place orders one after the other, and write each accepted one to a log of their own, on disk, before
/// they count it: what is in the log was promised.
pub struct Clients {
    shared: Arc<Shared>,
    tasks: Vec<tokio::task::JoinHandle<Result<()>>>,
    log: PathBuf,
}

/// How many clients there are, and how long each rests after an accepted order.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub clients: usize,
    pub rest: Duration,
}

/// An order as its client knows it.
#[derive(Clone, Debug)]
pub struct Accepted {
    pub id: String,
    /// When it was first asked for.
    pub asked_at: Instant,
    pub accepted_at: Instant,
}

struct Shared {
    session: Session,
    rest: Duration,
    code: String,
    log: Mutex<File>,
    orders: Mutex<Vec<Accepted>>,
    accepted: AtomicUsize,
    asked: AtomicUsize,
    unanswered: AtomicUsize,
    /// Told whenever a client asks for its next order.
    asks: Notify,
    is_stopping: AtomicBool,
}

// === impl Pace ===

impl Default for Pace {
    /// As fast as the store answers.
    fn default() -> Self {
        Self { clients: 6, rest: Duration::ZERO }
    }
}

// === impl Clients ===

impl Clients {
    /// Lets staff order one unit of a SKU again and again, under one idempotency key for each order.
    ///
    /// # Errors
    /// When the log cannot be made.
    pub fn start(shop: &Shop, sku: &Sku) -> Result<Self> {
        Self::start_at(shop, sku, Pace::default())
    }

    /// The same, at this pace.
    ///
    /// # Errors
    /// When the log cannot be made.
    pub fn start_at(shop: &Shop, sku: &Sku, pace: Pace) -> Result<Self> {
        let log = shop.store.folder().path().join(ACCEPTED_FILE);
        let shared = Arc::new(Shared {
            session: Session::of_staff(shop),
            rest: pace.rest,
            code: sku.code.clone(),
            log: Mutex::new(OpenOptions::new().create(true).append(true).open(&log)?),
            orders: Mutex::default(),
            accepted: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
            unanswered: AtomicUsize::new(0),
            asks: Notify::new(),
            is_stopping: AtomicBool::new(false),
        });
        let tasks = (0..pace.clients).map(|_| tokio::spawn(shared.clone().place_orders())).collect();
        Ok(Self { shared, tasks, log })
    }

    /// Waits until so many more are accepted.
    ///
    /// # Errors
    /// When a client has given up, or they are not accepted in time.
    pub async fn accept_more(&self, orders: usize) -> Result<()> {
        let goal = self.shared.accepted.load(Ordering::Relaxed) + orders;
        eventually("orders to be accepted", ACCEPTED_MAX, async || {
            if let Some(ended) = self.tasks.iter().find(|task| task.is_finished()) {
                bail!("a client has given up: {ended:?}");
            }
            Ok((self.shared.accepted.load(Ordering::Relaxed) >= goal).then_some(()))
        })
        .await
    }

    /// Waits until a client asks for its next order.
    ///
    /// # Errors
    /// When none does in time.
    pub async fn next_ask(&self) -> Result<()> {
        timeout(ACCEPTED_MAX, self.shared.asks.notified()).await.context("no client asks for another order")
    }

    /// The orders that were accepted so far, in that order.
    pub fn accepted(&self) -> Vec<Accepted> {
        self.shared.orders.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many requests got no answer, or were told to come again.
    pub fn unanswered(&self) -> usize {
        self.shared.unanswered.load(Ordering::Relaxed)
    }

    /// Stops asking: the orders that were accepted, as the log has them.
    ///
    /// # Errors
    /// When a client has failed, or two requests got one order.
    pub async fn stop(self) -> Result<BTreeSet<String>> {
        self.shared.is_stopping.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await??;
        }
        read_log(&self.log)
    }
}

fn read_log(log: &Path) -> Result<BTreeSet<String>> {
    let text = std::fs::read_to_string(log)?;
    let ids: BTreeSet<String> = text.lines().map(str::to_owned).collect();
    ensure!(ids.len() == text.lines().count(), "two requests got one order");
    Ok(ids)
}

// === impl Shared ===

impl Shared {
    async fn place_orders(self: Arc<Self>) -> Result<()> {
        while !self.is_stopping.load(Ordering::Relaxed) {
            let number = self.asked.fetch_add(1, Ordering::Relaxed);
            ensure!(number < ORDERS_MAX, "the test places more orders than it can check");
            let asked_at = Instant::now();
            self.asks.notify_waiters();
            let id = self.place(number).await?;
            self.remember(id, asked_at)?;
            tokio::time::sleep(self.rest).await;
        }
        Ok(())
    }

    /// Asks under one key until there is an answer, as a client does that must not order twice.
    async fn place(&self, number: usize) -> Result<String> {
        let mut body = order_body(&[(&self.code, 1)], "tok_ok");
        body["customer_reference"] = json!(format!("client order {number}"));
        let key = format!("client-order-{number}");
        let until = Instant::now() + ANSWER_MAX;
        while Instant::now() < until {
            match self.session.api().await.post("/v1/orders", body.clone()).key(&key).send().await {
                Ok(answer) if answer.status == 202 => return Ok(answer.text_at("id")?.to_owned()),
                // It is away, or does not know: the same request again is safe.
                Ok(answer) if answer.status != 503 => bail!("order {number}: {} {}", answer.status, answer.text),
                _ => self.unanswered.fetch_add(1, Ordering::Relaxed),
            };
            tokio::time::sleep(PAUSE).await;
        }
        bail!("order {number} got no answer within {} s", ANSWER_MAX.as_secs())
    }

    fn remember(&self, id: String, asked_at: Instant) -> Result<()> {
        let mut log = self.log.lock().map_err(|_| anyhow!("another client has failed"))?;
        writeln!(log, "{id}")?;
        log.sync_data()?;
        let order = Accepted { id, asked_at, accepted_at: Instant::now() };
        self.orders.lock().map_err(|_| anyhow!("another client has failed"))?.push(order);
        self.accepted.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
