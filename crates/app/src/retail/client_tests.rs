//! The client against a real HTTP server on loopback that is busy, breaks connections and forgets tokens.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::json;
use tokio::net::TcpListener;

use super::StoreArgs;
use super::answer::Failure;
use super::client::Client;

/// What the server saw and what it will answer next, last one first.
#[derive(Default)]
struct Script {
    sign_ins: usize,
    lifetime_s: u64,
    keys: Vec<String>,
    tokens: Vec<String>,
    answers: Vec<fn() -> Response>,
}

type Shared = Arc<Mutex<Script>>;

fn header(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

async fn sign_in(State(script): State<Shared>) -> Response {
    let mut script = script.lock().unwrap_or_else(PoisonError::into_inner);
    script.sign_ins += 1;
    let token = json!({ "access_token": format!("token-{}", script.sign_ins), "expires_in": script.lifetime_s });
    (StatusCode::CREATED, axum::Json(token)).into_response()
}

async fn work(State(script): State<Shared>, headers: HeaderMap) -> Response {
    let mut script = script.lock().unwrap_or_else(PoisonError::into_inner);
    script.keys.push(header(&headers, "idempotency-key"));
    script.tokens.push(header(&headers, "authorization"));
    let answer = script.answers.pop();
    answer.map_or_else(|| axum::Json(json!({ "done": true })).into_response(), |answer| answer())
}

/// Serves the script on a free port until the test ends.
async fn serve(answers: Vec<fn() -> Response>) -> (Shared, Client) {
    let script = Arc::new(Mutex::new(Script { answers, lifetime_s: 600, ..Script::default() }));
    let routes = Router::new().route("/v1/sessions", post(sign_in)).route("/v1/work", post(work));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let app = routes.with_state(script.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let args = StoreArgs { url, email: "staff@shop.example".into(), password: "secret".into() };
    let client = Client::sign_in(&args, 4).await.expect("the server takes any password");
    (script, client)
}

fn busy() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "0")]).into_response()
}

fn limited() -> Response {
    StatusCode::TOO_MANY_REQUESTS.into_response()
}

/// Cuts the connection inside the body: the work may be done, its answer is lost.
fn lost() -> Response {
    (StatusCode::OK, [("content-length", "100")], "{").into_response()
}

fn conflict() -> Response {
    (StatusCode::CONFLICT, axum::Json(json!({ "title": "still in flight" }))).into_response()
}

fn token_unknown() -> Response {
    StatusCode::UNAUTHORIZED.into_response()
}

#[tokio::test]
async fn every_try_carries_the_same_key_until_there_is_an_answer() {
    // Answered in reverse: busy, limited, lost, then a conflict that only says that the lost try is still in flight.
    let (script, client) = serve(vec![conflict, lost, limited, busy]).await;
    let answer = client.post("/v1/work", "one-key", &json!({})).await.expect("the fifth try succeeds");
    assert_eq!(answer.body["done"], true);
    let script = script.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(script.keys, ["one-key"; 5]);
    assert_eq!(script.sign_ins, 1);
}

#[tokio::test]
async fn a_conflict_without_a_lost_answer_is_the_stores_decision() {
    let (script, client) = serve(vec![conflict]).await;
    let failure = client.post("/v1/work", "one-key", &json!({})).await.expect_err("refused");
    assert!(
        matches!(&failure, Failure::Refused { status: 409, detail, .. } if detail == "still in flight"),
        "{failure}"
    );
    assert_eq!(script.lock().unwrap_or_else(PoisonError::into_inner).keys.len(), 1);
}

#[tokio::test]
async fn a_token_that_is_no_longer_taken_is_renewed_once() {
    let (script, client) = serve(vec![token_unknown, token_unknown, token_unknown]).await;
    let failure = client.post("/v1/work", "first", &json!({})).await.expect_err("refused twice");
    assert!(matches!(failure, Failure::Refused { status: 401, .. }), "{failure}");
    client.post("/v1/work", "second", &json!({})).await.expect("taken after one renewal");
    let script = script.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(script.tokens, ["Bearer token-1", "Bearer token-2", "Bearer token-2", "Bearer token-3"]);
    assert_eq!(script.sign_ins, 3);
}

#[tokio::test]
async fn a_token_is_renewed_before_it_expires() {
    let (script, client) = serve(Vec::new()).await;
    // The first token lives ten minutes, the second has no time left when it arrives.
    script.lock().unwrap_or_else(PoisonError::into_inner).answers = vec![token_unknown];
    script.lock().unwrap_or_else(PoisonError::into_inner).lifetime_s = 0;
    for _ in 0..2 {
        client.post("/v1/work", "key", &json!({})).await.expect("answered");
    }
    let script = script.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(script.tokens, ["Bearer token-1", "Bearer token-2", "Bearer token-3"]);
}

#[tokio::test]
async fn an_address_that_cannot_be_right_is_refused_at_once() {
    for (url, expected) in [("https://shop.example", "must look like http://"), ("not a url", "is not a URL")] {
        let args = StoreArgs { url: url.into(), email: "a@b.example".into(), password: "secret".into() };
        let error = Client::sign_in(&args, 1).await.err().map(|error| format!("{error:#}")).unwrap_or_default();
        assert!(error.contains(expected), "{url} gave {error:?}");
    }
}

#[tokio::test]
async fn a_store_that_is_not_running_is_told_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let args = StoreArgs { url, email: "a@b.example".into(), password: "secret".into() };
    let begun = std::time::Instant::now();
    let error = Client::sign_in(&args, 1).await.err().map(|error| format!("{error:#}")).unwrap_or_default();
    assert!(error.contains("is the store running"), "{error:?}");
    assert!(begun.elapsed().as_secs() < 5, "took {:?}", begun.elapsed());
}
