//! Money back: whole, by line and quantity, and never more than was taken.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::ordering::{id_of, order_now};
use crate::Shop;
use crate::shop::pence;

pub(super) async fn whole(shop: &Shop) -> Result<()> {
    let (tea, cup) = (shop.new_sku(5, 650).await?, shop.new_sku(5, 1_200).await?);
    let order = shop.place(&[(&tea.code, 2), (&cup.code, 1)], "tok_ok").await?;
    let id = id_of(&order)?;
    let refund = refund(shop, id, json!({ "reason": "it arrived broken" })).await?;
    ensure!(refund["state"] == "succeeded" && refund["amount"] == pence(2_500), "{refund}");
    let order = order_now(&shop.customer, id).await?;
    ensure!(order["state"] == "refunded" && order["refunded"] == pence(2_500), "{order}");
    ensure!(shop.charged(id)? == (2_500, 2_500));
    // The units are sold until somebody says that they have come back.
    ensure!(shop.stock(&tea).await? == (3, 0), "{:?}", shop.stock(&tea).await?);
    let again = shop.customer.post(&format!("/v1/orders/{id}/refunds"), json!({}));
    again.send().await?.expect_problem(409, "conflict")?;
    Ok(())
}

pub(super) async fn by_line(shop: &Shop) -> Result<()> {
    let (tea, cup) = (shop.new_sku(5, 650).await?, shop.new_sku(5, 1_200).await?);
    let order = shop.place(&[(&tea.code, 3), (&cup.code, 1)], "tok_ok").await?;
    let id = id_of(&order)?;
    let first = refund(shop, id, json!({ "lines": [{ "line": 1, "quantity": 2 }] })).await?;
    ensure!(first["state"] == "succeeded" && first["amount"] == pence(1_300), "{first}");
    let order = order_now(&shop.customer, id).await?;
    ensure!(order["state"] == "confirmed" && order["refunded"] == pence(1_300), "{order}");
    ensure!(order["lines"][0]["refunded_quantity"] == 2 && order["lines"][1]["refunded_quantity"] == 0, "{order}");
    let rest =
        refund(shop, id, json!({ "lines": [{ "line": 1, "quantity": 1 }, { "line": 2, "quantity": 1 }] })).await?;
    ensure!(rest["amount"] == pence(1_850), "{rest}");
    ensure!(order_now(&shop.customer, id).await?["state"] == "refunded");
    ensure!(shop.charged(id)? == (3_150, 3_150));
    let list = shop.customer.get(&format!("/v1/orders/{id}/refunds")).send().await?.expect(200)?;
    ensure!(list.body["items"].as_array().map(Vec::len) == Some(2), "{}", list.text);
    let read = shop.customer.get(&format!("/v1/orders/{id}/refunds/{}", id_of(&first)?)).send().await?.expect(200)?;
    ensure!(read.body == first, "{} is not {first}", read.text);
    Ok(())
}

pub(super) async fn more_than_there_is(shop: &Shop) -> Result<()> {
    let sku = shop.new_sku(5, 650).await?;
    let order = shop.confirmed(&sku, 2).await?;
    let path = format!("/v1/orders/{}/refunds", id_of(&order)?);
    let many = shop.customer.post(&path, json!({ "lines": [{ "line": 1, "quantity": 3 }] })).send().await?;
    let many = many.expect_problem(422, "invalid")?;
    ensure!(many.pointers() == ["/lines/0/quantity"], "{}", many.text);
    let other = shop.customer.post(&path, json!({ "lines": [{ "line": 2, "quantity": 1 }] })).send().await?;
    ensure!(other.expect_problem(422, "invalid")?.pointers() == ["/lines/0/line"]);
    // Five at once for two units: two succeed, and the money never exceeds what was taken.
    let body = json!({ "lines": [{ "line": 1, "quantity": 1 }] });
    let asked = (0..5).map(|_| {
        let call = shop.customer.post(&path, body.clone()).wait(30);
        tokio::spawn(call.send())
    });
    let mut succeeded = 0;
    for asked in asked.collect::<Vec<_>>() {
        let answer = asked.await??.expect_any(&[200, 422, 409])?;
        succeeded += usize::from(answer.status == 200 && answer.body["state"] == "succeeded");
    }
    ensure!(succeeded == 2, "{succeeded} refunds of one unit for two units");
    ensure!(shop.charged(id_of(&order)?)? == (1_300, 1_300));
    Ok(())
}

pub(super) async fn restocked(shop: &Shop) -> Result<()> {
    let sku = shop.new_sku(5, 650).await?;
    let order = shop.confirmed(&sku, 2).await?;
    let path = format!("/v1/orders/{}/refunds", id_of(&order)?);
    let asked = shop.customer.post(&path, json!({ "restock": true })).send().await?;
    asked.expect_problem(403, "forbidden")?;
    let body = json!({ "restock": true, "lines": [{ "line": 1, "quantity": 1 }] });
    let refund = shop.staff.post(&path, body).wait(30).send().await?.expect(200)?.body;
    ensure!(refund["state"] == "succeeded" && refund["restock"] == true, "{refund}");
    shop.stock_becomes(&sku, (4, 0)).await
}

async fn refund(shop: &Shop, order_id: &str, body: Value) -> Result<Value> {
    let asked = shop.customer.post(&format!("/v1/orders/{order_id}/refunds"), body).wait(30).send().await?;
    Ok(asked.expect(200)?.body)
}
