//! What holds for every route: keys, tags, limits, traces, the document.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use pangaea_testkit::Call;
use serde_json::{Value, json};

use super::ordering::id_of;
use crate::shop::pence;
use crate::{Shop, ask_to_place, order_body};

const COPIES: usize = 100;

/// The routes as the project's API description has them, kept apart from the code on purpose: a route that is lost, or
/// comes without anybody noticing, fails here.
const ROUTES: &[&str] = &[
    "DELETE /v1/products/{id}",
    "DELETE /v1/sessions",
    "DELETE /v1/sessions/current",
    "GET /.well-known/jwks.json",
    "GET /v1/orders",
    "GET /v1/orders/{id}",
    "GET /v1/orders/{id}/events",
    "GET /v1/orders/{id}/refunds",
    "GET /v1/orders/{id}/refunds/{refund_id}",
    "GET /v1/orders/{id}/timeline",
    "GET /v1/payments",
    "GET /v1/payments/ledger/balances",
    "GET /v1/payments/{id}",
    "GET /v1/payments/{id}/ledger",
    "GET /v1/products",
    "GET /v1/products/{id}",
    "GET /v1/skus/{sku}",
    "GET /v1/skus/{sku}/prices",
    "GET /v1/users",
    "GET /v1/users/me",
    "GET /v1/users/{id}",
    "PATCH /v1/products/{id}",
    "PATCH /v1/users/me",
    "POST /v1/orders",
    "POST /v1/orders/{id}/cancel",
    "POST /v1/orders/{id}/refunds",
    "POST /v1/products",
    "POST /v1/products/bulk",
    "POST /v1/sessions",
    "POST /v1/sessions/refresh",
    "POST /v1/skus/{sku}/adjustments",
    "POST /v1/users",
    "PUT /v1/skus/{sku}/price",
    "PUT /v1/users/{id}/roles",
];

pub(super) async fn idempotency_keys(shop: &Shop) -> Result<()> {
    let sku = shop.new_sku(5, 100).await?;
    let ask = |quantity| ask_to_place(&shop.customer, &[(&sku.code, quantity)], "tok_ok");
    ask(1).without("idempotency-key").send().await?.expect_problem(400, "idempotency-key-missing")?;
    let long = "k".repeat(256);
    ask(1).key(&long).send().await?.expect_problem(400, "malformed-request")?;
    let first = ask(1).key("mine").send().await?.expect(202)?;
    shop.settled(&shop.customer, first.text_at("id")?).await?;
    let again = ask(1).key("mine").send().await?.expect(202)?;
    ensure!(again.body == first.body, "{} is not {}", again.text, first.text);
    ask(2).key("mine").send().await?.expect_problem(422, "idempotency-key-reused")?;
    // Another's key is another key.
    let others = ask_to_place(&shop.other, &[(&sku.code, 1)], "tok_ok").key("mine").send().await?.expect(202)?;
    ensure!(others.body["id"] != first.body["id"], "{}", others.text);
    // A refusal is an answer too.
    let refuse = || ask_to_place(&shop.customer, &[("NEVER-SOLD", 1)], "tok_ok").key("refused");
    let (one, two) = (refuse().send().await?.expect(422)?, refuse().send().await?.expect(422)?);
    ensure!(one.body == two.body, "{} is not {}", two.text, one.text);
    Ok(())
}

pub(super) async fn one_hundred_copies(shop: &Shop) -> Result<()> {
    let sku = shop.new_sku(1_000, 300).await?;
    let mut body = order_body(&[(&sku.code, 2)], "tok_ok");
    body["customer_reference"] = json!("one hundred copies");
    let copy = |body: &Value| shop.staff.post("/v1/orders", body.clone()).key("one hundred copies");
    let sent: Vec<_> = (0..COPIES).map(|_| tokio::spawn(copy(&body).send())).collect();
    let mut answers = Vec::new();
    for sent in sent {
        answers.push(sent.await??.expect(202)?);
    }
    let first = answers.first().context("no answers")?;
    for answer in &answers {
        ensure!(answer.body == first.body, "{} is not {}", answer.text, first.text);
    }
    body["lines"][0]["quantity"] = json!(3);
    copy(&body).send().await?.expect_problem(422, "idempotency-key-reused")?;
    let id = id_of(&first.body)?;
    let order = shop.settled(&shop.staff, id).await?;
    ensure!(order["state"] == "confirmed", "{order}");
    let list = shop.staff.get("/v1/orders?customer_reference=one%20hundred%20copies").send().await?.expect(200)?;
    ensure!(list.body["items"].as_array().map(Vec::len) == Some(1), "{}", list.text);
    ensure!(shop.stock(&sku).await? == (998, 0), "{:?}", shop.stock(&sku).await?);
    let ledger = shop.store.ledger()?;
    let reference = ledger.references.get(id).context("no charge")?;
    ensure!(reference.captures == 1 && reference.intents.len() == 1, "{reference:?}");
    ensure!(shop.charged(id)? == (600, 0));
    Ok(())
}

pub(super) async fn changes_need_a_tag(shop: &Shop) -> Result<()> {
    let sku = shop.new_sku(1, 100).await?;
    let product = format!("/v1/products/{}", sku.product_id);
    let price = format!("/v1/skus/{}/price", sku.code);
    let change = || -> [(&str, Call); 3] {
        [
            ("PATCH", shop.staff.call_named("PATCH", &product).json(json!({ "description": "Changed." }))),
            ("PUT", shop.staff.call_named("PUT", &price).json(pence(200))),
            ("PATCH", shop.customer.call_named("PATCH", "/v1/users/me").json(json!({ "name": "Demo Customer" }))),
        ]
    };
    for (method, call) in change() {
        call.send().await?.expect_problem(428, "precondition-required").context(method)?;
    }
    for (method, call) in change() {
        let stale = call.header("if-match", "\"999999\"").send().await?;
        stale.expect_problem(412, "precondition-failed").context(method)?;
    }
    let reads = [&product, &format!("/v1/skus/{}", sku.code), "/v1/users/me"];
    for ((_, call), path) in change().into_iter().zip(reads) {
        let api = if path == "/v1/users/me" { &shop.customer } else { &shop.staff };
        let read = api.get(path).send().await?.expect(200)?;
        let changed = call.header("if-match", read.required("etag")?).send().await?.expect(200)?;
        ensure!(
            changed.required("etag")? != read.required("etag")?,
            "{path}: the tag is still {:?}",
            read.header("etag")
        );
    }
    Ok(())
}

pub(super) async fn rate_limits(shop: &Shop) -> Result<()> {
    for api in [&shop.customer, &shop.staff, shop.store.api()] {
        let answer = api.get("/v1/products?limit=1").send().await?.expect(200)?;
        let policy = answer.required("ratelimit-policy")?;
        ensure!(policy.contains(";q=") && policy.contains(";w=60"), "{policy}");
        let limit = answer.required("ratelimit")?;
        ensure!(limit.contains(";r="), "{limit}");
    }
    Ok(())
}

pub(super) async fn trace_context(shop: &Shop) -> Result<()> {
    let trace_id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let given = format!("00-{trace_id}-00f067aa0ba902b7-01");
    let answer = shop.customer.get("/v1/products?limit=1").header("traceparent", &given).send().await?.expect(200)?;
    let parts: Vec<&str> = answer.required("traceparent")?.split('-').collect();
    ensure!(parts.len() == 4 && parts[1] == trace_id, "{parts:?}");
    for nonsense in [None, Some("nonsense"), Some("00-00000000000000000000000000000000-0000000000000000-01")] {
        let call = shop.customer.get("/v1/products?limit=1");
        let call = match nonsense {
            Some(nonsense) => call.header("traceparent", nonsense),
            None => call,
        };
        let answer = call.send().await?.expect(200)?;
        let made: Vec<&str> = answer.required("traceparent")?.split('-').collect();
        let is_new = made.len() == 4 && made[1].len() == 32 && made[1].bytes().any(|byte| byte != b'0');
        ensure!(is_new, "{nonsense:?} became {made:?}");
    }
    Ok(())
}

pub(super) async fn every_route_is_documented(shop: &Shop) -> Result<()> {
    let document = shop.store.api().get("/openapi.json").send().await?.expect(200)?.body;
    ensure!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")), "{}", document["openapi"]);
    let found = operations(&document);
    let expected: BTreeSet<String> = ROUTES.iter().map(ToString::to_string).collect();
    let missing: Vec<_> = expected.difference(&found).collect();
    let unknown: Vec<_> = found.difference(&expected).collect();
    ensure!(missing.is_empty() && unknown.is_empty(), "not in the document: {missing:?}; not in the list: {unknown:?}");
    Ok(())
}

/// The operations of an OpenAPI document, as `METHOD /path`.
fn operations(document: &Value) -> BTreeSet<String> {
    let paths = document["paths"].as_object().into_iter().flatten();
    let of_path = |(path, item): (&String, &Value)| {
        let methods = item.as_object().into_iter().flat_map(|item| item.keys());
        let methods = methods.filter(|method| ["get", "put", "post", "delete", "patch"].contains(&method.as_str()));
        methods.map(|method| format!("{} {path}", method.to_uppercase())).collect::<Vec<_>>()
    };
    paths.flat_map(of_path).collect()
}

pub(super) async fn unknown_paths(shop: &Shop) -> Result<()> {
    shop.customer.get("/v1/nothing").send().await?.expect_problem(404, "not-found")?;
    shop.customer.get("/v1/orders/not-an-id").send().await?.expect_problem(404, "not-found")?;
    shop.customer.get("/v1/products/prod_nothing").send().await?.expect_problem(404, "not-found")?;
    shop.customer.call_named("PUT", "/v1/orders").send().await?.expect_problem(405, "method-not-allowed")?;
    Ok(())
}
