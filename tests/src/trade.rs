//! A little of everything, to be recorded.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::shop::{Shop, ask_to_place};

/// Orders of every kind, one after the other: of several lines, declined, of the last units, sold out, refunded, cancelled.
///
/// # Errors
/// When an order does not end as it should.
pub async fn trade(shop: &Shop) -> Result<()> {
    let mut skus = Vec::new();
    for price in [199, 250, 1_299, 75, 640] {
        skus.push(shop.new_sku(40, price).await?);
    }
    let lines: Vec<(&str, i64)> = skus.iter().zip(1..).map(|(sku, quantity)| (sku.code.as_str(), quantity)).collect();
    for token in ["tok_ok", "tok_declined", "tok_ok"] {
        shop.place(&lines, token).await?;
    }
    let scarce = shop.new_sku(3, 500).await?;
    let order = shop.place(&[(&scarce.code, 3)], "tok_ok").await?;
    ensure!(order["state"] == "confirmed", "the last units are sold: {order}");
    let more = [&lines[..], &[(scarce.code.as_str(), 1)]].concat();
    let order = shop.place(&more, "tok_ok").await?;
    ensure!(order["reason"]["code"] == "out_of_stock", "{order}");
    let confirmed = shop.place(&lines[..2], "tok_ok").await?;
    let id = confirmed["id"].as_str().context("an id")?;
    shop.staff
        .post(&format!("/v1/orders/{id}/refunds"), json!({ "reason": "broken" }))
        .wait(30)
        .send()
        .await?
        .expect(200)?;
    let waiting = ask_to_place(&shop.customer, &lines[..1], "tok_action_required").send().await?.expect(202)?;
    let id = waiting.body["id"].as_str().context("an id")?.to_owned();
    shop.reaches(&shop.customer, &id, "action_required").await?;
    shop.customer.post(&format!("/v1/orders/{id}/cancel"), json!({})).wait(30).send().await?.expect(200)?;
    Ok(())
}
