//! Placing orders, and the ends that they come to.

use anyhow::{Context, Result, ensure};
use pangaea_simulator::EntryKind;
use pangaea_testkit::Api;
use serde_json::{Value, json};

use crate::shop::pence;
use crate::{Shop, ask_to_place, order_body};

pub(super) async fn confirmed(shop: &Shop) -> Result<()> {
    let sku = shop.new_sku(5, 1_299).await?;
    let placed = ask_to_place(&shop.customer, &[(&sku.code, 2)], "tok_ok").wait(30).send().await?.expect(200)?;
    ensure!(placed.required("preference-applied")? == "wait=30", "{:?}", placed.headers);
    let order = &placed.body;
    let id = placed.text_at("id")?;
    ensure!(order["state"] == "confirmed" && order["total"] == pence(2_598), "{order}");
    ensure!(order["lines"][0]["sku_id"] == sku.id && order["lines"][0]["unit_price"] == pence(1_299), "{order}");
    let timeline = shop.timeline(id).await?;
    ensure!(timeline == ["placed", "reserved", "authorized", "committed", "confirmed"], "{timeline:?}");
    ensure!(shop.stock(&sku).await? == (3, 0), "{:?}", shop.stock(&sku).await?);
    let charged = shop.charged(id)?;
    ensure!(charged == (2_598, 0), "{charged:?}");
    Ok(())
}

pub(super) async fn accepted_at_once(shop: &Shop) -> Result<()> {
    let sku = shop.new_sku(5, 250).await?;
    // By its id, too.
    let placed = ask_to_place(&shop.customer, &[(&sku.id, 1)], "tok_ok").send().await?.expect(202)?;
    let id = placed.text_at("id")?;
    ensure!(placed.required("location")? == format!("/v1/orders/{id}"), "{:?}", placed.headers);
    ensure!(placed.body["state"] == "placed", "{}", placed.text);
    let order = shop.settled(&shop.customer, id).await?;
    ensure!(order["state"] == "confirmed", "{order}");
    Ok(())
}

pub(super) async fn declined(shop: &Shop) -> Result<()> {
    let sku = shop.new_sku(5, 700).await?;
    let order = shop.place(&[(&sku.code, 3)], "tok_declined").await?;
    ensure!(order["state"] == "cancelled" && order["reason"]["code"] == "payment_declined", "{order}");
    shop.stock_becomes(&sku, (5, 0)).await?;
    ensure!(shop.charged(id_of(&order)?)? == (0, 0));
    Ok(())
}

pub(super) async fn out_of_stock(shop: &Shop) -> Result<()> {
    let (scarce, plenty) = (shop.new_sku(1, 700).await?, shop.new_sku(10, 100).await?);
    let order = shop.place(&[(&plenty.code, 2), (&scarce.code, 2)], "tok_ok").await?;
    ensure!(order["state"] == "cancelled" && order["reason"]["code"] == "out_of_stock", "{order}");
    // All lines or none.
    shop.stock_becomes(&plenty, (10, 0)).await?;
    shop.stock_becomes(&scarce, (1, 0)).await?;
    let payment = shop.payment_of(id_of(&order)?).await?;
    ensure!(payment.is_none(), "money was asked for an order without stock: {payment:?}");
    Ok(())
}

pub(super) async fn lines_of_one_sku_are_summed(shop: &Shop) -> Result<()> {
    let sku = shop.new_sku(5, 100).await?;
    let order = shop.place(&[(&sku.code, 3), (&sku.code.to_lowercase(), 3)], "tok_ok").await?;
    ensure!(order["state"] == "cancelled" && order["reason"]["code"] == "out_of_stock", "{order}");
    let order = shop.place(&[(&sku.code, 3), (&sku.code.to_lowercase(), 2)], "tok_ok").await?;
    ensure!(order["state"] == "confirmed" && order["lines"].as_array().map(Vec::len) == Some(2), "{order}");
    ensure!(shop.stock(&sku).await? == (0, 0), "{:?}", shop.stock(&sku).await?);
    Ok(())
}

pub(super) async fn cancelled(shop: &Shop) -> Result<()> {
    let sku = shop.new_sku(4, 900).await?;
    let id = wait_for_action(shop, &sku.code).await?;
    ensure!(shop.stock(&sku).await? == (4, 1), "{:?}", shop.stock(&sku).await?);
    let cancel = shop.customer.post(&format!("/v1/orders/{id}/cancel"), json!({ "reason": "changed my mind" }));
    let order = cancel.wait(30).send().await?.expect(200)?.body;
    ensure!(order["state"] == "cancelled" && order["reason"]["code"] == "cancelled_by_customer", "{order}");
    shop.stock_becomes(&sku, (4, 0)).await?;
    // The payer comes too late: the provider has voided the intent.
    let intent = intent_of(shop, &id)?;
    let confirm = shop.store.provider_api()?.post(&format!("/v1/payment_intents/{intent}/confirm"), json!({}));
    let late = confirm.send().await?;
    ensure!((400..500).contains(&late.status), "{} {}", late.status, late.text);
    ensure!(shop.charged(&id)? == (0, 0));
    Ok(())
}

pub(super) async fn confirmed_is_not_cancelled(shop: &Shop) -> Result<()> {
    let sku = shop.new_sku(1, 900).await?;
    let order = shop.confirmed(&sku, 1).await?;
    let cancel = shop.customer.post(&format!("/v1/orders/{}/cancel", id_of(&order)?), json!({}));
    cancel.send().await?.expect_problem(409, "conflict")?;
    Ok(())
}

pub(super) async fn action_completed(shop: &Shop) -> Result<()> {
    let sku = shop.new_sku(4, 900).await?;
    let id = wait_for_action(shop, &sku.code).await?;
    let intent = intent_of(shop, &id)?;
    let confirm = shop.store.provider_api()?.post(&format!("/v1/payment_intents/{intent}/confirm"), json!({}));
    confirm.send().await?.expect(200)?;
    let order = shop.settled(&shop.customer, &id).await?;
    ensure!(order["state"] == "confirmed", "{order}");
    ensure!(shop.charged(&id)? == (900, 0));
    let timeline = shop.timeline(&id).await?;
    ensure!(timeline.contains(&"action_required".to_owned()), "{timeline:?}");
    Ok(())
}

pub(super) async fn unknown_sku(shop: &Shop) -> Result<()> {
    let sku = shop.new_sku(1, 100).await?;
    let asked = ask_to_place(&shop.customer, &[(&sku.code, 1), ("NO-SUCH-CODE", 1)], "tok_ok");
    let refused = asked.send().await?.expect_problem(422, "invalid")?;
    ensure!(refused.pointers() == ["/lines/1/sku"], "{}", refused.text);
    Ok(())
}

pub(super) async fn anothers_order(shop: &Shop) -> Result<()> {
    let sku = shop.new_sku(1, 100).await?;
    let order = shop.confirmed(&sku, 1).await?;
    let id = id_of(&order)?;
    for path in ["", "/timeline", "/events", "/refunds"] {
        let read = shop.other.get(&format!("/v1/orders/{id}{path}")).send().await?;
        read.expect_problem(404, "not-found").with_context(|| path.to_owned())?;
    }
    for path in ["cancel", "refunds"] {
        let asked = shop.other.post(&format!("/v1/orders/{id}/{path}"), json!({})).send().await?;
        asked.expect_problem(404, "not-found")?;
    }
    let page = shop.other.get("/v1/orders").send().await?.expect(200)?;
    ensure!(page.body["items"].as_array().is_some_and(Vec::is_empty), "{}", page.text);
    shop.staff.get(&format!("/v1/orders/{id}")).send().await?.expect(200)?;
    Ok(())
}

pub(super) async fn anonymous(shop: &Shop) -> Result<()> {
    let nobody = shop.store.api();
    let refused = ask_to_place(nobody, &[("ANY", 1)], "tok_ok").send().await?.expect_problem(401, "unauthenticated")?;
    ensure!(refused.required("www-authenticate")?.starts_with("Bearer"), "{:?}", refused.headers);
    nobody.get("/v1/orders").send().await?.expect_problem(401, "unauthenticated")?;
    let forged = nobody.get("/v1/orders").header("authorization", "Bearer not.a.token");
    forged.send().await?.expect_problem(401, "unauthenticated")?;
    Ok(())
}

/// Staff may set prices and order for others; customers may not.
pub(super) async fn staff_price(shop: &Shop) -> Result<()> {
    let sku = shop.new_sku(5, 1_000).await?;
    let mut body = order_body(&[(&sku.code, 2)], "tok_ok");
    body["lines"][0]["unit_price"] = pence(800);
    let refused = shop.customer.post("/v1/orders", body.clone()).send().await?.expect_problem(403, "forbidden")?;
    ensure!(refused.pointers() == ["/lines/0/unit_price"], "{}", refused.text);
    body["customer_reference"] = json!("till 4");
    let order = shop.staff.post("/v1/orders", body).wait(30).send().await?.expect(200)?.body;
    ensure!(order["state"] == "confirmed" && order["total"] == pence(1_600), "{order}");
    ensure!(order["customer_reference"] == "till 4" && order["customer_id"].is_null(), "{order}");
    Ok(())
}

/// Places an order that waits for its payer, and gives its id.
async fn wait_for_action(shop: &Shop, code: &str) -> Result<String> {
    let placed = ask_to_place(&shop.customer, &[(code, 1)], "tok_action_required").send().await?.expect(202)?;
    let id = placed.text_at("id")?;
    shop.reaches(&shop.customer, id, "action_required").await?;
    Ok(id.to_owned())
}

/// The payment intent at the provider that waits for its payer.
fn intent_of(shop: &Shop, order_id: &str) -> Result<String> {
    let entries = shop.store.ledger_entries()?;
    let entry =
        entries.into_iter().find(|entry| entry.kind == EntryKind::ActionRequired && entry.reference == order_id);
    Ok(entry.with_context(|| format!("the provider has no intent for {order_id}"))?.intent)
}

pub(super) fn id_of(order: &Value) -> Result<&str> {
    order["id"].as_str().with_context(|| format!("no id in {order}"))
}

pub(super) async fn order_now(api: &Api, id: &str) -> Result<Value> {
    Ok(api.get(&format!("/v1/orders/{id}")).send().await?.expect(200)?.body)
}
