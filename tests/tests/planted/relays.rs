//! Relays that leave rows out: readers ask the owner for what they miss, so only the streams themselves show it.

use anyhow::Result;
use pangaea_auditor::Audit;
use pangaea_faults::{Plant, VARIABLE};
use pangaea_testkit::Placement;
use pangaea_tests::{Clients, Shop};

use crate::support::{builder, must_be_caught, must_pass, must_say};

const ORDERS: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_skips_a_row() -> Result<()> {
    leaves_rows_out(Plant::RelaySkipsARow, "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_goes_on_past_a_failed_append() -> Result<()> {
    // Often enough that a row comes right behind one of the failed ones: alone at the end, it is only appended later.
    let fails: Vec<String> = (0..30).map(|number| format!("append.before=fail@{}", 100 + 11 * number)).collect();
    leaves_rows_out(Plant::RelayPassesAFailedAppend, &fails.join(" ")).await
}

async fn leaves_rows_out(plant: Plant, faults: &str) -> Result<()> {
    let shop = trade(&format!("plant:{plant} {faults}")).await?;
    must_be_caught(&shop, &Audit { settled: true, ..shop.audit()? }, "streams").await?;
    drop(shop);
    // The server refuses what does not follow its last message, and the relay begins again from there.
    let mut shop = trade(&format!("guarded:{plant} {faults}")).await?;
    must_say(&mut shop, "order", "the relay drops its pipeline").await?;
    must_pass(shop).await
}

async fn trade(faults: &str) -> Result<Shop> {
    let shop = Shop::open_with(builder(Placement::TogetherNats).variable(VARIABLE, faults)).await?;
    let sku = shop.new_sku(1_000_000, 199).await?;
    let clients = Clients::start(&shop, &sku)?;
    clients.accept_more(ORDERS).await?;
    clients.stop().await?;
    Ok(shop)
}
