//! Waiting for what was accepted, and how it ended.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use anyhow::Result;
use futures_util::StreamExt as _;
use pangaea_contracts::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::histogram::Histogram;
use super::plan::Plan;
use super::shop::Shop;

/// In the order of the saga: an order that leaves one of them while they are asked for one by one is found in a later one.
const UNSETTLED: [&str; 6] = ["placed", "reserved", "action_required", "authorized", "committed", "cancelling"];
/// Pages of strangers' orders looked through for one of ours.
const PAGES_MAX: u32 = 50;
const POLL_FIRST: Duration = Duration::from_millis(10);
const POLL_MAX: Duration = Duration::from_millis(250);
/// Orders whose timelines are read for the time to confirmation, evenly chosen.
const TIMELINES_MAX: usize = 1_000;
const TIMELINES_AT_ONCE: usize = 8;

/// How the accepted orders ended.
#[derive(Default)]
pub(crate) struct Settled {
    /// When all were seen settled; None when the wait ended first.
    pub(crate) at: Option<Instant>,
    pub(crate) states: BTreeMap<String, u64>,
    /// Reasons of those that were not confirmed, by code.
    pub(crate) reasons: BTreeMap<String, u64>,
    /// Accepted, and in no list.
    pub(crate) missing: u64,
    /// From placed to confirmed by the orders' own timelines, of a sample.
    pub(crate) confirm: Histogram,
}

#[derive(Deserialize)]
struct Page<T> {
    items: Vec<T>,
    #[serde(default)]
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Summary {
    id: String,
    state: String,
    #[serde(default)]
    reason: Option<Value>,
}

#[derive(Deserialize)]
struct Entry {
    at: Timestamp,
    state: String,
}

/// Waits at most `patience` until none of `accepted` is under way, and counts how they ended.
///
/// # Errors
/// When the store does not answer.
pub(crate) async fn settle(
    shop: &Shop,
    plan: &Plan,
    accepted: &HashSet<String>,
    patience: Duration,
) -> Result<Settled> {
    let mut settled = Settled::default();
    let begun = Instant::now();
    let mut pause = POLL_FIRST;
    loop {
        if !any_unsettled(shop, accepted).await? {
            settled.at = Some(Instant::now());
            break;
        }
        if begun.elapsed() > patience {
            break;
        }
        sleep(pause).await;
        pause = (pause * 3 / 2).min(POLL_MAX).min(begun.elapsed().max(POLL_FIRST));
    }
    let confirmed = tally(shop, plan, accepted, &mut settled).await?;
    time_confirmations(shop, &confirmed, &mut settled).await?;
    Ok(settled)
}

async fn any_unsettled(shop: &Shop, accepted: &HashSet<String>) -> Result<bool> {
    for state in UNSETTLED {
        let mut cursor = None;
        for _ in 0..PAGES_MAX {
            let page = list(shop, &format!("state={state}"), cursor.as_deref()).await?;
            if page.items.iter().any(|order| accepted.contains(&order.id)) {
                return Ok(true);
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
    }
    Ok(false)
}

/// Walks the list of our orders, newest first, until all are found. Returns the confirmed ones.
async fn tally(shop: &Shop, plan: &Plan, accepted: &HashSet<String>, settled: &mut Settled) -> Result<Vec<String>> {
    // A customer sees only orders of their own anyway.
    let filter = if shop.is_staff() { format!("customer_reference={}", plan.reference()) } else { String::new() };
    let mut left: HashSet<&str> = accepted.iter().map(String::as_str).collect();
    let mut confirmed = Vec::new();
    let mut cursor: Option<String> = None;
    while !left.is_empty() {
        let page = list(shop, &filter, cursor.as_deref()).await?;
        for order in page.items {
            if !left.remove(order.id.as_str()) {
                continue;
            }
            *settled.states.entry(order.state.clone()).or_default() += 1;
            if order.state == "confirmed" {
                confirmed.push(order.id);
            } else if !UNSETTLED.contains(&order.state.as_str()) {
                let code =
                    order.reason.as_ref().and_then(|reason| reason.get("code")?.as_str()).unwrap_or("none given");
                *settled.reasons.entry(code.to_owned()).or_default() += 1;
            }
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    settled.missing = left.len() as u64;
    Ok(confirmed)
}

async fn list(shop: &Shop, filter: &str, cursor: Option<&str>) -> Result<Page<Summary>> {
    let cursor = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
    let and = if filter.is_empty() { "" } else { "&" };
    Ok(serde_json::from_value(shop.get(&format!("/v1/orders?{filter}{and}limit=200{cursor}")).await?)?)
}

async fn time_confirmations(shop: &Shop, confirmed: &[String], settled: &mut Settled) -> Result<()> {
    let step = confirmed.len().div_ceil(TIMELINES_MAX).max(1);
    let reads = confirmed.iter().step_by(step).map(|id| async move {
        let page = shop.get(&format!("/v1/orders/{id}/timeline?limit=200")).await?;
        Ok::<Page<Entry>, anyhow::Error>(serde_json::from_value(page)?)
    });
    let mut reads = futures_util::stream::iter(reads).buffer_unordered(TIMELINES_AT_ONCE);
    while let Some(timeline) = reads.next().await {
        let entries = timeline?.items;
        let confirmed = entries.iter().find(|entry| entry.state == "confirmed");
        if let (Some(placed), Some(confirmed)) = (entries.first(), confirmed) {
            let millis = u64::try_from(confirmed.at.millis_since(placed.at)).unwrap_or(0);
            settled.confirm.record_us(millis * 1_000);
        }
    }
    Ok(())
}
