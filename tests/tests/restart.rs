//! SIGKILL, twenty times, while orders are in flight: what a client was told stays true.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pangaea_testkit::{Placement, Store, program};
use pangaea_tests::{Clients, Shop, settled};

/// Orders that must be accepted between two kills, so that each one hits a store at work.
const ORDERS_BETWEEN_KILLS: usize = 10;
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
