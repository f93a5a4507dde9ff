use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use pangaea_simulator::EntryKind;
use pangaea_testkit::Placement;
use serde_json::json;

use super::load::Load;
use super::{Drill, Record};
use crate::Shop;

const PRICE_PENCE: i64 = 9_900;
const SECONDS_MAX: u64 = 600;

/// Lets ten thousand buyers buy one unit each of a hundred: as many are confirmed as there were units, the others are
/// told that there are none, nobody is charged in vain and nothing stays held.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  \
    cargo xtask drill hot-item\n  \
    cargo xtask drill hot-item --rounds 50 --placement apart")]
pub struct HotItem {
    /// How often, each time with another SKU
    #[arg(long, default_value_t = 1)]
    pub rounds: u64,
    #[arg(long, default_value_t = Placement::TogetherMemory)]
    pub placement: Placement,
    #[arg(long, default_value_t = 10_000)]
    pub buyers: u64,
    #[arg(long, default_value_t = 100)]
    pub units: u64,
    /// Buyers at once; one that is shed comes again
    #[arg(long, default_value_t = 400)]
    pub at_once: u32,
}

impl Drill for HotItem {
    async fn run(&self, record: &mut Record) -> Result<()> {
        record.set("placement", self.placement.name());
        let mut shop = Shop::open(self.placement).await?;
        for round in 1..=self.rounds {
            // A long drill outlives the token.
            shop.staff = shop.store.staff().await?;
            let load = self.sell_out(&shop, round).await?;
            for name in ["accepted", "confirmed", "shed"] {
                record.set(name, record.counted(name) + load.count(name)?);
            }
            record.longest("round_ms_max", Duration::from_secs_f64(load.number("/settled_s")?));
            record.count("rounds");
            record.progress(format!("round {round}: {} of {} buyers confirmed", self.units, self.buyers));
        }
        let ledger = shop.store.ledger()?;
        ensure!(ledger.orphaned_authorizations.is_empty(), "{:?}", ledger.orphaned_authorizations);
        ensure!(ledger.double_captures.is_empty(), "{:?}", ledger.double_captures);
        shop.close().await
    }
}

// === impl HotItem ===

impl HotItem {
    async fn sell_out(&self, shop: &Shop, round: u64) -> Result<Load> {
        let Self { buyers, units, .. } = self;
        let captured_before = captures(shop)?;
        let sku = shop.new_sku(i64::try_from(*units)?, PRICE_PENCE).await?;
        let (at_once, orders) = (self.at_once.to_string(), buyers.to_string());
        let (seed, settle) = (round.to_string(), SECONDS_MAX.to_string());
        let more = ["--closed", &at_once, "--orders", &orders, "--seed", &seed, "--settle-s", &settle];
        let load = Load::run(&shop.store, &sku.code, Duration::from_secs(SECONDS_MAX), &more).await?;
        let accepted = load.count("accepted")?;
        ensure!(accepted == *buyers, "{accepted} of {buyers} accepted: {}", load.at("answers"));
        let (states, reasons) = (load.at("states"), load.at("reasons"));
        ensure!(states == &json!({ "cancelled": buyers - units, "confirmed": units }), "{units} units, but {states}");
        ensure!(reasons == &json!({ "out_of_stock": buyers - units }), "{reasons}");
        shop.stock_becomes(&sku, (0, 0)).await?;
        let captured = captures(shop)? - captured_before;
        ensure!(captured == usize::try_from(*units)?, "{captured} captures for {units} units");
        Ok(load)
    }
}

fn captures(shop: &Shop) -> Result<usize> {
    let entries = shop.store.ledger_entries()?;
    let captures: Vec<_> = entries.iter().filter(|entry| entry.kind == EntryKind::Captured).collect();
    ensure!(captures.iter().all(|entry| entry.amount == PRICE_PENCE), "a capture of another amount");
    Ok(captures.len())
}
