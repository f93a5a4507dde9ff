//! The suite: each scenario brings its own SKUs and orders, so that one store serves all of them.

mod catalogue;
mod conventions;
mod following;
mod ordering;
mod refunds;

use std::time::Instant;

use anyhow::{Result, bail};
use pangaea_testkit::Placement;

use crate::Shop;

/// Runs every scenario in one store of this placement, then `verify`, and stops the store.
///
/// # Errors
/// Names every scenario that failed and why; one that fails stops no other.
pub async fn run_all(placement: Placement) -> Result<()> {
    // Whether a customer has completed a payment is asked often here, so that the test is not spent waiting.
    let builder = pangaea_testkit::Store::builder(placement).set("MODULES__PAYMENT__SETTINGS__ACTION_POLL_MS", "100");
    let shop = Shop::open_with(builder).await?;
    let mut faults = Vec::new();
    macro_rules! run {
        ($($file:ident: $($scenario:ident),+;)+) => {$($(
            let name = concat!(stringify!($file), "::", stringify!($scenario));
            let started = Instant::now();
            match $file::$scenario(&shop).await {
                Ok(()) => println!("{placement:?} {name}: ok ({} ms)", started.elapsed().as_millis()),
                Err(error) => faults.push(format!("{name}: {error:#}")),
            }
        )+)+};
    }
    run! {
        ordering: confirmed, accepted_at_once, declined, out_of_stock, lines_of_one_sku_are_summed, cancelled,
            confirmed_is_not_cancelled, action_completed, unknown_sku, anothers_order, anonymous, staff_price;
        refunds: whole, by_line, more_than_there_is, restocked;
        following: server_sent_events, resumed_events, conditional_reads, pages_of_orders, payments;
        conventions: idempotency_keys, one_hundred_copies, changes_need_a_tag, rate_limits, trace_context,
            every_route_is_documented, unknown_paths;
        catalogue: reads_and_searches, pages_of_products, price_changes, adjustments, withdrawn;
    }
    if !faults.is_empty() {
        bail!("{placement:?}: {} scenarios failed:\n{}", faults.len(), faults.join("\n"));
    }
    shop.pass_audit().await?;
    shop.close().await
}
