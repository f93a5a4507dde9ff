//! What belongs into one transaction, in two: a process that dies between them shows it.

use anyhow::{Context, Result, bail, ensure};
use pangaea_auditor::Audit;
use pangaea_faults::{Plant, VARIABLE};
use pangaea_testkit::{Placement, eventually};
use pangaea_tests::{Clients, Shop};

use crate::support::{SEEN_MAX, builder, guarded, is_caught, must_pass, must_say, planted};

/// Lives of a process before a bug that needs a death in the right moment counts as not caught.
const LIVES_MAX: usize = 15;
/// Commits before the first death, and how many more in each next life: one of them falls between two halves.
const COMMITS_FIRST: usize = 20;
const COMMITS_MORE: usize = 3;
const ORDERS: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_moves_before_the_work() -> Result<()> {
    tears(Plant::CursorBeforeWork, "read_once").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_in_another_transaction() -> Result<()> {
    tears(Plant::CursorInAnotherTransaction, "read_once").await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outbox_in_another_transaction() -> Result<()> {
    tears(Plant::OutboxInAnotherTransaction, "said").await
}

async fn tears(plant: Plant, check: &str) -> Result<()> {
    // One after the other: a test that holds one store while it waits for another could wait for ever.
    without_its_guard(plant, check).await?;
    with_its_guard(plant).await
}

async fn without_its_guard(plant: Plant, check: &str) -> Result<()> {
    let mut shop = planted(plant, builder(Placement::TogetherMemory)).await?;
    let sku = shop.new_sku(1_000_000, 199).await?;
    let _clients = Clients::start(&shop, &sku)?;
    let audit = shop.audit()?;
    for life in 0..LIVES_MAX {
        die_at_a_commit(&mut shop, &format!("plant:{plant}"), life).await?;
        if is_caught(&audit, check).await? {
            shop.store.folder().set_clean();
            return Ok(());
        }
    }
    bail!("{plant} was not caught in {LIVES_MAX} lives");
}

/// The guard refuses each half, so the same deaths do no harm.
async fn with_its_guard(plant: Plant) -> Result<()> {
    let mut shop = guarded(plant, builder(Placement::TogetherMemory)).await?;
    let sku = shop.new_sku(1_000_000, 199).await?;
    let clients = Clients::start(&shop, &sku)?;
    for life in 0..3 {
        die_at_a_commit(&mut shop, &format!("guarded:{plant}"), life).await?;
    }
    set_faults(&mut shop, &format!("guarded:{plant}"))?;
    shop.store.restart("order").await?;
    clients.accept_more(ORDERS).await?;
    clients.stop().await?;
    must_say(&mut shop, "order", "a torn transaction was refused").await?;
    must_pass(shop).await
}

/// Ends the process if it runs, starts it again, and waits until it has died just after a commit.
async fn die_at_a_commit(shop: &mut Shop, faults: &str, life: usize) -> Result<()> {
    if shop.store.process("order")?.id().is_some() {
        shop.store.kill("order")?;
    }
    let commits = COMMITS_FIRST + COMMITS_MORE * life;
    set_faults(shop, &format!("{faults} commit.after=crash@{commits}"))?;
    let process = shop.store.process("order")?;
    process.start()?;
    let ended = eventually("the process to die at a commit", SEEN_MAX, async || process.ended()).await;
    ended.with_context(|| process.log_tail()).map(drop)
}

fn set_faults(shop: &mut Shop, faults: &str) -> Result<()> {
    shop.store.process("order")?.set_variable(VARIABLE, Some(faults));
    Ok(())
}

/// A delivery that is acknowledged before it is handled is lost with the process, where the broker's word is taken for the
/// truth.
#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_before_the_commit() -> Result<()> {
    let plant = Plant::AckBeforeCommit;
    // Slow commits, so that a kill falls between the acknowledgement and the commit.
    let slow = "commit.before=hang:40@1x1000000000";
    let start = builder(Placement::TogetherNats).variable(VARIABLE, &format!("plant:{plant} {slow}"));
    let mut shop = Shop::open_with(start).await?;
    let sku = shop.new_sku(1_000_000, 199).await?;
    let clients = Clients::start(&shop, &sku)?;
    let audit = shop.audit()?;
    let mut is_seen = false;
    for _ in 0..LIVES_MAX {
        clients.accept_more(3).await?;
        shop.store.kill("order")?;
        is_seen = is_caught(&Audit { nats: None, ..audit.clone() }, "read_once").await?;
        if is_seen {
            break;
        }
        shop.store.restart("order").await?;
    }
    ensure!(is_seen, "{plant} was not caught in {LIVES_MAX} lives");
    shop.store.folder().set_clean();
    drop(shop);

    let start = builder(Placement::TogetherNats).variable(VARIABLE, &format!("guarded:{plant} {slow}"));
    let mut shop = Shop::open_with(start).await?;
    let sku = shop.new_sku(1_000_000, 199).await?;
    let clients = Clients::start(&shop, &sku)?;
    for _ in 0..3 {
        clients.accept_more(3).await?;
        shop.store.kill("order")?;
        shop.store.restart("order").await?;
    }
    clients.accept_more(3).await?;
    clients.stop().await?;
    must_say(&mut shop, "order", "acknowledged, and never committed").await?;
    must_pass(shop).await
}
