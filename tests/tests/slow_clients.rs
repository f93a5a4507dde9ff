//! Clients that send slowly, by the thousand, beside good ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pangaea_testkit::{Api, Placement, Store, eventually};
use pangaea_tests::{Shop, Sku, ask_to_place, order_body};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

const SLOW_CLIENTS: usize = 5_000;
/// As are the defaults.
const HEADER_TIMEOUT_MS: u64 = 5_000;
const BODY_TIMEOUT_MS: u64 = 10_000;
/// How much later than its timeout a cut may be seen, on a machine that is busy with five thousand of them.
const CUT_SLACK: Duration = Duration::from_secs(20);
/// A good client waits for an answer no longer than this.
const PATIENCE: Duration = Duration::from_secs(15);
/// They come within a second or two, and not as a flood of packets, which is for a firewall to stop.
const CLIENTS_PER_WAVE: usize = 100;
const WAVE_EVERY: Duration = Duration::from_millis(30);
/// Files of this process beside the connections.
const FILES: u64 = 1_000;

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_slow_clients_do_not_hold_up_good_ones() -> Result<()> {
    allow_open_files(SLOW_CLIENTS as u64 + FILES)?;
    let builder = Store::builder(Placement::TogetherMemory)
        .set("HTTP__HEADER_TIMEOUT_MS", &HEADER_TIMEOUT_MS.to_string())
        .set("HTTP__BODY_TIMEOUT_MS", &BODY_TIMEOUT_MS.to_string());
    let shop = Shop::open_with(builder).await?;
    let sku = shop.new_sku(100_000, 100).await?;
    let good = GoodClients::start(&shop, &sku);
    let starts = [slow_head(&shop)?, slow_body(&shop)?].map(Arc::new);
    let address: Arc<str> = shop.store.api().base().trim_start_matches("http://").into();
    let (release, released) = watch::channel(false);
    let mut slow = Vec::with_capacity(SLOW_CLIENTS);
    for number in 0..SLOW_CLIENTS {
        let (address, start) = (address.clone(), starts[number % 2].clone());
        let mut released = released.clone();
        slow.push(tokio::spawn(async move {
            let mut stream = TcpStream::connect(&*address).await?;
            // All of them are connected before the first says anything, so that they are there at once.
            released.wait_for(|released| *released).await?;
            let began = Instant::now();
            stream.write_all(start.as_bytes()).await?;
            let mut answer = Vec::new();
            // A connection that is reset was cut too.
            let _ = stream.read_to_end(&mut answer).await;
            anyhow::Ok((String::from_utf8_lossy(&answer).into_owned(), began.elapsed()))
        }));
        if number % CLIENTS_PER_WAVE == 0 {
            tokio::time::sleep(WAVE_EVERY).await;
        }
    }
    let most = eventually("thousands of connections", Duration::from_secs(60), async || {
        let open = open_connections(&shop).await?;
        Ok((open >= SLOW_CLIENTS).then_some(open))
    });
    let most = most.await?;
    release.send_replace(true);
    let during = good.orders();
    let mut cut = [0_usize; 2];
    for (number, slow) in slow.into_iter().enumerate() {
        // One that was cut before it could speak fails to write, which is a cut as well.
        let Ok((answer, elapsed)) = slow.await? else { continue };
        let timeout = Duration::from_millis([HEADER_TIMEOUT_MS, BODY_TIMEOUT_MS][number % 2]);
        ensure!(elapsed < timeout + CUT_SLACK, "cut after {elapsed:?} only");
        ensure!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        cut[number % 2] += 1;
    }
    let (orders, slowest) = good.stop().await?;
    ensure!(orders > during, "no good order beside the slow clients");
    println!(
        "{most} connections at once; {} slow heads and {} slow bodies cut; {orders} good orders, the slowest in {} ms",
        cut[0],
        cut[1],
        slowest.as_millis()
    );
    shop.close().await
}

/// Whoever fills the table again and again locks nobody out.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_table_of_connections_gives_way_to_good_clients() -> Result<()> {
    const PLACES: usize = 200;
    const ATTACKERS: usize = 600;
    const ATTACK: Duration = Duration::from_secs(10);
    allow_open_files(ATTACKERS as u64 + FILES)?;
    let builder = Store::builder(Placement::TogetherMemory)
        .set("HTTP__CONNECTIONS_MAX", &PLACES.to_string())
        // Without giving way, nobody else would get in for a minute.
        .set("HTTP__HEADER_TIMEOUT_MS", "60000")
        .set("HTTP__BODY_TIMEOUT_MS", "60000");
    let shop = Shop::open_with(builder).await?;
    let sku = shop.new_sku(100_000, 100).await?;
    let starts = [slow_head(&shop)?, slow_body(&shop)?].map(Arc::new);
    let address: Arc<str> = shop.store.api().base().trim_start_matches("http://").into();
    let is_over = Arc::new(AtomicBool::new(false));
    let attackers: Vec<_> = (0..ATTACKERS)
        .map(|number| {
            let (address, start, is_over) = (address.clone(), starts[number % 2].clone(), is_over.clone());
            tokio::spawn(async move {
                while !is_over.load(Ordering::Relaxed) {
                    // Cut at any point, it comes again after a moment.
                    let _ = attack(&address, &start).await;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            })
        })
        .collect();
    eventually("a full table", Duration::from_secs(30), async || {
        Ok((open_connections(&shop).await? >= PLACES).then_some(()))
    })
    .await?;
    let good = GoodClients::start(&shop, &sku);
    tokio::time::sleep(ATTACK).await;
    let open = open_connections(&shop).await?;
    let (orders, slowest) = good.stop().await?;
    is_over.store(true, Ordering::Relaxed);
    attackers.iter().for_each(tokio::task::JoinHandle::abort);
    ensure!(open <= PLACES, "{open} connections for {PLACES} places");
    let metrics = shop.store.metrics("order").await?;
    let evicted = metric(&metrics, "pangaea_http_evictions_total");
    ensure!(evicted > 0, "nobody gave way: {metrics}");
    println!(
        "{ATTACKERS} attackers for {PLACES} places, {evicted} gave way; {orders} good orders, the slowest in {} ms",
        slowest.as_millis()
    );
    shop.close().await
}

async fn attack(address: &str, start: &str) -> Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(start.as_bytes()).await?;
    stream.read_to_end(&mut Vec::new()).await?;
    Ok(())
}

/// A customer who orders again and again, each time on a new connection, and must be answered in time.
struct GoodClients {
    shared: Arc<Good>,
    task: tokio::task::JoinHandle<Result<Duration>>,
}

#[derive(Default)]
struct Good {
    orders: AtomicUsize,
    is_stopping: AtomicBool,
}

// === impl GoodClients ===

impl GoodClients {
    fn start(shop: &Shop, sku: &Sku) -> Self {
        let shared = Arc::new(Good::default());
        let (base, token) = (shop.store.api().base().to_owned(), shop.customer.token().unwrap_or_default().to_owned());
        let (good, code) = (shared.clone(), sku.code.clone());
        let task = tokio::spawn(async move {
            let mut slowest = Duration::ZERO;
            while !good.is_stopping.load(Ordering::Relaxed) {
                let began = Instant::now();
                let call = ask_to_place(&Api::new(&base)?, &[(&code, 1)], "tok_ok");
                let call = call.header("authorization", &format!("Bearer {token}"));
                let answer =
                    tokio::time::timeout(PATIENCE, call.send()).await.context("a good client was held up")??;
                answer.expect(202)?;
                slowest = slowest.max(began.elapsed());
                good.orders.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(slowest)
        });
        Self { shared, task }
    }

    fn orders(&self) -> usize {
        self.shared.orders.load(Ordering::Relaxed)
    }

    /// How many orders there were, and how long the slowest took.
    async fn stop(self) -> Result<(usize, Duration)> {
        self.shared.is_stopping.store(true, Ordering::Relaxed);
        let slowest = self.task.await??;
        Ok((self.shared.orders.load(Ordering::Relaxed), slowest))
    }
}

/// The beginning of a request that never goes on.
fn slow_head(shop: &Shop) -> Result<String> {
    let token = shop.staff.token().context("not signed in")?;
    Ok(format!(
        "POST /v1/orders HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
    ))
}

/// A whole head, with the beginning of its body.
fn slow_body(shop: &Shop) -> Result<String> {
    let body = order_body(&[("NEVER-SOLD", 1)], "tok_ok").to_string();
    let head = slow_head(shop)?;
    Ok(format!("{head}Idempotency-Key: slow\r\nContent-Length: {}\r\n\r\n{}", body.len(), &body[..body.len() / 2]))
}

async fn open_connections(shop: &Shop) -> Result<usize> {
    Ok(metric(&shop.store.metrics("order").await?, "pangaea_http_connections{listener=\"api\"}"))
}

/// The sum of a metric's lines.
fn metric(metrics: &str, name: &str) -> usize {
    let lines = metrics.lines().filter(|line| line.starts_with(name));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as usize
}

fn allow_open_files(wanted: u64) -> Result<()> {
    let allowed = rlimit::increase_nofile_limit(wanted).context("the bound on open files")?;
    ensure!(
        allowed >= wanted,
        "{wanted} open files are needed, but the hard limit is {allowed}: raise it (ulimit -Hn)"
    );
    Ok(())
}
