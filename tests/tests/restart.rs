//! SIGKILL, twenty times, while orders are in flight: what a client was told stays true.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use pangaea_testkit::{Api, Placement, Store, eventually, program};
use pangaea_tests::{Shop, Sku, order_body, settled};
use serde_json::json;

const CLIENTS: usize = 6;
/// Orders that must be accepted between two kills, so that each one hits a store at work.
const ORDERS_BETWEEN_KILLS: usize = 10;
const ORDERS_MAX: usize = 20_000;
/// How long a client goes on asking. Longer than a restart takes.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Before a client asks again.
const PAUSE: Duration = Duration::from_millis(20);
/// Longer than the retries of the saga and of the effects whose tries were cut off take.
const SETTLED_MAX: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn together_the_process_is_killed() -> Result<()> {
    survives(Placement::TogetherMemory, &["order"; 8]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn apart_each_process_is_killed_in_turn() -> Result<()> {
    survives(Placement::Apart, &["product", "order", "payment", "user"].repeat(3)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn all_processes_are_the_same_executable() -> Result<()> {
    let mut store = Store::start(Placement::Apart).await?;
    let mut executables = BTreeSet::new();
    for module in ["product", "order", "payment", "user"] {
        let process = store.process(module)?;
        let id = process.id().context("it does not run")?;
        executables.insert(std::fs::read_link(format!("/proc/{id}/exe"))?);
        ensure!(process.arguments()[..2] == ["run".to_owned(), "--config".to_owned()], "{:?}", process.arguments());
        ensure!(process.arguments()[2].ends_with("config/apart.toml"), "{:?}", process.arguments());
        ensure!(process.arguments().len() == 3, "nothing but the file: {:?}", process.arguments());
        let others = process.environment().iter().filter(|(name, _)| !name.starts_with("PANGAEA__"));
        ensure!(others.count() == 0, "nothing but configuration: {:?}", process.environment());
    }
    ensure!(executables == BTreeSet::from([program()?.canonicalize()?]), "{executables:?}");
    store.stop().await
}

async fn survives(placement: Placement, victims: &[&str]) -> Result<()> {
    let builder = Store::builder(placement)
        // A message whose answer died with its process is asked for again soon, and for long enough.
        .set("MODULES__ORDER__SETTINGS__ANSWER_TIMEOUT_MS", "3000")
        .set("MODULES__ORDER__SETTINGS__ANSWER_TRIES_MAX", "40");
    let mut shop = Shop::open_with(builder).await?;
    let sku = shop.new_sku(1_000_000, 199).await?;
    let clients = Clients::start(&shop, &sku)?;
    for (round, victim) in victims.iter().enumerate() {
        clients.accept_more(ORDERS_BETWEEN_KILLS).await.with_context(|| format!("before kill {round} ({victim})"))?;
        shop.store.kill(victim)?;
        shop.store.restart(victim).await.with_context(|| format!("after kill {round} ({victim})"))?;
    }
    clients.accept_more(ORDERS_BETWEEN_KILLS).await?;
    let accepted = clients.stop().await?;
    println!("{placement:?}: {} orders accepted over {} kills", accepted.len(), victims.len());
    check(&shop, &accepted).await?;
    shop.close().await
}

/// Every order is there, almost all are confirmed, and nobody was charged twice.
async fn check(shop: &Shop, accepted: &BTreeSet<String>) -> Result<()> {
    let until = Instant::now() + SETTLED_MAX;
    let mut confirmed = Vec::new();
    for id in accepted {
        let order = settled(&shop.staff, id, until.saturating_duration_since(Instant::now())).await?;
        if order["state"] == "confirmed" {
            confirmed.push(id);
        } else {
            println!("not confirmed: {order}");
        }
    }
    let share = confirmed.len() as f64 / accepted.len() as f64;
    ensure!(share >= 0.95, "{} of {} accepted orders are confirmed", confirmed.len(), accepted.len());
    let ledger = shop.store.ledger()?;
    ensure!(ledger.double_captures.is_empty(), "charged twice: {:?}", ledger.double_captures);
    ensure!(ledger.overdrawn.is_empty(), "{:?}", ledger.overdrawn);
    for id in confirmed.iter().step_by(10) {
        ensure!(shop.charged(id)? == (199, 0), "{id}");
    }
    Ok(())
}

/// Clients that place orders one after the other, and write each accepted one to a log of their own, on disk, before
/// they count it: what is in the log was promised.
struct Clients {
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
    is_stopping: AtomicBool,
}

// === impl Clients ===

impl Clients {
    fn start(shop: &Shop, sku: &Sku) -> Result<Self> {
        let log = shop.store.folder().path().join("accepted.log");
        let shared = Arc::new(Shared {
            api: shop.staff.clone(),
            code: sku.code.clone(),
            log: Mutex::new(OpenOptions::new().create(true).append(true).open(&log)?),
            accepted: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
            is_stopping: AtomicBool::new(false),
        });
        let tasks = (0..CLIENTS).map(|_| tokio::spawn(shared.clone().place_orders())).collect();
        Ok(Self { shared, tasks, log })
    }

    async fn accept_more(&self, orders: usize) -> Result<()> {
        let goal = self.shared.accepted.load(Ordering::Relaxed) + orders;
        eventually("orders to be accepted", Duration::from_secs(60), async || {
            if let Some(ended) = self.tasks.iter().find(|task| task.is_finished()) {
                bail!("a client has given up: {ended:?}");
            }
            Ok((self.shared.accepted.load(Ordering::Relaxed) >= goal).then_some(()))
        })
        .await
    }

    /// The orders that were accepted, as the log has them.
    async fn stop(self) -> Result<BTreeSet<String>> {
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
        let key = format!("restart-{number}");
        let until = Instant::now() + ANSWER_MAX;
        while Instant::now() < until {
            match self.api.post("/v1/orders", body.clone()).key(&key).send().await {
                Ok(answer) if answer.status == 202 => return Ok(answer.text_at("id")?.to_owned()),
                // It is away, or does not know: the same request again is safe.
                Ok(answer) if answer.status != 503 => bail!("order {number}: {} {}", answer.status, answer.text),
                _ => tokio::time::sleep(PAUSE).await,
            }
        }
        bail!("order {number} got no answer within {} s", ANSWER_MAX.as_secs())
    }

    fn remember(&self, id: &str) -> Result<()> {
        let mut log = self.log.lock().map_err(|_| anyhow::anyhow!("another client has failed"))?;
        writeln!(log, "{id}")?;
        log.sync_data()?;
        self.accepted.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
