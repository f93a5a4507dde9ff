//! What the provider refuses, and how it says so.

mod common;

use common::{Running, intent_body};
use pangaea_simulator::SimulatorConfig;
use serde_json::{Value, json};

#[tokio::test]
async fn capture_stays_within_the_authorization() {
    let provider = Running::start(SimulatorConfig::default()).await;
    let intent = provider.authorize("a", "tok_ok", 1_000).await;
    let over = provider.capture("c1", intent.id(), json!({"amount": 1_001})).await;
    assert_eq!((over.status, over.code()), (422, "amount_too_large"));
    let part = provider.capture("c2", intent.id(), json!({"amount": 600})).await;
    assert_eq!((part.status, &part.body["amount_captured"]), (200, &json!(600)));
    let again = provider.capture("c3", intent.id(), json!({"amount": 400})).await;
    assert_eq!((again.status, again.code()), (409, "intent_not_capturable"));
    provider.stop().await;
}

#[tokio::test]
async fn refunds_stay_within_the_capture() {
    let provider = Running::start(SimulatorConfig::default()).await;
    let intent = provider.authorize("a", "tok_ok", 1_000).await;
    let early = provider.refund("r0", intent.id(), 1).await;
    assert_eq!((early.status, early.code()), (409, "intent_not_refundable"));
    provider.capture("c", intent.id(), json!({"amount": 600})).await;
    assert_eq!(provider.refund("r1", intent.id(), 400).await.status, 200);
    let over = provider.refund("r2", intent.id(), 201).await;
    assert_eq!((over.status, over.code()), (422, "refund_exceeds_captured"));
    assert_eq!(provider.refund("r3", intent.id(), 200).await.status, 200);
    let empty = provider.refund("r4", intent.id(), 1).await;
    assert_eq!((empty.status, empty.code()), (422, "refund_exceeds_captured"));
    let missing = provider.refund("r5", "pi_none", 1).await;
    assert_eq!((missing.status, missing.code()), (404, "intent_not_found"));
    provider.stop().await;
}

#[tokio::test]
async fn cancel_works_only_before_a_capture() {
    let provider = Running::start(SimulatorConfig::default()).await;
    let missing = provider.cancel("v0", "pi_none").await;
    assert_eq!((missing.status, missing.code()), (404, "intent_not_found"));
    let intent = provider.authorize("a", "tok_ok", 1_000).await;
    provider.capture("c", intent.id(), json!({})).await;
    let late = provider.cancel("v1", intent.id()).await;
    assert_eq!((late.status, late.code()), (409, "intent_not_cancelable"));
    let other = provider.authorize("b", "tok_ok", 1_000).await;
    assert_eq!(provider.cancel("v2", other.id()).await.state(), "canceled");
    let after = provider.capture("c2", other.id(), json!({})).await;
    assert_eq!((after.status, after.code()), (409, "intent_not_capturable"));
    let waiting = provider.authorize("w", "tok_action_required", 1_000).await;
    assert_eq!(provider.cancel("v3", waiting.id()).await.state(), "canceled");
    provider.stop().await;
}

#[tokio::test]
async fn malformed_requests_are_told_what_is_wrong() {
    let provider = Running::start(SimulatorConfig::default()).await;
    let with = |field: &str, value: Value| {
        let mut body = intent_body("tok_ok", 500, "x");
        body[field] = value;
        body
    };
    let cases = [
        (with("amount", json!(0)), "amount"),
        (with("amount", json!(-5)), "amount"),
        (with("amount", json!(1.5)), "amount"),
        (with("amount", json!(1_000_000_000_001_i64)), "amount"),
        (with("currency", json!("gbp")), "currency"),
        (with("currency", json!(7)), "currency"),
        (with("reference", json!("")), "reference"),
        (with("reference", json!("x".repeat(256))), "reference"),
        (with("amout", json!(5)), "amout"),
        (json!([1]), "body"),
        (json!({}), "missing field"),
    ];
    for (body, told) in cases {
        let refused = provider.post("/v1/payment_intents", "bad", body.clone()).await;
        assert_eq!((refused.status, refused.code()), (400, "invalid_request"), "for {body}");
        let message = refused.body["error"]["message"].as_str().unwrap_or_default();
        assert!(message.contains(told), "{message:?} for {body}");
    }
    let body = intent_body("tok_ok", 500, "x");
    let path = "/v1/payment_intents";
    let keyless = provider.send("POST", path, None, Some(&body)).await.expect("an answer");
    assert_eq!((keyless.status, keyless.code()), (400, "missing_idempotency_key"));
    let long = provider.send("POST", path, Some(&"k".repeat(256)), Some(&body)).await.expect("an answer");
    assert_eq!((long.status, long.code()), (400, "missing_idempotency_key"));
    let garbage = provider.send_raw("POST", path, Some("g"), b"{".to_vec()).await.expect("an answer");
    assert_eq!((garbage.status, garbage.code()), (400, "invalid_request"));
    let large = vec![b' '; 64 * 1024 + 1];
    let large = provider.send_raw("POST", path, Some("l"), large).await.expect("an answer");
    assert_eq!((large.status, large.code()), (413, "payload_too_large"));
    assert_eq!(provider.get("/v1/nothing").await.code(), "not_found");
    assert_eq!(provider.send("PUT", path, None, None).await.expect("an answer").code(), "method_not_allowed");
    assert_eq!(provider.get("/v1/payment_intents?limit=0").await.code(), "invalid_request");
    assert_eq!(provider.get("/v1/payment_intents").await.body["data"], json!([]), "nothing was done");
    provider.stop().await;
}

#[tokio::test]
async fn the_list_is_walked_page_by_page() {
    let provider = Running::start(SimulatorConfig::default()).await;
    let mut created = Vec::new();
    for n in 0..7 {
        created.push(provider.authorize(&format!("k{n}"), "tok_ok", 100 + n).await.id().to_owned());
    }
    created.reverse();
    let (mut walked, mut after) = (Vec::new(), String::new());
    for page in 0..3 {
        let reply = provider.get(&format!("/v1/payment_intents?limit=3{after}")).await;
        let ids = reply.body["data"].as_array().expect("a list").iter();
        walked.extend(ids.map(|intent| intent["id"].as_str().expect("an id").to_owned()));
        after = format!("&starting_after={}", walked.last().expect("an id"));
        assert_eq!(reply.body["has_more"], page < 2);
    }
    assert_eq!(walked, created);
    assert_eq!(provider.get("/v1/payment_intents?starting_after=pi_none").await.status, 404);
    provider.stop().await;
}
