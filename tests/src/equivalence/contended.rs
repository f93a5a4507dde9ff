//! Many buyers at once for a few things.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pangaea_testkit::Api;
use serde_json::{Value, json};

use super::Driver;
use super::people::staff_again;
use crate::shop::pence;
use crate::{is_settled, order_body};

/// How long a buyer goes on asking a store that is full.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Before it asks again.
const PAUSE: Duration = Duration::from_millis(100);
/// Goods and who pays for them, in turn: of the first there is one for every eighth buyer, of the other one for each.
const OFFERS: [(&str, &str); 4] =
    [(SCARCE, "tok_ok"), (PLENTY, "tok_ok"), (SCARCE, "tok_ok"), (PLENTY, "tok_declined")];
const SCARCE: &str = "EQ-SCARCE";
const PLENTY: &str = "EQ-PLENTY";
const PRICE_PENCE: i64 = 9_900;

/// Lets all buyers order at once, each twice under one key: how many orders ended in which way, by state and reason.
///
/// # Errors
/// When that is not what it must be: as many as there are units are sold, whoever came first.
pub(super) async fn run(driver: &mut Driver, buyers: u32) -> Result<BTreeMap<String, u64>> {
    ensure!(buyers.is_multiple_of(8), "{buyers} buyers do not divide into eighths");
    // Their token has ended with the script.
    let staff = staff_again(driver).await?;
    let units = [(SCARCE, buyers / 8), (PLENTY, buyers)];
    for (code, stock) in units {
        let product = json!({
            "name": format!("Thing {code}"), "description": "Made for a crowd.", "categories": ["Crowds"],
            "variants": [{ "code": code, "price": pence(PRICE_PENCE), "stock": stock }],
        });
        staff.post("/v1/products", product).send().await?.expect(201)?;
        driver.step().await?;
    }
    let copies: Vec<_> = (0..buyers).chain(0..buyers).map(|buyer| tokio::spawn(buy(staff.clone(), buyer))).collect();
    let mut ids = BTreeSet::new();
    for copy in copies {
        ids.insert(copy.await??);
    }
    ensure!(ids.len() == buyers as usize, "{} orders of {buyers} buyers, each of whom asked twice", ids.len());
    driver.settle().await?;
    let mut outcomes = BTreeMap::new();
    for id in &ids {
        *outcomes.entry(outcome(&staff, id).await?).or_insert(0) += 1;
    }
    ensure!(outcomes == expected(buyers), "{outcomes:?} in place of {:?}", expected(buyers));
    for (code, left) in [(SCARCE, 0), (PLENTY, buyers - buyers / 4)] {
        let read = staff.get(&format!("/v1/skus/{code}")).send().await?.expect(200)?;
        ensure!(read.body["on_hand"] == left && read.body["reserved"] == 0, "{left} should be left: {}", read.text);
    }
    let ledger = driver.store.ledger()?;
    ensure!(ledger.double_captures.is_empty(), "charged twice: {:?}", ledger.double_captures);
    ensure!(ledger.orphaned_authorizations.is_empty(), "held for nothing: {:?}", ledger.orphaned_authorizations);
    Ok(outcomes)
}

async fn buy(api: Api, buyer: u32) -> Result<String> {
    let (code, token) = OFFERS[buyer as usize % OFFERS.len()];
    let (body, key) = (order_body(&[(code, 1)], token), format!("buyer-{buyer}"));
    let until = Instant::now() + ANSWER_MAX;
    loop {
        let answer = api.post("/v1/orders", body.clone()).key(&key).send().await?;
        // The store is full; the same request again is safe.
        if answer.status != 503 || Instant::now() >= until {
            return Ok(answer.expect(202)?.text_at("id")?.to_owned());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn outcome(api: &Api, id: &str) -> Result<String> {
    let order: Value = api.get(&format!("/v1/orders/{id}")).send().await?.expect(200)?.body;
    ensure!(is_settled(&order), "all is quiet, but it has come to no end: {order}");
    let state = order["state"].as_str().context("an order without a state")?;
    Ok(order["reason"]["code"].as_str().map_or_else(|| state.to_owned(), |reason| format!("{state}: {reason}")))
}

/// Of every four buyers two want what is scarce, one can pay for what is not, and one cannot.
fn expected(buyers: u32) -> BTreeMap<String, u64> {
    let (quarter, scarce) = (u64::from(buyers / 4), u64::from(buyers / 8));
    BTreeMap::from([
        ("confirmed".to_owned(), quarter + scarce),
        ("cancelled: out_of_stock".to_owned(), 2 * quarter - scarce),
        ("cancelled: payment_declined".to_owned(), quarter),
    ])
}
