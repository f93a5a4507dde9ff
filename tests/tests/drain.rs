//! SIGTERM while orders are in flight: what has been taken is finished or kept, and the end is a clean one.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pangaea_testkit::{Placement, Store};
use pangaea_tests::{Clients, Shop, ask_to_place, settled};

/// `runtime.drain_timeout_ms`, as configured and as waited for.
const DRAIN_MAX: Duration = Duration::from_secs(10);
const ORDERS: usize = 30;
const SETTLED_MAX: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn together_the_process_drains() -> Result<()> {
    drains(Placement::TogetherMemory, &["order"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn apart_one_module_drains() -> Result<()> {
    drains(Placement::Apart, &["order", "payment"]).await
}

/// Calls that hang keep no process from its end, and are made again by the next one.
#[tokio::test(flavor = "multi_thread")]
async fn calls_to_a_provider_that_hangs_are_left_to_the_next_start() -> Result<()> {
    let mut shop = Shop::open_with(builder(Placement::TogetherMemory)).await?;
    let sku = shop.new_sku(100, 100).await?;
    shop.store.provider().signal("STOP")?;
    let mut accepted = BTreeSet::new();
    for _ in 0..5 {
        let placed = ask_to_place(&shop.customer, &[(&sku.code, 1)], "tok_ok").send().await?.expect(202)?;
        accepted.insert(placed.text_at("id")?.to_owned());
    }
    for id in &accepted {
        shop.reaches(&shop.customer, id, "reserved").await?;
    }
    stops_cleanly(&mut shop.store, "payment").await?;
    // It now serves what it had read from its connections before it was stopped, too.
    shop.store.provider().signal("CONT")?;
    shop.store.restart("payment").await?;
    all_are_confirmed(&shop, &accepted).await?;
    shop.close().await
}

async fn drains(placement: Placement, modules: &[&str]) -> Result<()> {
    let mut shop = Shop::open_with(builder(placement)).await?;
    let sku = shop.new_sku(1_000_000, 199).await?;
    let clients = Clients::start(&shop, &sku)?;
    for module in modules {
        clients.accept_more(ORDERS).await?;
        stops_cleanly(&mut shop.store, module).await.with_context(|| format!("{placement:?}, {module}"))?;
        shop.store.restart(module).await?;
    }
    clients.accept_more(ORDERS).await?;
    ensure!(clients.unanswered() > 0, "no client has met the stop, so that nothing was in flight");
    let accepted = clients.stop().await?;
    println!("{placement:?}: {} orders accepted", accepted.len());
    all_are_confirmed(&shop, &accepted).await?;
    shop.close().await
}

fn builder(placement: Placement) -> pangaea_testkit::StoreBuilder {
    Store::builder(placement).set("RUNTIME__DRAIN_TIMEOUT_MS", &DRAIN_MAX.as_millis().to_string())
}

/// SIGTERM: status 0 within the drain's bound, and nothing that a next start would have to be careful about.
async fn stops_cleanly(store: &mut Store, module: &str) -> Result<()> {
    let begun = Instant::now();
    let process = store.process(module)?;
    process.must_run()?;
    let status = process.terminate(DRAIN_MAX).await?;
    println!("{module} has drained in {} ms", begun.elapsed().as_millis());
    ensure!(status.success(), "{status}: {}", process.log_tail());
    let hosted: Vec<String> = match store.placement() {
        Placement::Apart => vec![module.to_owned()],
        _ => ["product", "order", "payment", "user"].map(str::to_owned).to_vec(),
    };
    for module in hosted {
        let file = store.folder().join(&format!("{module}.db"));
        // The journal's note that its last writer had nothing under way; a start takes it back.
        let script = "import sqlite3, sys\n\
            print(sqlite3.connect(sys.argv[1]).execute('SELECT clean_stop FROM head').fetchall())";
        let output = std::process::Command::new("python3").args(["-c", script, &file]).output()?;
        let told = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let fault = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(told == "[(1,)]", "{module} did not stop cleanly: {told}{fault}");
    }
    Ok(())
}

async fn all_are_confirmed(shop: &Shop, accepted: &BTreeSet<String>) -> Result<()> {
    let until = Instant::now() + SETTLED_MAX;
    for id in accepted {
        let order = settled(&shop.staff, id, until.saturating_duration_since(Instant::now())).await?;
        ensure!(order["state"] == "confirmed", "{order}");
    }
    let ledger = shop.store.ledger()?;
    ensure!(ledger.double_captures.is_empty(), "charged twice: {:?}", ledger.double_captures);
    ensure!(ledger.orphaned_authorizations.is_empty(), "{:?}", ledger.orphaned_authorizations);
    Ok(())
}
