//! Each test token, over real HTTP.

mod common;

use std::time::{Duration, Instant};

use common::{Running, fresh_ledger, intent_body, with_ledger};
use pangaea_simulator::{EntryKind, Ledger, SimulatorConfig};
use serde_json::json;

#[tokio::test]
async fn ok_goes_through_capture_and_refund() {
    let path = fresh_ledger();
    let provider = Running::start(with_ledger(&path)).await;
    let intent = provider.authorize("a", "tok_ok", 1_299).await;
    assert_eq!((intent.status, intent.state()), (200, "requires_capture"));
    assert_eq!(intent.body["reference"], "ref-a");
    let id = intent.id().to_owned();
    let captured = provider.capture("c", &id, json!({})).await;
    assert_eq!((captured.status, captured.state()), (200, "succeeded"));
    assert_eq!(captured.body["amount_captured"], 1_299);
    let refund = provider.refund("r", &id, 299).await;
    assert_eq!((refund.status, refund.state()), (200, "succeeded"));
    assert!(refund.id().starts_with("re_"));
    assert_eq!(refund.body["amount"], 299);
    let shown = provider.get(&format!("/v1/payment_intents/{id}")).await;
    let expected = json!({"id": id, "status": "succeeded", "amount": 1_299, "currency": "GBP",
        "amount_captured": 1_299, "amount_refunded": 299, "reference": "ref-a"});
    assert_eq!(shown.body, expected);
    provider.stop().await;

    let lines = Ledger::read(&path).expect("the ledger reads");
    let seen: Vec<_> = lines.iter().map(|line| (line.seq, line.kind, line.key.as_str(), line.amount)).collect();
    assert_eq!(
        seen,
        [
            (1, EntryKind::Authorized, "a", 1_299),
            (2, EntryKind::Captured, "c", 1_299),
            (3, EntryKind::Refunded, "r", 299)
        ]
    );
    assert!(lines.iter().all(|line| line.intent == id && line.currency == "GBP" && line.reference == "ref-a"));
}

#[tokio::test]
async fn declined_answers_402_and_keeps_it() {
    let provider = Running::start(SimulatorConfig::default()).await;
    let first = provider.authorize("d", "tok_declined", 500).await;
    assert_eq!((first.status, first.code()), (402, "card_declined"));
    let again = provider.authorize("d", "tok_declined", 500).await;
    assert_eq!((again.status, again.replayed, &again.body), (402, true, &first.body));
    let operation = provider.get("/v1/operations/d").await;
    assert_eq!(operation.body, json!({"key": "d", "kind": "authorize", "status": 402, "body": first.body}));
    provider.stop().await;
}

#[tokio::test]
async fn action_required_waits_for_its_payer() {
    let provider = Running::start(SimulatorConfig::default()).await;
    let intent = provider.authorize("a", "tok_action_required", 500).await;
    assert_eq!((intent.status, intent.state()), (200, "requires_action"));
    let early = provider.capture("c1", intent.id(), json!({})).await;
    assert_eq!((early.status, early.code()), (409, "intent_not_capturable"));
    let path = format!("/v1/payment_intents/{}/confirm", intent.id());
    let confirmed = provider.post(&path, "confirm", json!({})).await;
    assert_eq!((confirmed.status, confirmed.state()), (200, "requires_capture"));
    let twice = provider.post(&path, "confirm-2", json!({})).await;
    assert_eq!((twice.status, twice.code()), (409, "intent_not_confirmable"));
    assert_eq!(provider.capture("c2", intent.id(), json!({})).await.state(), "succeeded");
    provider.stop().await;
}

#[tokio::test]
async fn timeout_is_held_then_closed_and_charges_nothing() {
    let path = fresh_ledger();
    let provider = Running::start(SimulatorConfig { hold_ms: 300, ..with_ledger(&path) }).await;
    let begin = Instant::now();
    let body = intent_body("tok_timeout", 500, "t");
    let answer = provider.send("POST", "/v1/payment_intents", Some("t"), Some(&body)).await;
    assert!(answer.is_err(), "tok_timeout answered {answer:?}");
    assert_ne!(answer, Err("no answer".to_owned()), "the hold must end by closing the connection");
    assert!(begin.elapsed() >= Duration::from_millis(300));
    assert_eq!(provider.get("/v1/operations/t").await.status, 404);
    provider.stop().await;
    assert!(Ledger::read(&path).expect("the ledger reads").is_empty());
}

#[tokio::test]
async fn a_held_request_does_not_hold_up_the_stop() {
    let provider = Running::start(SimulatorConfig::default()).await;
    let body = intent_body("tok_timeout", 500, "t");
    let begin = Instant::now();
    {
        let held = provider.send("POST", "/v1/payment_intents", Some("t"), Some(&body));
        assert!(tokio::time::timeout(Duration::from_millis(200), held).await.is_err(), "it was answered");
    }
    provider.stop().await;
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn charged_reply_lost_is_found_under_its_key() {
    let path = fresh_ledger();
    let provider = Running::start(with_ledger(&path)).await;
    let body = intent_body("tok_charged_reply_lost", 500, "l");
    let first = provider.send("POST", "/v1/payment_intents", Some("l"), Some(&body)).await;
    assert!(first.is_err(), "the first reply must be lost, it was {first:?}");
    let operation = provider.get("/v1/operations/l").await;
    assert_eq!((operation.status, &operation.body["status"]), (200, &json!(200)));
    let second = provider.post("/v1/payment_intents", "l", body).await;
    assert_eq!((second.status, second.replayed, second.state()), (200, true, "requires_capture"));
    assert_eq!(operation.body["body"], second.body);
    assert_eq!(provider.capture("c", second.id(), json!({})).await.status, 200);
    provider.stop().await;
    let kinds: Vec<_> = Ledger::read(&path).expect("the ledger reads").iter().map(|line| line.kind).collect();
    assert_eq!(kinds, [EntryKind::Authorized, EntryKind::Captured]);
}

/// Statuses of up to ten tries for each of 60 keys, until the key succeeds.
async fn flaky_run(seed: u64) -> Vec<Vec<u16>> {
    let provider = Running::start(SimulatorConfig { seed, ..SimulatorConfig::default() }).await;
    let mut all = Vec::new();
    for n in 0..60 {
        let mut tries = Vec::new();
        while tries.last() != Some(&200) && tries.len() < 10 {
            let reply = provider.authorize(&format!("f{n}"), "tok_flaky", 500).await;
            if reply.status == 503 {
                assert_eq!(provider.get(&format!("/v1/operations/f{n}")).await.status, 404);
            }
            tries.push(reply.status);
        }
        all.push(tries);
    }
    provider.stop().await;
    all
}

#[tokio::test]
async fn flaky_fails_one_call_in_three_and_repeats_by_seed() {
    let first = flaky_run(11).await;
    assert!(first.iter().all(|tries| tries.last() == Some(&200)), "every key gets through: {first:?}");
    let calls = first.iter().map(Vec::len).sum::<usize>();
    let refused = calls - 60;
    assert!((refused * 100 / calls) >= 15 && (refused * 100 / calls) <= 50, "{refused} of {calls} calls");
    assert_eq!(first, flaky_run(11).await);
    assert_ne!(first, flaky_run(12).await);
}

#[tokio::test]
async fn capture_fails_can_only_be_voided() {
    let provider = Running::start(SimulatorConfig::default()).await;
    let intent = provider.authorize("a", "tok_capture_fails", 500).await;
    assert_eq!(intent.state(), "requires_capture");
    for key in ["c1", "c2"] {
        let capture = provider.capture(key, intent.id(), json!({})).await;
        assert_eq!((capture.status, capture.code()), (402, "capture_failed"));
    }
    assert_eq!(provider.get("/v1/operations/c1").await.body["kind"], "capture");
    let voided = provider.cancel("v", intent.id()).await;
    assert_eq!((voided.status, voided.state()), (200, "canceled"));
    provider.stop().await;
}

#[tokio::test]
async fn webhook_tokens_are_plain_without_a_url() {
    let provider = Running::start(SimulatorConfig::default()).await;
    for token in ["tok_late_webhook", "tok_duplicate_webhook"] {
        assert_eq!(provider.authorize(token, token, 500).await.state(), "requires_capture");
    }
    provider.stop().await;
}

#[tokio::test]
async fn an_unknown_token_is_refused_and_leaves_its_key_free() {
    let provider = Running::start(SimulatorConfig::default()).await;
    let refused = provider.authorize("u", "tok_gold", 500).await;
    assert_eq!((refused.status, refused.code()), (400, "unknown_payment_method"));
    assert!(refused.body["error"]["message"].as_str().is_some_and(|text| text.contains("tok_ok")));
    assert_eq!(provider.authorize("u", "tok_ok", 500).await.status, 200);
    provider.stop().await;
}

#[tokio::test]
async fn latency_delays_every_answer() {
    let provider = Running::start(SimulatorConfig { latency_ms: 150, ..SimulatorConfig::default() }).await;
    let begin = Instant::now();
    assert_eq!(provider.authorize("a", "tok_ok", 500).await.status, 200);
    assert!(begin.elapsed() >= Duration::from_millis(150));
    provider.stop().await;
}
