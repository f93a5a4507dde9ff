use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use pangaea_testkit::{Placement, Store, eventually};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::{Drill, Record};
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
const PRICE_PENCE: i64 = 250;

/// Keeps the payment provider away while orders come; what stands in its place hangs up. The breaker stops the calls, the
/// orders wait, and all of them are confirmed once it is back.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  \
    cargo xtask drill provider-down\n  \
    cargo xtask drill provider-down --rounds 10 --placement apart")]
pub struct ProviderDown {
    /// How often
    #[arg(long, default_value_t = 1)]
    pub rounds: u32,
    /// How long it is away, each time; more than 5 s
    #[arg(long, default_value_t = 30)]
    pub seconds: u64,
    #[arg(long, default_value_t = Placement::TogetherMemory)]
    pub placement: Placement,
}

impl Drill for ProviderDown {
    async fn run(&self, record: &mut Record) -> Result<()> {
        record.set("placement", self.placement.name());
        let builder = Store::builder(self.placement).set("EFFECTS__BREAKER_OPEN_MS", &BREAKER_OPEN_MS.to_string());
        let mut shop = Shop::open_with(builder).await?;
        let sku = shop.new_sku(1_000_000, PRICE_PENCE).await?;
        for round in 1..=self.rounds {
            // A long drill outlives the token.
            shop.staff = shop.store.staff().await?;
            self.be_down(&mut shop, &sku, round, record).await?;
            record.count("rounds");
        }
        shop.close().await
    }
}

// === impl ProviderDown ===

impl ProviderDown {
    async fn be_down(&self, shop: &mut Shop, sku: &Sku, round: u32, record: &mut Record) -> Result<()> {
        let outage = Duration::from_secs(self.seconds);
        ensure!(outage > OPENING, "the provider must be away for more than {} s", OPENING.as_secs());
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
        let later = calls - at_opening.context("no order was answered after the breaker's opening")?;
        record.set("orders_meanwhile", record.counted("orders_meanwhile") + orders.len() as u64);
        record.set("calls", record.counted("calls") + calls as u64);
        record.set("calls_after_opening", record.counted("calls_after_opening") + later as u64);
        let probes = usize::try_from((outage - OPENING).as_millis())? / BREAKER_OPEN_MS as usize + 2;
        ensure!(later <= probes * CALLS_PER_PROBE, "{later} calls while the breaker should have been open");
        for order in &orders {
            let order = shop.staff.get(&format!("/v1/orders/{order}")).send().await?.expect(200)?;
            let waits = ["placed", "reserved"].iter().any(|state| order.body["state"] == *state);
            ensure!(waits, "an order that should wait for the provider: {}", order.text);
        }
        nobody.leave().await;
        shop.store.provider().start()?;
        let back = Instant::now();
        for order in &orders {
            confirmed(shop, order, CONFIRMED_MAX.saturating_sub(back.elapsed())).await?;
        }
        record.longest("all_confirmed_after_return_ms_max", back.elapsed());
        record.progress(format!("round {round}: {} orders waited, {calls} calls, {later} after opening", orders.len()));
        Ok(())
    }
}

async fn confirmed(shop: &Shop, order: &str, within: Duration) -> Result<()> {
    eventually(&format!("order {order} to be confirmed after the outage"), within, async || {
        let order = shop.staff.get(&format!("/v1/orders/{order}")).send().await?.expect(200)?.body;
        ensure!(order["state"] != "cancelled" && order["state"] != "manual_review", "{order}");
        Ok((order["state"] == "confirmed").then_some(()))
    })
    .await?;
    ensure!(shop.charged(order)? == (i128::from(PRICE_PENCE), 0), "{order} was not charged once");
    Ok(())
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
