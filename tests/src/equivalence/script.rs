//! What is done in every placement, one after the other.

use anyhow::{Context, Result, ensure};
use pangaea_simulator::EntryKind;
use pangaea_testkit::Answer;
use serde_json::{Value, json};

use super::people::People;
use super::{ACTION_POLL_MS, ACTION_TIMEOUT_MS, Driver};
use crate::order_body;
use crate::shop::pence;

/// Goods of one round.
struct Goods {
    tea: String,
    cup: String,
    /// There is one of it.
    rare: String,
}

/// A round of the script: people arrive, goods come in, and orders come to each of their ends.
///
/// # Errors
/// When the store does something else than the script says.
pub(super) async fn run(driver: &mut Driver, round: u32) -> Result<()> {
    let people = People::arrive(driver, round).await.context("people")?;
    let goods = Goods::come_in(driver, &people, round).await.context("goods")?;
    let mut script = Script { driver, people: &people };
    script.confirmed(&goods).await.context("an order that is confirmed")?;
    script.refunded(&goods).await.context("orders that are refunded")?;
    script.declined(&goods).await.context("an order that is declined")?;
    script.out_of_stock(&goods).await.context("an order for more than there is")?;
    script.cancelled(&goods).await.context("an order that is cancelled")?;
    script.completed(&goods).await.context("an order whose payer acts")?;
    script.timed_out(&goods).await.context("an order whose payer does not act")?;
    people.stay(script.driver).await.context("tokens")
}

// === impl Goods ===

impl Goods {
    async fn come_in(driver: &mut Driver, people: &People, round: u32) -> Result<Self> {
        let code = |name: &str| format!("EQ-{name}-{round}");
        let goods = Self { tea: code("TEA"), cup: code("CUP"), rare: code("RARE") };
        for (code, price, stock) in [(&goods.tea, 650, 40), (&goods.cup, 1_200, 15), (&goods.rare, 9_900, 1)] {
            let product = json!({
                "name": format!("Thing {code}"), "description": "Made for a script.", "categories": ["Scripts"],
                "variants": [{ "code": code, "price": pence(price), "stock": stock }],
            });
            people.staff.post("/v1/products", product).send().await?.expect(201)?;
            driver.step().await?;
        }
        let price = people.staff.call_named("PUT", &format!("/v1/skus/{}/price", goods.tea)).json(pence(675));
        price.header("if-match", "*").send().await?.expect(200)?;
        driver.step().await?;
        let adjustment = json!({ "delta": 5, "reason": "counted", "expected_on_hand": 15 });
        people.staff.post(&format!("/v1/skus/{}/adjustments", goods.cup), adjustment).send().await?.expect(200)?;
        driver.step().await?;
        Ok(goods)
    }
}

struct Script<'a> {
    driver: &'a mut Driver,
    people: &'a People,
}

// === impl Script ===

impl Script<'_> {
    async fn confirmed(&mut self, goods: &Goods) -> Result<()> {
        let body = order_body(&[(&goods.tea, 2), (&goods.cup, 1)], "tok_ok");
        let key = format!("confirmed-{}", goods.tea);
        let place = || self.people.customer.post("/v1/orders", body.clone()).key(&key).send();
        let placed = place().await?.expect(202)?;
        let now = self.driver.store.clock().now().to_string();
        ensure!(placed.body["placed_at"] == now, "{now} by the driver's clock: {}", placed.text);
        self.driver.step().await?;
        let again = place().await?.expect(202)?;
        ensure!(again.text_at("id")? == placed.text_at("id")?, "{}", again.text);
        self.driver.step().await?;
        let order = self.is(placed.text_at("id")?, "confirmed", None).await?;
        ensure!(order["total"] == pence(2 * 675 + 1_200), "{order}");
        Ok(())
    }

    /// One by its customer and whole, one by staff, by line, with the unit back on the shelf.
    async fn refunded(&mut self, goods: &Goods) -> Result<()> {
        let whole = self.place(&[(&goods.cup, 2)], "tok_ok").await?;
        let part = self.place(&[(&goods.tea, 3)], "tok_ok").await?;
        let by_line = json!({ "restock": true, "lines": [{ "line": 1, "quantity": 1 }] });
        for (api, id, body) in
            [(&self.people.customer, &whole, json!({ "reason": "broken" })), (&self.people.staff, &part, by_line)]
        {
            let refund = api.post(&format!("/v1/orders/{id}/refunds"), body).send().await?;
            refund.expect_any(&[200, 201, 202])?;
            self.driver.step().await?;
        }
        self.is(&whole, "refunded", None).await?;
        let order = self.is(&part, "confirmed", None).await?;
        ensure!(order["refunded"] == pence(675), "{order}");
        Ok(())
    }

    async fn declined(&mut self, goods: &Goods) -> Result<()> {
        let id = self.place(&[(&goods.cup, 1)], "tok_declined").await?;
        self.is(&id, "cancelled", Some("payment_declined")).await?;
        Ok(())
    }

    async fn out_of_stock(&mut self, goods: &Goods) -> Result<()> {
        let id = self.place(&[(&goods.tea, 1), (&goods.rare, 2)], "tok_ok").await?;
        self.is(&id, "cancelled", Some("out_of_stock")).await?;
        Ok(())
    }

    async fn cancelled(&mut self, goods: &Goods) -> Result<()> {
        let id = self.place(&[(&goods.rare, 1)], "tok_action_required").await?;
        self.is(&id, "action_required", None).await?;
        let body = json!({ "reason": "changed my mind" });
        let cancel = self.people.customer.post(&format!("/v1/orders/{id}/cancel"), body);
        self.driver.while_provider_waits(async |_| cancel.send().await?.expect_any(&[200, 202])).await?;
        self.driver.step().await?;
        self.is(&id, "cancelled", Some("cancelled_by_customer")).await?;
        Ok(())
    }

    async fn completed(&mut self, goods: &Goods) -> Result<()> {
        let id = self.place(&[(&goods.rare, 1)], "tok_action_required").await?;
        let intent = self.intent_of(&id)?;
        let confirm = format!("/v1/payment_intents/{intent}/confirm");
        self.driver.store.provider_api()?.post(&confirm, json!({})).send().await?.expect(200)?;
        self.driver.step().await?;
        self.is(&id, "action_required", None).await.context("nobody has looked yet")?;
        self.driver.advance(ACTION_POLL_MS).await?;
        self.is(&id, "confirmed", None).await?;
        Ok(())
    }

    async fn timed_out(&mut self, goods: &Goods) -> Result<()> {
        let id = self.place(&[(&goods.tea, 4)], "tok_action_required").await?;
        self.driver.advance(ACTION_TIMEOUT_MS - 10_000).await?;
        self.is(&id, "action_required", None).await.context("ten seconds before its time")?;
        self.driver.advance(10_000).await?;
        self.is(&id, "cancelled", Some("action_timeout")).await?;
        Ok(())
    }

    /// Places an order and lets it come as far as it comes by itself.
    async fn place(&mut self, lines: &[(&str, i64)], token: &str) -> Result<String> {
        let placed: Answer =
            self.people.customer.post("/v1/orders", order_body(lines, token)).send().await?.expect(202)?;
        self.driver.step().await?;
        Ok(placed.text_at("id")?.to_owned())
    }

    async fn is(&self, id: &str, state: &str, reason: Option<&str>) -> Result<Value> {
        let order = self.people.customer.get(&format!("/v1/orders/{id}")).send().await?.expect(200)?.body;
        ensure!(order["state"] == state && order["reason"]["code"].as_str() == reason, "it is no {state}: {order}");
        Ok(order)
    }

    /// The payment intent at the provider that waits for its payer.
    fn intent_of(&self, order_id: &str) -> Result<String> {
        let entries = self.driver.store.ledger_entries()?;
        let waits = |entry: &&_| is_waiting(entry, order_id);
        let entry = entries.iter().find(waits).with_context(|| format!("no intent for {order_id}"))?;
        Ok(entry.intent.clone())
    }
}

fn is_waiting(entry: &pangaea_simulator::LedgerEntry, order_id: &str) -> bool {
    entry.kind == EntryKind::ActionRequired && entry.reference == order_id
}
