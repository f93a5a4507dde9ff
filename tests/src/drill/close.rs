//! What every drill ends with.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pangaea_testkit::eventually;
use serde_json::Value;

use super::{PRICE_PENCE, Record, UNITS, settle};
use crate::{Clients, Session, Shop, Sku};

/// From the last fault on.
const SETTLED_MAX: Duration = Duration::from_secs(60);
/// How long what an order gives back may take after it has settled.
const GIVEN_BACK_MAX: Duration = Duration::from_secs(30);
/// Of the accepted orders; the others may have been cancelled, because something took longer than it may.
const CONFIRMED_SHARE_MIN: f64 = 0.95;

/// Stops the clients and judges: every accepted order is settled within 60 s of the last fault; each confirmed one was
/// charged once, and no other; the stock has what was not sold; `pangaea verify` and the auditor find nothing. Every order as it
/// has settled, by its id.
///
/// # Errors
/// What does not hold.
pub async fn close(
    shop: &mut Shop,
    sku: &Sku,
    clients: Clients,
    last_fault: Instant,
    record: &mut Record,
) -> Result<BTreeMap<String, Value>> {
    record.set("unanswered_requests", clients.unanswered());
    let accepted = clients.stop().await?;
    record.set("accepted_orders", accepted.len());
    record.progress(format!("{} orders are accepted; waiting until they have settled", accepted.len()));
    // A long drill has outlived the token.
    shop.staff = eventually("staff to sign in", SETTLED_MAX, async || Ok(shop.store.staff().await.ok())).await?;
    let session = Session::of_staff(shop);
    let orders = settle(&session, accepted, last_fault + SETTLED_MAX).await.context("after the last fault")?;
    record.longest("settled_after_last_fault_ms", last_fault.elapsed());
    let confirmed: Vec<&String> =
        orders.iter().filter(|(_, order)| order["state"] == "confirmed").map(|(id, _)| id).collect();
    record.set("confirmed_orders", confirmed.len());
    let share = confirmed.len() as f64 / orders.len().max(1) as f64;
    ensure!(share >= CONFIRMED_SHARE_MIN, "{} of {} accepted orders are confirmed", confirmed.len(), orders.len());
    eventually("money and stock to be given back", GIVEN_BACK_MAX, async || {
        let (on_hand, reserved) = shop.stock(sku).await?;
        let is_back = shop.store.ledger()?.orphaned_authorizations.is_empty() && reserved == 0;
        Ok(is_back.then_some(on_hand))
    })
    .await?;
    charged_once(shop, &orders)?;
    let sold = i64::try_from(confirmed.len())?;
    let (on_hand, _) = shop.stock(sku).await?;
    ensure!(on_hand == UNITS - sold, "{on_hand} of {UNITS} units are left after {sold} sold ones");
    record.progress("the books are sound; running `pangaea verify` and the auditor");
    shop.store.verify().await?;
    shop.pass_audit().await.context("the auditor")?;
    Ok(orders)
}

/// By the provider's own ledger.
fn charged_once(shop: &Shop, orders: &BTreeMap<String, Value>) -> Result<()> {
    let ledger = shop.store.ledger()?;
    ensure!(ledger.double_captures.is_empty(), "charged twice: {:?}", ledger.double_captures);
    ensure!(ledger.overdrawn.is_empty(), "{:?}", ledger.overdrawn);
    for (id, order) in orders {
        let amounts = ledger.references.get(id).into_iter().flat_map(|reference| reference.amounts.values());
        let held = amounts.fold(0, |held, amount| held + amount.captured - amount.refunded);
        let due = if order["state"] == "confirmed" { i128::from(PRICE_PENCE) } else { 0 };
        ensure!(held == due, "{held} pence are held for {due}: {order}");
    }
    Ok(())
}
