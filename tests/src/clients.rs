use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail, ensure};
use pangaea_testkit::{Api, eventually};
use serde_json::json;

use crate::{Shop, Sku, order_body};

/// In the store's folder: an order's id a line.
pub(crate) const ACCEPTED_FILE: &str = "accepted.log";
const CLIENTS: usize = 6;
const ORDERS_MAX: usize = 20_000;
/// How long a client goes on asking. Longer than a restart takes.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Before a client asks again.
const PAUSE: Duration = Duration::from_millis(20);

/// Clients that place orders one after the other, and write each accepted one to a log of their own, on disk, before
/// they count it: what is in the log was promised.
pub struct Clients {
    shared: Arc<Shared>,
    tasks: Vec<tokio::task::JoinHandle<Result<()>>>,
    log: PathBuf,
}

struct Shared {
    api: Api,
    code: String,
    log: Mutex<File>,
    accepted: AtomicUsize,
    asked: AtomicUsize,
    unanswered: AtomicUsize,
    is_stopping: AtomicBool,
}

// === impl Clients ===

impl Clients {
    /// Lets staff order one unit of a SKU again and again, under one idempotency key for each order.
    ///
    /// # Errors
    /// When the log cannot be made.
    pub fn start(shop: &Shop, sku: &Sku) -> Result<Self> {
        let log = shop.store.folder().path().join(ACCEPTED_FILE);
        let shared = Arc::new(Shared {
            api: shop.staff.clone(),
            code: sku.code.clone(),
            log: Mutex::new(OpenOptions::new().create(true).append(true).open(&log)?),
            accepted: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
            unanswered: AtomicUsize::new(0),
            is_stopping: AtomicBool::new(false),
        });
        let tasks = (0..CLIENTS).map(|_| tokio::spawn(shared.clone().place_orders())).collect();
        Ok(Self { shared, tasks, log })
    }

    /// Waits until so many more are accepted.
    ///
    /// # Errors
    /// When a client has given up, or they are not accepted in time.
    pub async fn accept_more(&self, orders: usize) -> Result<()> {
        let goal = self.shared.accepted.load(Ordering::Relaxed) + orders;
        eventually("orders to be accepted", Duration::from_secs(60), async || {
            if let Some(ended) = self.tasks.iter().find(|task| task.is_finished()) {
                bail!("a client has given up: {ended:?}");
            }
            Ok((self.shared.accepted.load(Ordering::Relaxed) >= goal).then_some(()))
        })
        .await
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
            let id = self.place(number).await?;
            self.remember(&id)?;
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
            match self.api.post("/v1/orders", body.clone()).key(&key).send().await {
                Ok(answer) if answer.status == 202 => return Ok(answer.text_at("id")?.to_owned()),
                // It is away, or does not know: the same request again is safe.
                Ok(answer) if answer.status != 503 => bail!("order {number}: {} {}", answer.status, answer.text),
                _ => self.unanswered.fetch_add(1, Ordering::Relaxed),
            };
            tokio::time::sleep(PAUSE).await;
        }
        bail!("order {number} got no answer within {} s", ANSWER_MAX.as_secs())
    }

    fn remember(&self, id: &str) -> Result<()> {
        let mut log = self.log.lock().map_err(|_| anyhow!("another client has failed"))?;
        writeln!(log, "{id}")?;
        log.sync_data()?;
        self.accepted.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
