//! One key, one payment.

mod common;

use std::sync::Arc;

use common::{Running, fresh_ledger, intent_body, with_ledger};
use futures_util::future::join_all;
use pangaea_simulator::{Ledger, SimulatorConfig};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_concurrent_copies_perform_once() {
    let path = fresh_ledger();
    let provider = Arc::new(Running::start(with_ledger(&path)).await);
    let copies = join_all((0..100).map(|_| {
        let provider = Arc::clone(&provider);
        tokio::spawn(async move { provider.authorize("same", "tok_ok", 1_299).await })
    }))
    .await;
    let replies: Vec<_> = copies.into_iter().map(|copy| copy.expect("no panic")).collect();
    assert!(replies.iter().all(|reply| reply.status == 200 && reply.body == replies[0].body), "{replies:?}");
    assert_eq!(replies.iter().filter(|reply| !reply.replayed).count(), 1, "one is the first answer");
    let id = replies[0].id().to_owned();
    let captures = join_all((0..100).map(|_| provider.capture("cap", &id, json!({})))).await;
    assert!(captures.iter().all(|reply| reply.status == 200 && reply.body == captures[0].body));
    let provider = Arc::into_inner(provider).expect("no copy is left");
    provider.stop().await;
    let lines = Ledger::read(&path).expect("the ledger reads");
    assert_eq!(lines.iter().map(|line| line.amount).collect::<Vec<_>>(), [1_299, 1_299]);
}

#[tokio::test]
async fn another_body_under_a_key_is_refused() {
    let provider = Running::start(SimulatorConfig::default()).await;
    let first = provider.authorize("k", "tok_ok", 500).await;
    let other = provider.authorize("k", "tok_ok", 501).await;
    assert_eq!((other.status, other.code()), (422, "idempotency_key_reused"));
    let elsewhere = provider.capture("k", first.id(), json!({})).await;
    assert_eq!((elsewhere.status, elsewhere.code()), (422, "idempotency_key_reused"));
    let spaced = serde_json::to_vec_pretty(&intent_body("tok_ok", 500, "k")).expect("encodes");
    let spaced = provider.send_raw("POST", "/v1/payment_intents", Some("k"), spaced).await.expect("an answer");
    assert_eq!((spaced.status, spaced.replayed), (200, true), "only the content of the body counts");
    provider.stop().await;
}

#[tokio::test]
async fn a_refusal_is_kept_even_when_the_intent_moves_on() {
    let provider = Running::start(SimulatorConfig::default()).await;
    let intent = provider.authorize("a", "tok_ok", 500).await;
    let early = provider.refund("r", intent.id(), 100).await;
    assert_eq!(early.status, 409);
    provider.capture("c", intent.id(), json!({})).await;
    let later = provider.refund("r", intent.id(), 100).await;
    assert_eq!((later.status, later.replayed, later.body), (409, true, early.body));
    provider.stop().await;
}

#[tokio::test]
async fn a_caller_that_leaves_cancels_nothing_or_everything() {
    let path = fresh_ledger();
    let provider = Running::start(with_ledger(&path)).await;
    for n in 0..40_u64 {
        let key = format!("gone-{n}");
        let body = intent_body("tok_ok", 500, &key);
        let call = provider.send("POST", "/v1/payment_intents", Some(&key), Some(&body));
        let _ = tokio::time::timeout(std::time::Duration::from_micros(n * 60), call).await;
    }
    for n in 0..40 {
        let key = format!("gone-{n}");
        assert_eq!(provider.authorize(&key, "tok_ok", 500).await.status, 200);
    }
    provider.stop().await;
    assert_eq!(Ledger::read(&path).expect("the ledger reads").len(), 40);
}
