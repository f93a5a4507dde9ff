//! Who may do what: every operation of the document, for everybody, as its `x-access` says.

use anyhow::{Context, Result, bail, ensure};
use pangaea_testkit::{Answer, Api, Placement};
use pangaea_tests::{Shop, Sku};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn together() -> Result<()> {
    follows_from_the_document(Placement::TogetherMemory).await
}

#[tokio::test(flavor = "multi_thread")]
async fn apart() -> Result<()> {
    follows_from_the_document(Placement::Apart).await
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    Nobody,
    /// The customer whose order, payment and account the paths name.
    Owner,
    AnotherCustomer,
    Staff,
    Admin,
}

const ASKERS: [Asker; 5] = [Asker::Nobody, Asker::AnotherCustomer, Asker::Owner, Asker::Staff, Asker::Admin];

/// An operation and its `x-access`.
#[derive(Debug)]
struct Operation {
    method: String,
    path: String,
    roles: Vec<String>,
    is_anonymous: bool,
    is_owned: bool,
}

/// What stands for the names in a path.
struct Things {
    order_id: String,
    refund_id: String,
    payment_id: String,
    user_id: String,
    sku: Sku,
}

async fn follows_from_the_document(placement: Placement) -> Result<()> {
    let shop = Shop::open(placement).await?;
    let things = Things::make(&shop).await?;
    let document = shop.store.api().get("/openapi.json").send().await?.expect(200)?.body;
    let operations = operations(&document)?;
    ensure!(operations.len() >= 30, "only {} operations", operations.len());
    let mut faults = Vec::new();
    let mut asked = 0;
    for operation in &operations {
        for asker in ASKERS {
            let answer = things.ask(&shop, operation, asker).await?;
            asked += 1;
            if let Err(fault) = operation.check(asker, &answer) {
                faults.push(format!("{asker:?}: {} {}: {fault}", operation.method, operation.path));
            }
        }
    }
    println!("{placement:?}: {} operations, {asked} requests", operations.len());
    ensure!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    shop.close().await
}

/// Every operation; one without a readable `x-access` is an error, as is an order or payment that anybody may see.
fn operations(document: &Value) -> Result<Vec<Operation>> {
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().context("no paths")? {
        for (method, operation) in item.as_object().context("no operations")? {
            if !["get", "put", "post", "delete", "patch"].contains(&method.as_str()) {
                continue;
            }
            let access =
                operation["x-access"].as_object().with_context(|| format!("{method} {path} has no x-access"))?;
            let flag = |name: &str| access.get(name).is_some_and(|value| value == true);
            let roles = access.get("roles").and_then(Value::as_array).into_iter().flatten();
            let operation = Operation {
                method: method.to_uppercase(),
                path: path.clone(),
                roles: roles.filter_map(|role| role.as_str().map(str::to_owned)).collect(),
                is_anonymous: flag("anonymous"),
                is_owned: flag("owner"),
            };
            ensure!(operation.is_anonymous || !operation.roles.is_empty(), "{operation:?} is for nobody");
            let is_private = path.starts_with("/v1/orders") || path.starts_with("/v1/payments");
            ensure!(!(is_private && operation.is_anonymous), "{operation:?} is for anybody");
            operations.push(operation);
        }
    }
    Ok(operations)
}

// === impl Operation ===

impl Operation {
    /// What the answer must be, from `x-access` alone. A request that is let through may still be refused for what it
    /// says; it is empty on purpose.
    fn check(&self, asker: Asker, answer: &Answer) -> Result<()> {
        let names_a_thing = self.path.contains('{');
        let expected: &[u16] = match asker {
            _ if self.is_anonymous => &[],
            Asker::Nobody => &[401],
            _ if !self.allows(asker) => &[403],
            Asker::AnotherCustomer if self.is_owned && names_a_thing => &[404],
            _ => &[],
        };
        let is_as_expected = match expected {
            [] => !matches!(answer.status, 401 | 403 | 404 | 405) && answer.status < 500,
            expected => expected.contains(&answer.status),
        };
        // Signing in with nothing, and with a token that is none, is refused as such: the operation itself was reached.
        if is_as_expected || self.is_anonymous && self.path.starts_with("/v1/sessions") && answer.status < 500 {
            return Ok(());
        }
        bail!("expected {expected:?} (none: let through), got {}: {}", answer.status, answer.text)
    }

    fn allows(&self, asker: Asker) -> bool {
        let has = |role: &str| self.roles.iter().any(|allowed| allowed == role);
        match asker {
            Asker::Nobody => false,
            Asker::Owner | Asker::AnotherCustomer => has("customer"),
            Asker::Staff => has("staff"),
            // An administrator may do what staff may.
            Asker::Admin => has("admin") || has("staff"),
        }
    }
}

// === impl Things ===

impl Things {
    async fn make(shop: &Shop) -> Result<Self> {
        let sku = shop.new_sku(100, 100).await?;
        let order = shop.confirmed(&sku, 20).await?;
        let order_id = order["id"].as_str().context("no id")?.to_owned();
        let one = serde_json::json!({ "lines": [{ "line": 1, "quantity": 1 }] });
        let refund =
            shop.customer.post(&format!("/v1/orders/{order_id}/refunds"), one).wait(30).send().await?.expect(200)?;
        let me = shop.customer.get("/v1/users/me").send().await?.expect(200)?;
        Ok(Self {
            refund_id: refund.text_at("id")?.to_owned(),
            payment_id: shop.payment_of(&order_id).await?.context("no payment")?,
            user_id: me.text_at("id")?.to_owned(),
            order_id,
            sku,
        })
    }

    async fn ask(&self, shop: &Shop, operation: &Operation, asker: Asker) -> Result<Answer> {
        let api: &Api = match asker {
            Asker::Nobody => shop.store.api(),
            Asker::Owner => &shop.customer,
            Asker::AnotherCustomer => &shop.other,
            Asker::Staff => &shop.staff,
            Asker::Admin => &shop.admin,
        };
        let call = api.call_named(&operation.method, &self.path(operation)?);
        let call = match operation.method.as_str() {
            // Refunds take an empty body as "all of it", so this one is for a single unit.
            "POST" if operation.path.ends_with("/refunds") => {
                call.json(serde_json::json!({ "lines": [{ "line": 1, "quantity": 1 }] }))
            }
            "POST" | "PUT" | "PATCH" => call.json(serde_json::json!({})),
            _ => call,
        };
        let call = if operation.method == "POST" { call.key(&format!("access-{asker:?}")) } else { call };
        call.send().await
    }

    fn path(&self, operation: &Operation) -> Result<String> {
        let path = operation.path.as_str();
        let id = match path.split('/').nth(2) {
            Some("orders") => &self.order_id,
            Some("payments") => &self.payment_id,
            Some("products") => &self.sku.product_id,
            Some("users") => &self.user_id,
            _ => "",
        };
        let filled = path.replace("{id}", id).replace("{refund_id}", &self.refund_id).replace("{sku}", &self.sku.code);
        ensure!(!filled.contains('{'), "the test does not know what stands for a name in {path}: add it to `Things`");
        Ok(filled)
    }
}
