//! Five hundred buyers at once for ten units.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use pangaea_simulator::EntryKind;
use pangaea_testkit::Placement;
use pangaea_tests::{Shop, is_settled, order_body};
use serde_json::json;

const BUYERS: usize = 500;
const UNITS: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn together() -> Result<()> {
    sells_ten_units_to_ten_of_five_hundred(Placement::TogetherMemory).await
}

#[tokio::test(flavor = "multi_thread")]
async fn apart() -> Result<()> {
    sells_ten_units_to_ten_of_five_hundred(Placement::Apart).await
}

async fn sells_ten_units_to_ten_of_five_hundred(placement: Placement) -> Result<()> {
    let shop = Shop::open(placement).await?;
    let sku = shop.new_sku(UNITS as i64, 9_900).await?;
    let buy = |buyer: usize| {
        let mut body = order_body(&[(&sku.code, 1)], "tok_ok");
        body["customer_reference"] = json!(format!("buyer {buyer}"));
        shop.staff.post("/v1/orders", body).wait(60).send()
    };
    let buyers: Vec<_> = (0..BUYERS).map(|buyer| tokio::spawn(buy(buyer))).collect();
    let (mut confirmed, mut refused) = (Vec::new(), BTreeMap::<String, usize>::new());
    for buyer in buyers {
        let order = buyer.await??.expect_any(&[200, 202])?.body;
        let id = order["id"].as_str().context("an order without an id")?;
        let order = if is_settled(&order) { order.clone() } else { shop.settled(&shop.staff, id).await? };
        match order["state"].as_str() {
            Some("confirmed") => confirmed.push(id.to_owned()),
            Some("cancelled") => {
                let reason = order["reason"]["code"].as_str().context("a refusal without a reason")?;
                *refused.entry(reason.to_owned()).or_default() += 1;
            }
            other => anyhow::bail!("an order ended as {other:?}: {order}"),
        }
    }
    ensure!(confirmed.len() == UNITS, "{} orders confirmed for {UNITS} units; refused: {refused:?}", confirmed.len());
    ensure!(refused == BTreeMap::from([("out_of_stock".to_owned(), BUYERS - UNITS)]), "{refused:?}");
    shop.stock_becomes(&sku, (0, 0)).await?;
    let captures = shop.store.ledger_entries()?.iter().filter(|entry| entry.kind == EntryKind::Captured).count();
    ensure!(captures == UNITS, "{captures} captures for {UNITS} units");
    let ledger = shop.store.ledger()?;
    ensure!(ledger.orphaned_authorizations.is_empty(), "{:?}", ledger.orphaned_authorizations);
    ensure!(ledger.double_captures.is_empty(), "{:?}", ledger.double_captures);
    for order_id in &confirmed {
        ensure!(shop.charged(order_id)? == (9_900, 0), "{order_id}");
    }
    shop.close().await
}
