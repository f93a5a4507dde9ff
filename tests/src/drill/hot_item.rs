//! Ten thousand buyers for a hundred units.

use std::time::Duration;

use anyhow::{Result, ensure};
use pangaea_simulator::EntryKind;
use pangaea_testkit::Placement;
use serde_json::json;

use super::load::Load;
use crate::Shop;

const BUYERS: u64 = 10_000;
const UNITS: u64 = 100;
const PRICE_PENCE: i64 = 9_900;
/// Buyers at once; one that is shed comes again.
const AT_ONCE: &str = "400";
const SECONDS_MAX: u64 = 600;

/// Lets all of them buy one unit, in each round of a SKU of its own: as many are confirmed as there were units, the others
/// are told that there are none, nobody is charged in vain and nothing stays held.
///
/// # Errors
/// What did not hold.
pub async fn hot_item(placement: Placement, rounds: u64) -> Result<String> {
    let shop = Shop::open(placement).await?;
    let (mut seconds, mut shed) = (0.0, 0);
    for round in 1..=rounds {
        let load = sell_out(&shop, round).await?;
        seconds += load.number("/settled_s")?;
        shed += load.count("shed")?;
        println!("{placement}: round {round} of {rounds}: {UNITS} of {BUYERS} confirmed");
    }
    let ledger = shop.store.ledger()?;
    ensure!(ledger.orphaned_authorizations.is_empty(), "{:?}", ledger.orphaned_authorizations);
    ensure!(ledger.double_captures.is_empty(), "{:?}", ledger.double_captures);
    shop.close().await?;
    let report = format!(
        "{placement}: {rounds} × {BUYERS} buyers for {UNITS} units: {UNITS} confirmed each time, the others out of stock; \
         {shed} shed and come again; {seconds:.0} s in all"
    );
    println!("{report}");
    Ok(report)
}

async fn sell_out(shop: &Shop, round: u64) -> Result<Load> {
    let captured_before = captures(shop)?;
    let sku = shop.new_sku(UNITS as i64, PRICE_PENCE).await?;
    let (orders, seed, settle) = (BUYERS.to_string(), round.to_string(), SECONDS_MAX.to_string());
    let more = ["--closed", AT_ONCE, "--orders", &orders, "--seed", &seed, "--settle-s", &settle];
    let load = Load::run(&shop.store, &sku.code, Duration::from_secs(SECONDS_MAX), &more).await?;
    let states = load.at("states");
    ensure!(
        load.count("accepted")? == BUYERS,
        "{} of {BUYERS} accepted: {}",
        load.count("accepted")?,
        load.at("answers")
    );
    ensure!(states == &json!({ "cancelled": BUYERS - UNITS, "confirmed": UNITS }), "{UNITS} units, but {states}");
    let reasons = load.at("reasons");
    ensure!(reasons == &json!({ "out_of_stock": BUYERS - UNITS }), "{reasons}");
    shop.stock_becomes(&sku, (0, 0)).await?;
    let captured = captures(shop)? - captured_before;
    ensure!(captured as u64 == UNITS, "{captured} captures for {UNITS} units");
    Ok(load)
}

fn captures(shop: &Shop) -> Result<usize> {
    let entries = shop.store.ledger_entries()?;
    ensure!(
        entries.iter().filter(|entry| entry.kind == EntryKind::Captured).all(|entry| entry.amount == PRICE_PENCE),
        "a capture of another amount"
    );
    Ok(entries.iter().filter(|entry| entry.kind == EntryKind::Captured).count())
}
