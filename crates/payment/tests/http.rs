//! The module's routes over a real database: who sees what, pages, tags and sums.

mod common;

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use common::{Bench, START, customer, gbp, given_back, held, taken};
use http_body_util::BodyExt;
use pangaea_contracts::payment::Authorize;
use pangaea_contracts::{Actor, Role};
use pangaea_kernel::auth::TokenVerifier;
use pangaea_kernel::http::{Caller, CommandFuture, Commands, Edge, EdgeParts, access_table};
use pangaea_kernel::{Input, ManualClock, Module, Problem, ProblemKind};
use pangaea_payment::{AuthorizeIntent, CaptureIntent, HttpProvider, Payment, ProviderTimeouts, RefundIntent};
use serde_json::{Value, json};
use tower::ServiceExt;

struct NoWrites;

impl Commands for NoWrites {
    fn submit(&self, _: Input) -> CommandFuture {
        Box::pin(async { Err(Problem::new(ProblemKind::Internal, "this module's routes only read")) })
    }
}

fn module() -> Payment {
    Payment::new(Arc::new(HttpProvider::new("http://127.0.0.1:9", ProviderTimeouts::default()).expect("a usable URL")))
}

async fn ask(bench: &Bench, actor: Actor, path: &str, tag: Option<&str>) -> Response {
    let clock = Arc::new(ManualClock::at(START));
    let parts = EdgeParts {
        database: bench.database.clone(),
        clock: clock.clone(),
        commands: Arc::new(NoWrites),
        verifier: TokenVerifier::new(bench.database.clone(), clock),
        settings: Value::Null,
        changes: tokio::sync::watch::channel(0).1,
    };
    let (router, _) = module().routes().split_for_parts();
    let mut request = Request::get(path).extension(Caller { actor, session_id: String::new() });
    if let Some(tag) = tag {
        request = request.header("if-none-match", tag);
    }
    let request = request.body(Body::empty()).expect("a request");
    router.with_state(Edge::new(parts)).oneshot(request).await.expect("answers")
}

async fn read(bench: &Bench, actor: Actor, path: &str) -> (StatusCode, Value) {
    let response = ask(bench, actor, path, None).await;
    let status = response.status();
    let body = response.into_body().collect().await.expect("ends").to_bytes();
    (status, serde_json::from_slice(&body).expect("JSON"))
}

fn staff() -> Actor {
    Actor::user("usr_9", [Role::Staff])
}

/// `ord_1` is the customer's and paid; `ord_2` to `ord_4` are guests'.
async fn store() -> Bench {
    let mut bench = Bench::new().await;
    bench.authorize("tok_ok").await;
    bench.outcome::<AuthorizeIntent>(held()).await;
    bench.capture().await;
    bench.outcome::<CaptureIntent>(taken()).await;
    bench.refund("ref_1", gbp(250)).await;
    bench.outcome::<RefundIntent>(given_back(250)).await;
    for number in 2..5 {
        let order_id = format!("ord_{number}").parse().expect("an id");
        let message = Authorize { order_id, amount: gbp(10 * number), payment_token: "tok_ok".into() };
        bench.deliver(&message, Actor::user("anonymous", [])).await;
    }
    bench.outcome::<AuthorizeIntent>(held()).await;
    bench
}

#[tokio::test]
async fn balances_are_sums_of_the_ledger() {
    let bench = store().await;
    let (status, body) = read(&bench, staff(), "/v1/payments/ledger/balances").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body, json!({"balances": [{"currency": "GBP", "authorized": 20, "captured": 1000, "refunded": 250}]}));
    let empty = Bench::new().await;
    assert_eq!(read(&empty, staff(), "/v1/payments/ledger/balances").await.1, json!({"balances": []}));
}

#[tokio::test]
async fn a_customer_sees_what_is_theirs_and_nothing_else() {
    let bench = store().await;
    let (_, list) = read(&bench, staff(), "/v1/payments").await;
    let orders: Vec<&str> =
        list["items"].as_array().unwrap().iter().map(|item| item["order_id"].as_str().unwrap()).collect();
    assert_eq!(orders, ["ord_4", "ord_3", "ord_2", "ord_1"]);
    let (_, own) = read(&bench, customer(), "/v1/payments").await;
    assert_eq!(own["items"].as_array().unwrap().len(), 1);
    let payment = &own["items"][0];
    assert_eq!(payment["order_id"], "ord_1");
    assert_eq!(payment["state"], "succeeded");
    assert_eq!(payment["captured"], json!({"amount": 1000, "currency": "GBP"}));
    assert_eq!(payment["refunded"], json!({"amount": 250, "currency": "GBP"}));

    let path = format!("/v1/payments/{}", payment["id"].as_str().unwrap());
    assert_eq!(read(&bench, customer(), &path).await, (StatusCode::OK, payment.clone()));
    let stranger = Actor::user("usr_2", [Role::Customer]);
    let (status, problem) = read(&bench, stranger.clone(), &path).await;
    assert_eq!((status, problem["status"].as_i64()), (StatusCode::NOT_FOUND, Some(404)));
    assert_eq!(read(&bench, stranger.clone(), "/v1/payments?order_id=ord_1").await.1, json!({"items": []}));
    assert_eq!(read(&bench, Actor::user("odd one", [Role::Customer]), "/v1/payments").await.1, json!({"items": []}));
    let guests = format!("/v1/payments/{}", list["items"][0]["id"].as_str().unwrap());
    assert_eq!(read(&bench, stranger, &guests).await.0, StatusCode::NOT_FOUND);
    assert_eq!(read(&bench, staff(), &guests).await.0, StatusCode::OK);
    assert_eq!(read(&bench, staff(), "/v1/payments/pay_none").await.0, StatusCode::NOT_FOUND);
    assert_eq!(read(&bench, staff(), "/v1/payments/nonsense").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn lists_come_in_pages() {
    let bench = store().await;
    let (mut path, mut orders) = ("/v1/payments?limit=3".to_owned(), Vec::new());
    loop {
        let (status, page) = read(&bench, staff(), &path).await;
        assert_eq!(status, StatusCode::OK);
        let items = page["items"].as_array().unwrap().clone();
        orders.extend(items.into_iter().map(|item| item["order_id"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/payments?limit=3&cursor={cursor}");
    }
    assert_eq!(orders, ["ord_4", "ord_3", "ord_2", "ord_1"]);
    let (_, one) = read(&bench, staff(), "/v1/payments?order_id=ord_2").await;
    assert_eq!(one["items"].as_array().unwrap().len(), 1);
    for (bad, status) in
        [("limit=0", 422), ("limit=201", 422), ("order_id=x", 422), ("cursor=x", 400), ("limit=x", 400)]
    {
        assert_eq!(read(&bench, staff(), &format!("/v1/payments?{bad}")).await.0.as_u16(), status, "{bad}");
    }
}

#[tokio::test]
async fn transfers_are_shown_in_order() {
    let bench = store().await;
    let (_, list) = read(&bench, staff(), "/v1/payments?order_id=ord_1").await;
    let path = format!("/v1/payments/{}/ledger", list["items"][0]["id"].as_str().unwrap());
    let (status, first) = read(&bench, staff(), &format!("{path}?limit=4")).await;
    assert_eq!(status, StatusCode::OK);
    let cursor = first["next_cursor"].as_str().expect("there are six");
    let (_, second) = read(&bench, staff(), &format!("{path}?limit=4&cursor={cursor}")).await;
    let items: Vec<Value> =
        [&first, &second].into_iter().flat_map(|page| page["items"].as_array().unwrap().clone()).collect();
    let lines: Vec<String> = items
        .iter()
        .map(|item| {
            ["kind", "state", "debit_account", "credit_account"].map(|name| item[name].as_str().unwrap()).join(" ")
        })
        .collect();
    assert_eq!(lines.len(), 6);
    assert_eq!(lines[1], "authorize posted authorized_holds customer");
    assert_eq!(lines[5], "refund posted customer refunds");
    assert_eq!(items[5]["refund_id"], "ref_1");
    assert_eq!(items[5]["pending_id"], items[4]["id"]);
}

#[tokio::test]
async fn an_unchanged_payment_is_not_sent_again() {
    let mut bench = store().await;
    let (_, list) = read(&bench, staff(), "/v1/payments?order_id=ord_1").await;
    let path = format!("/v1/payments/{}", list["items"][0]["id"].as_str().unwrap());
    let first = ask(&bench, staff(), &path, None).await;
    let tag = first.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(ask(&bench, staff(), &path, Some(&tag)).await.status(), StatusCode::NOT_MODIFIED);
    bench.refund("ref_2", gbp(1)).await;
    assert_eq!(ask(&bench, staff(), &path, Some(&tag)).await.status(), StatusCode::OK);
}

#[test]
fn every_operation_says_who_may_call_it() {
    let (_, document) = module().routes().split_for_parts();
    let table = access_table(&serde_json::to_value(&document).expect("JSON")).expect("sound");
    assert_eq!(table.len(), 4);
    let balances = &table[&("GET".to_owned(), "/v1/payments/ledger/balances".to_owned())];
    assert!(!balances.anonymous && balances.roles == [Role::Staff]);
    assert!(table[&("GET".to_owned(), "/v1/payments/{id}".to_owned())].owner);
}
