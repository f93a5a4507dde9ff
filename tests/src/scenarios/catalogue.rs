//! The catalogue: anybody reads it, staff change it, and orders follow the changes.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pangaea_testkit::eventually;
use serde_json::{Value, json};

use super::following::pages;
use crate::Shop;
use crate::shop::pence;

pub(super) async fn reads_and_searches(shop: &Shop) -> Result<()> {
    // The demo catalogue is there from the first start.
    let page =
        shop.store.api().get("/v1/products?q=earl%20gr&category=tea&available=true").send().await?.expect(200)?;
    let items = page.body["items"].as_array().context("no items")?;
    ensure!(items.iter().any(|item| item["name"] == "Earl Grey"), "{}", page.text);
    let product = items.first().context("no product")?;
    let read = shop.store.api().get(&format!("/v1/products/{}", text(product, "id")?)).send().await?.expect(200)?;
    ensure!(read.body == *product, "{} is not {product}", read.text);
    let variant = &product["variants"][0];
    let by_id = shop.store.api().get(&format!("/v1/skus/{}", text(variant, "sku_id")?)).send().await?.expect(200)?;
    let code = text(variant, "code")?.to_lowercase();
    let by_code = shop.store.api().get(&format!("/v1/skus/{code}")).send().await?.expect(200)?;
    ensure!(by_id.body == by_code.body && by_id.body["price"] == variant["price"], "{} {}", by_id.text, by_code.text);
    let none = shop.customer.get("/v1/products?q=there%20is%20no%20such%20thing").send().await?.expect(200)?;
    ensure!(none.body["items"].as_array().is_some_and(Vec::is_empty), "{}", none.text);
    shop.customer.get("/v1/products?nonsense=1").send().await?.expect_problem(400, "malformed-request")?;
    Ok(())
}

pub(super) async fn pages_of_products(shop: &Shop) -> Result<()> {
    for sort in ["name", "price", "-price", "newest"] {
        let whole = pages(&shop.customer, &format!("/v1/products?limit=200&sort={sort}")).await?.concat();
        ensure!(whole.len() >= 40, "{} products", whole.len());
        let parts = pages(&shop.customer, &format!("/v1/products?limit=7&sort={sort}")).await?;
        ensure!(parts.iter().rev().skip(1).all(|page| page.len() == 7), "{sort}: {parts:?}");
        ensure!(parts.concat() == whole, "{sort}: pages of 7 are not the whole list");
    }
    let page = shop.customer.get("/v1/products?limit=200&sort=price").send().await?.expect(200)?;
    let lowest = |product: &Value| {
        let variants = product["variants"].as_array().into_iter().flatten();
        variants.filter_map(|variant| variant["price"]["amount"].as_i64()).min()
    };
    let prices: Vec<_> = page.body["items"].as_array().into_iter().flatten().map(lowest).collect();
    ensure!(prices.is_sorted(), "{prices:?}");
    Ok(())
}

pub(super) async fn price_changes(shop: &Shop) -> Result<()> {
    let sku = shop.new_sku(10, 500).await?;
    let before = shop.confirmed(&sku, 1).await?;
    ensure!(before["total"] == pence(500), "{before}");
    let path = format!("/v1/skus/{}/price", sku.code);
    shop.customer.call_named("PUT", &path).json(pence(1)).header("if-match", "*").send().await?.expect(403)?;
    let read = shop.staff.get(&format!("/v1/skus/{}", sku.code)).send().await?.expect(200)?;
    let change = shop.staff.call_named("PUT", &path).json(pence(750)).header("if-match", read.required("etag")?);
    let changed = change.send().await?.expect(200)?;
    ensure!(changed.body["price"] == pence(750), "{}", changed.text);
    // Order takes prices from product's events: it honours the new one as soon as it knows it.
    eventually("an order at the new price", Duration::from_secs(30), async || {
        let order = shop.confirmed(&sku, 1).await?;
        ensure!(order["total"] == pence(500) || order["total"] == pence(750), "{order}");
        Ok((order["total"] == pence(750)).then_some(()))
    })
    .await?;
    let old = shop.customer.get(&format!("/v1/orders/{}", text(&before, "id")?)).send().await?.expect(200)?;
    ensure!(old.body["total"] == pence(500), "{}", old.text);
    let history = shop.customer.get(&format!("/v1/skus/{}/prices", sku.code)).send().await?.expect(200)?;
    let prices: Vec<_> = history.body["items"].as_array().into_iter().flatten().map(|item| &item["price"]).collect();
    ensure!(prices == [&pence(750), &pence(500)], "{}", history.text);
    Ok(())
}

pub(super) async fn adjustments(shop: &Shop) -> Result<()> {
    let sku = shop.new_sku(10, 500).await?;
    let path = format!("/v1/skus/{}/adjustments", sku.code);
    let adjust = |delta: i64, expected: i64| {
        let body = json!({ "delta": delta, "reason": "counted", "expected_on_hand": expected });
        shop.staff.post(&path, body).send()
    };
    adjust(-3, 10).await?.expect(200)?;
    adjust(-3, 10).await?.expect_problem(409, "conflict")?;
    ensure!(shop.stock(&sku).await? == (7, 0), "{:?}", shop.stock(&sku).await?);
    adjust(-8, 7).await?.expect_problem(409, "conflict")?;
    adjust(0, 7).await?.expect_problem(422, "invalid")?;
    // Ten at once that all saw seven: one wins.
    let asked: Vec<_> = (0..10).map(|_| tokio::spawn(adjust(1, 7))).collect();
    let mut adjusted = 0;
    for asked in asked {
        adjusted += usize::from(asked.await??.expect_any(&[200, 409])?.status == 200);
    }
    ensure!(adjusted == 1, "{adjusted} of ten adjustments of the same seven units");
    Ok(())
}

pub(super) async fn withdrawn(shop: &Shop) -> Result<()> {
    let sku = shop.new_sku(10, 500).await?;
    let path = format!("/v1/products/{}", sku.product_id);
    let read = shop.staff.get(&path).send().await?.expect(200)?;
    let withdraw = shop.staff.call_named("DELETE", &path).header("if-match", read.required("etag")?);
    withdraw.send().await?.expect_any(&[200, 204])?;
    eventually("an order to be refused", Duration::from_secs(30), async || {
        let asked = crate::ask_to_place(&shop.customer, &[(&sku.code, 1)], "tok_ok").send().await?;
        Ok((asked.expect_any(&[202, 422])?.status == 422).then_some(()))
    })
    .await
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value[key].as_str().with_context(|| format!("no {key} in {value}"))
}
