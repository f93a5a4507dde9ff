//! The payment provider goes away, with what answers in its place closing every connection.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pangaea_testkit::{Placement, Store, eventually};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::{Shop, Sku, order_body};

/// Between two orders.
const ORDER_EVERY: Duration = Duration::from_millis(100);
/// As is the default: how long an open breaker stays so.
const BREAKER_OPEN_MS: u64 = 2_000;
/// By then the breaker has opened, and the calls that were under way have ended.
const OPENING: Duration = Duration::from_secs(5);
/// A probe asks what became of its earlier try, and does it then: two calls, and one more on a connection that was kept.
const CALLS_PER_PROBE: usize = 3;
const CONFIRMED_MAX: Duration = Duration::from_secs(60);

/// Keeps the provider away for `outage` while orders come, `rounds` times: the breaker stops the calls, the orders wait,
/// and all of them are confirmed once it is back.
///
/// # Errors
/// What did not hold.
pub async fn provider_down(placement: Placement, outage: Duration, rounds: u64) -> Result<String> {
    let builder = Store::builder(placement).set("EFFECTS__BREAKER_OPEN_MS", &BREAKER_OPEN_MS.to_string());
    let mut shop = Shop::open_with(builder).await?;
    let sku = shop.new_sku(1_000_000, 250).await?;
    let mut reports = Vec::new();
    for round in 1..=rounds {
        let report = be_down(&mut shop, &sku, outage, round).await?;
        println!("{placement}: round {round} of {rounds}: {report}");
        reports.push(report);
    }
    shop.close().await?;
    Ok(format!("{placement}, {} s away, {rounds} rounds: {}", outage.as_secs(), reports.join("; ")))
}

async fn be_down(shop: &mut Shop, sku: &Sku, outage: Duration, round: u64) -> Result<String> {
    shop.confirmed(sku, 1).await?;
    shop.store.provider().kill()?;
    let nobody = Nobody::listen(shop.store.provider_address()).await?;
    let (began, mut orders, mut at_opening) = (Instant::now(), BTreeSet::new(), None);
    while began.elapsed() < outage {
        let mut body = order_body(&[(&sku.code, 1)], "tok_ok");
        body["customer_reference"] = json!(format!("outage {round}, order {}", orders.len()));
        let placed = shop.staff.post("/v1/orders", body).send().await?.expect(202)?;
        orders.insert(placed.text_at("id")?.to_owned());
        if began.elapsed() >= OPENING {
            at_opening.get_or_insert_with(|| nobody.calls());
        }
        tokio::time::sleep(ORDER_EVERY).await;
    }
    let calls = nobody.calls();
    let later = calls - at_opening.context("the outage is longer than the opening of the breaker")?;
    let probes = usize::try_from((outage - OPENING).as_millis())? / BREAKER_OPEN_MS as usize + 2;
    ensure!(later <= probes * CALLS_PER_PROBE, "{later} calls while the breaker should have been open");
    for order in &orders {
        let order = shop.staff.get(&format!("/v1/orders/{order}")).send().await?.expect(200)?;
        ensure!(order.body["state"] == "reserved", "an order that should wait for the provider: {}", order.text);
    }
    nobody.leave().await;
    shop.store.provider().start()?;
    let back = Instant::now();
    for order in &orders {
        let what = format!("order {order} to be confirmed after the outage");
        let left = CONFIRMED_MAX.saturating_sub(back.elapsed());
        eventually(&what, left, async || {
            let order = shop.staff.get(&format!("/v1/orders/{order}")).send().await?.expect(200)?.body;
            ensure!(order["state"] != "cancelled" && order["state"] != "manual_review", "{order}");
            Ok((order["state"] == "confirmed").then_some(()))
        })
        .await?;
        ensure!(shop.charged(order)? == (250, 0), "{order} was not charged once");
    }
    let caught_up = back.elapsed().as_secs_f64();
    Ok(format!(
        "{} orders waited, {calls} calls, {later} of them after the first {} s; all confirmed {caught_up:.1} s after the \
        provider's return",
        orders.len(),
        OPENING.as_secs()
    ))
}

/// Stands at the provider's address and hangs up.
struct Nobody {
    calls: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

// === impl Nobody ===

impl Nobody {
    async fn listen(address: String) -> Result<Self> {
        let listener = eventually("the provider's address to be free", Duration::from_secs(10), async || {
            Ok(TcpListener::bind(&address).await.ok())
        });
        let listener = listener.await?;
        let calls = Arc::new(AtomicUsize::new(0));
        let counter = calls.clone();
        let task = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::Relaxed);
                drop(connection);
            }
        });
        Ok(Self { calls, task })
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    async fn leave(self) {
        self.task.abort();
        // The listener is closed once the task has ended.
        let _ = self.task.await;
    }
}
