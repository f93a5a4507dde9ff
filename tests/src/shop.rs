use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use pangaea_testkit::{Account, Answer, Api, Call, Placement, Store, StoreBuilder, eventually};
use serde_json::{Value, json};

/// How long an order may take to settle. A slow machine with many processes needs a part of it.
const SETTLED_MAX: Duration = Duration::from_secs(60);
/// How long another module may take to learn of something.
const KNOWN_MAX: Duration = Duration::from_secs(30);
/// `Prefer: wait=N`.
const WAIT_SECONDS: u32 = 30;

/// A running store and its people.
pub struct Shop {
    pub store: Store,
    pub customer: Api,
    /// Another customer, with an account opened for this test.
    pub other: Api,
    pub staff: Api,
    pub admin: Api,
}

/// A SKU that no other test uses.
#[derive(Clone, Debug)]
pub struct Sku {
    pub code: String,
    pub id: String,
    pub product_id: String,
}

// === impl Shop ===

impl Shop {
    pub async fn open(placement: Placement) -> Result<Self> {
        Self::open_with(Store::builder(placement)).await
    }

    pub async fn open_with(builder: StoreBuilder) -> Result<Self> {
        Self::of(builder.start().await?).await
    }

    /// Signs everybody in.
    pub async fn of(store: Store) -> Result<Self> {
        let customer = store.customer().await?;
        let staff = store.staff().await?;
        let admin = store.api().sign_in(Account::ADMIN).await?;
        let other = register(store.api(), "other").await?;
        Ok(Self { store, customer, other, staff, admin })
    }

    /// A new product with one SKU, once order knows its price too.
    pub async fn new_sku(&self, stock: i64, price_pence: i64) -> Result<Sku> {
        static SKUS: AtomicU32 = AtomicU32::new(0);
        let code = format!("E2E-{}", SKUS.fetch_add(1, Ordering::Relaxed));
        self.new_sku_as(&code, stock, price_pence).await
    }

    /// The same, under a code that is the same in every run.
    pub async fn new_sku_as(&self, code: &str, stock: i64, price_pence: i64) -> Result<Sku> {
        let product = json!({
            "name": format!("Thing {code}"),
            "description": "Made for a test.",
            "categories": ["Tests"],
            "variants": [{ "code": code, "price": pence(price_pence), "stock": stock }],
        });
        let created = self.staff.post("/v1/products", product).send().await?.expect(201)?;
        let text = |value: &Value| value.as_str().map(str::to_owned).context("a product without ids");
        let sku = Sku {
            id: text(&created.body["variants"][0]["sku_id"])?,
            product_id: text(&created.body["id"])?,
            code: code.to_owned(),
        };
        self.wait_orderable(&sku).await?;
        Ok(sku)
    }

    /// Order learns of prices by events. Asking with a second line that is never sold tells whether the first line is
    /// known, and places nothing.
    async fn wait_orderable(&self, sku: &Sku) -> Result<()> {
        let what = format!("{} to be known to order", sku.code);
        eventually(&what, KNOWN_MAX, async || {
            let body = order_body(&[(&sku.code, 1), ("NEVER-SOLD", 1)], "tok_ok");
            let refused = self.staff.post("/v1/orders", body).send().await?.expect(422)?;
            Ok((!refused.pointers().contains(&"/lines/0/sku")).then_some(()))
        })
        .await
    }

    /// Places an order of the demo customer's and waits until it has settled.
    pub async fn place(&self, lines: &[(&str, i64)], token: &str) -> Result<Value> {
        let placed = ask_to_place(&self.customer, lines, token).wait(WAIT_SECONDS).send().await?;
        self.settled(&self.customer, placed.expect_any(&[200, 202])?.text_at("id")?).await
    }

    /// A confirmed order of one SKU.
    pub async fn confirmed(&self, sku: &Sku, quantity: i64) -> Result<Value> {
        let order = self.place(&[(&sku.code, quantity)], "tok_ok").await?;
        if order["state"] != "confirmed" {
            bail!("an order that should have been confirmed: {order}");
        }
        Ok(order)
    }

    pub async fn settled(&self, api: &Api, order_id: &str) -> Result<Value> {
        settled(api, order_id, SETTLED_MAX).await
    }

    /// Waits until an order is in this state.
    pub async fn reaches(&self, api: &Api, order_id: &str, state: &str) -> Result<Value> {
        let what = format!("order {order_id} to be {state}");
        eventually(&what, SETTLED_MAX, async || {
            let order = api.get(&format!("/v1/orders/{order_id}")).send().await?.expect(200)?.body;
            if is_settled(&order) && order["state"] != state {
                bail!("order {order_id} should become {state}: {order}");
            }
            Ok((order["state"] == state).then_some(order))
        })
        .await
    }

    /// `on_hand` and `reserved` of a SKU.
    pub async fn stock(&self, sku: &Sku) -> Result<(i64, i64)> {
        let read = self.staff.get(&format!("/v1/skus/{}", sku.code)).send().await?.expect(200)?;
        let number = |key: &str| read.body[key].as_i64().with_context(|| format!("no {key} in {}", read.text));
        Ok((number("on_hand")?, number("reserved")?))
    }

    /// Waits until `on_hand` and `reserved` are these: what an order gives back may come just after it has settled.
    pub async fn stock_becomes(&self, sku: &Sku, expected: (i64, i64)) -> Result<()> {
        let mut last = (0, 0);
        let found = eventually("the stock", KNOWN_MAX, async || {
            last = self.stock(sku).await?;
            Ok((last == expected).then_some(()))
        });
        found.await.with_context(|| format!("{}: on hand and reserved are {last:?}, not {expected:?}", sku.code))
    }

    /// The `event`s of an order's timeline.
    pub async fn timeline(&self, order_id: &str) -> Result<Vec<String>> {
        let page = self.staff.get(&format!("/v1/orders/{order_id}/timeline")).send().await?.expect(200)?;
        let entries = page.body["items"].as_array().context("a timeline without items")?;
        Ok(entries.iter().filter_map(|entry| entry["event"].as_str().map(str::to_owned)).collect())
    }

    /// The id of an order's payment; none when no money was ever asked for.
    pub async fn payment_of(&self, order_id: &str) -> Result<Option<String>> {
        let page = self.staff.get(&format!("/v1/payments?order_id={order_id}")).send().await?.expect(200)?;
        let items = page.body["items"].as_array().context("no items")?;
        ensure!(items.len() <= 1, "several payments of one order: {}", page.text);
        Ok(items.first().and_then(|payment| payment["id"].as_str().map(str::to_owned)))
    }

    /// What the provider has captured and refunded for an order, in minor units. Its books name the order.
    pub fn charged(&self, order_id: &str) -> Result<(i128, i128)> {
        let ledger = self.store.ledger()?;
        let amounts = ledger.references.get(order_id).into_iter().flat_map(|reference| reference.amounts.values());
        Ok(amounts.fold((0, 0), |(captured, refunded), of| (captured + of.captured, refunded + of.refunded)))
    }

    /// The end of every test: nothing is wrong, and everything stops when asked to.
    pub async fn close(self) -> Result<()> {
        self.store.verify().await?;
        self.store.stop().await
    }
}

/// Opens an account and signs in.
pub(crate) async fn register(api: &Api, name: &str) -> Result<Api> {
    static PEOPLE: AtomicU32 = AtomicU32::new(0);
    let email = format!("{name}-{}@example.com", PEOPLE.fetch_add(1, Ordering::Relaxed));
    let password = "a long enough password";
    let body = json!({ "email": email, "password": password, "name": name });
    api.post("/v1/users", body).send().await?.expect(201)?;
    api.sign_in_as(&email, password).await
}

/// A request that places an order, to be sent.
pub fn ask_to_place(api: &Api, lines: &[(&str, i64)], token: &str) -> Call {
    api.post("/v1/orders", order_body(lines, token))
}

pub fn order_body(lines: &[(&str, i64)], token: &str) -> Value {
    let lines: Vec<Value> = lines.iter().map(|(sku, quantity)| json!({ "sku": sku, "quantity": quantity })).collect();
    json!({ "lines": lines, "payment_token": token })
}

/// Waits until an order has settled.
///
/// # Errors
/// When it has not `within`.
pub async fn settled(api: &Api, order_id: &str, within: Duration) -> Result<Value> {
    let mut last = Value::Null;
    let what = format!("order {order_id} to settle");
    let found = eventually(&what, within, async || {
        let answer: Answer = api.get(&format!("/v1/orders/{order_id}")).send().await?.expect(200)?;
        last = answer.body;
        Ok(is_settled(&last).then_some(()))
    });
    found.await.with_context(|| format!("last: {last}"))?;
    Ok(last)
}

/// Whether an order's state is an end.
pub fn is_settled(order: &Value) -> bool {
    ["confirmed", "cancelled", "refunded", "manual_review"].iter().any(|state| order["state"] == *state)
}

pub(crate) fn pence(amount: i64) -> Value {
    json!({ "amount": amount, "currency": "GBP" })
}
