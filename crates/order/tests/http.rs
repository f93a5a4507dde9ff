//! The routes over the real module: what a client sees.

mod support;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use pangaea_contracts::{Actor, OrderId};
use pangaea_kernel::auth::TokenVerifier;
use pangaea_kernel::http::{Caller, CommandFuture, Commands, Edge, EdgeParts, access_table};
use pangaea_kernel::{Done, Input, ManualClock, Module, Work};
use pangaea_order::Order;
use serde_json::{Value, json};
use tokio::sync::{Mutex, watch};
use tower::ServiceExt;

use support::{Rig, TOTAL, customer, staff, stranger};

/// The module behind its routes, without a host.
#[derive(Clone)]
struct Store {
    rig: Arc<Mutex<Rig>>,
    changes: watch::Sender<u64>,
    router: Router,
}

struct Writer {
    rig: Arc<Mutex<Rig>>,
    changes: watch::Sender<u64>,
}

impl Commands for Writer {
    fn submit(&self, command: Input) -> CommandFuture {
        let (rig, changes) = (self.rig.clone(), self.changes.clone());
        Box::pin(async move {
            let done = rig.lock().await.run(vec![Work::Input(command)]).await.remove(0);
            changes.send_modify(|end| *end += 1);
            match done {
                Done::Answered(answer) => Ok(answer),
                other => panic!("{other:?}"),
            }
        })
    }
}

struct Call {
    actor: Actor,
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Option<Value>,
}

fn get(actor: Actor, path: impl Into<String>) -> Call {
    Call { actor, method: "GET", path: path.into(), headers: Vec::new(), body: None }
}

fn post(actor: Actor, path: impl Into<String>, key: &str, body: Option<Value>) -> Call {
    Call { actor, method: "POST", path: path.into(), headers: vec![("idempotency-key", key.into())], body }
}

impl Call {
    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

fn basket() -> Value {
    json!({"lines": [{"sku": "MUG", "quantity": 3}, {"sku": "TEA", "quantity": 1}], "payment_token": "tok_ok"})
}

impl Store {
    async fn new() -> Self {
        let rig = Rig::new().await;
        let database = rig.database.clone();
        let clock = Arc::new(ManualClock::at(rig.now));
        let rig = Arc::new(Mutex::new(rig));
        let (changes, seen) = watch::channel(0);
        let edge = Edge::new(EdgeParts {
            verifier: TokenVerifier::new(database.clone(), clock.clone()),
            database,
            clock,
            commands: Arc::new(Writer { rig: rig.clone(), changes: changes.clone() }),
            settings: Value::Null,
            changes: seen,
        });
        let (router, _) = Order::new().routes().split_for_parts();
        Self { rig, changes, router: router.with_state(edge) }
    }

    async fn send(&self, call: Call) -> Response<Body> {
        let mut request = Request::builder().method(call.method).uri(&call.path);
        for (name, value) in call.headers {
            request = request.header(name, value);
        }
        let caller = Caller { actor: call.actor, session_id: "ses_1".into() };
        let body = match call.body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        self.router.clone().oneshot(request.extension(caller).body(body).unwrap()).await.unwrap()
    }

    async fn ask(&self, call: Call) -> (StatusCode, Value) {
        let response = self.send(call).await;
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    async fn place(&self, key: &str) -> OrderId {
        let (status, order) = self.ask(post(customer(), "/v1/orders", key, Some(basket()))).await;
        assert_eq!(status, 202, "{order}");
        order["id"].as_str().unwrap().parse().unwrap()
    }

    /// Plays stock and payment.
    async fn go_on(&self, order_id: &OrderId, states: &[&str]) {
        for state in states {
            self.rig.lock().await.go_on(order_id, state).await;
            self.changes.send_modify(|end| *end += 1);
        }
    }
}

const ALL: [&str; 4] = ["placed", "reserved", "authorized", "committed"];

#[tokio::test]
async fn an_order_is_placed_and_read() {
    let store = Store::new().await;
    let response = store.send(post(customer(), "/v1/orders", "k1", Some(basket()))).await;
    assert_eq!(response.status(), 202);
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    let (status, order) = store.ask(get(customer(), &location)).await;
    assert_eq!((status.as_u16(), &order["state"], &order["total"]["amount"]), (200, &json!("placed"), &json!(TOTAL)));
    assert!(!order.to_string().contains("tok_ok"));

    let response = store.send(get(customer(), &location)).await;
    let tag = response.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(store.send(get(customer(), &location).with("if-none-match", &tag)).await.status(), 304);
    store.go_on(&order["id"].as_str().unwrap().parse().unwrap(), &["placed"]).await;
    assert_eq!(store.send(get(customer(), &location).with("if-none-match", &tag)).await.status(), 200);

    assert_eq!(store.ask(get(staff(), &location)).await.0, 200);
    for path in ["", "/timeline", "/events", "/refunds"] {
        assert_eq!(store.ask(get(stranger(), format!("{location}{path}"))).await.0, 404, "{path}");
    }
    for path in ["/cancel", "/refunds"] {
        assert_eq!(store.ask(post(stranger(), format!("{location}{path}"), "k2", None)).await.0, 404, "{path}");
    }
    assert_eq!(store.ask(get(customer(), "/v1/orders/ord_none")).await.0, 404);
    assert_eq!(store.ask(get(customer(), "/v1/orders/nonsense")).await.0, 404);
}

#[tokio::test]
async fn bad_input_is_told_what_to_do() {
    let store = Store::new().await;
    let refused = |body: Value, actor: Actor| {
        let store = store.clone();
        async move { store.ask(post(actor, "/v1/orders", "k", Some(body))).await }
    };
    let line = json!({"sku": "MUG", "quantity": 1, "unit_price": {"amount": 1, "currency": "GBP"}});
    let priced = json!({"lines": [line], "payment_token": "tok_ok"});
    let (status, problem) = refused(priced.clone(), customer()).await;
    assert_eq!((status.as_u16(), &problem["errors"][0]["pointer"]), (403, &json!("/lines/0/unit_price")));
    let mut referenced = basket();
    referenced["customer_reference"] = json!("17850");
    assert_eq!(refused(referenced, customer()).await.0, 403);
    let (status, problem) = refused(json!({"lines": [], "payment_token": "tok_ok"}), customer()).await;
    assert_eq!((status.as_u16(), &problem["errors"][0]["pointer"]), (422, &json!("/lines")));
    let (status, problem) =
        refused(json!({"lines": [{"sku": "MUG", "quantity": "1"}], "payment_token": "t"}), customer()).await;
    assert_eq!((status.as_u16(), &problem["errors"][0]["pointer"]), (422, &json!("/lines/0/quantity")));
    let mut unknown = basket();
    unknown["colour"] = json!("red");
    assert_eq!(refused(unknown, customer()).await.0, 422);
    let call = Call { headers: vec![], ..post(customer(), "/v1/orders", "", Some(basket())) };
    assert_eq!(store.ask(call).await.0, 400);
    assert_eq!(refused(priced, staff()).await.0, 202);
}

#[tokio::test]
async fn one_key_one_order_and_another_body_is_refused() {
    let store = Store::new().await;
    let first = store.ask(post(customer(), "/v1/orders", "same", Some(basket()))).await;
    assert_eq!(store.ask(post(customer(), "/v1/orders", "same", Some(basket()))).await, first);
    let mut other = basket();
    other["lines"][0]["quantity"] = json!(4);
    assert_eq!(store.ask(post(customer(), "/v1/orders", "same", Some(other))).await.0, 422);
}

#[tokio::test]
async fn a_caller_may_wait_for_the_end() {
    let store = Store::new().await;
    let waiting = {
        let store = store.clone();
        tokio::spawn(async move {
            store.send(post(customer(), "/v1/orders", "k", Some(basket())).with("prefer", "wait=30")).await
        })
    };
    let order_id: OrderId = loop {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let found = store.rig.lock().await.texts("SELECT id FROM orders").await;
        if let Some(Some(id)) = found.first() {
            break id.parse().unwrap();
        }
    };
    store.go_on(&order_id, &ALL).await;
    let response = waiting.await.unwrap();
    assert_eq!(
        (response.status().as_u16(), response.headers()["preference-applied"].to_str().unwrap()),
        (200, "wait=30")
    );
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["state"], "confirmed");
    // A repeat of the settled order is answered at once, and one that does not settle gets the 202 in the end.
    let repeat = post(customer(), "/v1/orders", "k", Some(basket())).with("prefer", "wait=30");
    let repeated = store.send(repeat).await;
    assert_eq!((repeated.status().as_u16(), repeated.headers()["idempotent-replayed"].as_bytes()), (200, &b"true"[..]));
    let unsettled = store.send(post(customer(), "/v1/orders", "k2", Some(basket())).with("prefer", "wait=1")).await;
    assert_eq!(unsettled.status(), 202);
    assert!(!unsettled.headers().contains_key("preference-applied"));
}

#[tokio::test]
async fn an_order_is_cancelled_or_refunded() {
    let store = Store::new().await;
    let order_id = store.place("k1").await;
    let path = format!("/v1/orders/{order_id}");
    assert_eq!(store.ask(post(customer(), format!("{path}/refunds"), "r0", None)).await.0, 409);
    store.go_on(&order_id, &ALL).await;
    assert_eq!(store.ask(post(customer(), format!("{path}/cancel"), "c1", None)).await.0, 409);
    let wanted = json!({"lines": [{"line": 1, "quantity": 1}], "restock": true});
    assert_eq!(store.ask(post(customer(), format!("{path}/refunds"), "r1", Some(wanted.clone()))).await.0, 403);
    let (status, refund) = store.ask(post(staff(), format!("{path}/refunds"), "r2", Some(wanted))).await;
    assert_eq!((status.as_u16(), &refund["amount"]["amount"], &refund["restock"]), (202, &json!(850), &json!(true)));
    let zero = json!({"lines": [{"line": 1, "quantity": 0}]});
    assert_eq!(store.ask(post(staff(), format!("{path}/refunds"), "r3", Some(zero))).await.0, 422);
    let (_, read) = store.ask(get(customer(), format!("{path}/refunds/{}", refund["id"].as_str().unwrap()))).await;
    assert_eq!(read, refund);
    let (_, list) = store.ask(get(customer(), format!("{path}/refunds"))).await;
    assert_eq!(list["items"], json!([refund]));

    let second = store.place("k2").await;
    let body = json!({"reason": "changed my mind"});
    let (status, order) = store.ask(post(customer(), format!("/v1/orders/{second}/cancel"), "c2", Some(body))).await;
    assert_eq!((status.as_u16(), &order["state"]), (202, &json!("cancelling")));
    assert_eq!(order["reason"], json!({"code": "cancelled_by_customer", "detail": "changed my mind"}));
    // Another order's refund is not found under this one.
    let (status, _) =
        store.ask(get(customer(), format!("/v1/orders/{second}/refunds/{}", refund["id"].as_str().unwrap()))).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn lists_are_ones_own_and_come_in_pages() {
    let store = Store::new().await;
    let mut placed = Vec::new();
    for index in 0..5 {
        placed.insert(0, store.place(&format!("k{index}")).await.to_string());
        store.rig.lock().await.pass(1).await;
    }
    let mut of_staff = basket();
    of_staff["customer_reference"] = json!("a b&c");
    store.ask(post(staff(), "/v1/orders", "s", Some(of_staff))).await;

    let (mut found, mut path) = (Vec::new(), "/v1/orders?limit=2".to_owned());
    loop {
        let response = store.send(get(customer(), &path)).await;
        let link = response.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let page: Value = serde_json::from_slice(&body).unwrap();
        found.extend(page["items"].as_array().unwrap().iter().map(|order| order["id"].as_str().unwrap().to_owned()));
        let Some(link) = link else { break };
        path = link[1..link.find('>').unwrap()].to_owned();
    }
    assert_eq!(found, placed);

    let count = |actor: Actor, query: &'static str| {
        let store = store.clone();
        async move {
            let (status, page) = store.ask(get(actor, format!("/v1/orders{query}"))).await;
            (status.as_u16(), page["items"].as_array().map_or(0, Vec::len))
        }
    };
    assert_eq!(count(stranger(), "").await, (200, 0));
    assert_eq!(count(staff(), "").await, (200, 6));
    assert_eq!(count(staff(), "?customer_id=usr_alice").await, (200, 5));
    assert_eq!(count(staff(), "?customer_reference=a%20b%26c").await, (200, 1));
    assert_eq!(count(staff(), "?state=confirmed").await, (200, 0));
    assert_eq!(count(staff(), "?state=placed&limit=200").await, (200, 6));
    assert_eq!(count(customer(), "?customer_reference=x").await.0, 403);
    assert_eq!(count(staff(), "?state=nowhere").await.0, 422);
    assert_eq!(count(staff(), "?limit=201").await.0, 422);
    assert_eq!(count(staff(), "?cursor=x").await.0, 400);
    assert_eq!(count(staff(), "?colour=red").await.0, 400);
}

#[tokio::test]
async fn the_timeline_streams_to_its_end_and_resumes() {
    let store = Store::new().await;
    let order_id = store.place("k").await;
    let path = format!("/v1/orders/{order_id}/events");
    let response = store.send(get(customer(), &path)).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let reading = tokio::spawn(async move { response.into_body().collect().await.unwrap().to_bytes() });
    for state in ALL {
        tokio::time::sleep(Duration::from_millis(20)).await;
        store.go_on(&order_id, &[state]).await;
    }
    let text = String::from_utf8(reading.await.unwrap().to_vec()).unwrap();
    let ids: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    let events: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert_eq!(
        (ids.as_slice(), events.as_slice()),
        (&["1", "2", "3", "4", "5"][..], &["placed", "reserved", "authorized", "committed", "confirmed"][..])
    );

    let response = store.send(get(customer(), &path).with("last-event-id", "3")).await;
    let text = String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
    assert_eq!(text.lines().filter(|line| line.starts_with("id: ")).collect::<Vec<_>>(), ["id: 4", "id: 5"]);
    assert_eq!(store.send(get(customer(), &path).with("last-event-id", "5")).await.status(), 204);
    assert_eq!(store.send(get(customer(), &path).with("last-event-id", "x")).await.status(), 400);

    let (_, page) = store.ask(get(customer(), format!("/v1/orders/{order_id}/timeline?limit=2"))).await;
    assert_eq!(page["items"][1]["event"], "reserved");
    let cursor = page["next_cursor"].as_str().unwrap();
    let (_, page) = store.ask(get(customer(), format!("/v1/orders/{order_id}/timeline?cursor={cursor}"))).await;
    assert_eq!((page["items"].as_array().unwrap().len(), &page["items"][0]["seq"]), (3, &json!(3)));
}

#[tokio::test]
async fn every_route_says_who_may_call_it() {
    let (_, document) = Order::new().routes().split_for_parts();
    let table = access_table(&serde_json::to_value(&document).unwrap()).unwrap();
    assert_eq!(table.len(), 9);
    assert!(table.values().all(|access| !access.anonymous && access.owner));
}
