//! The ledger file carries everything across a restart.

mod common;

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use common::{Reply, Running, fresh_ledger, intent_body, with_ledger};
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use pangaea_simulator::{Ledger, Simulator, SimulatorError};
use serde_json::json;

#[tokio::test]
async fn answers_and_intents_survive() {
    let path = fresh_ledger();
    let provider = Running::start(with_ledger(&path)).await;
    let ok = provider.authorize("a", "tok_ok", 900).await;
    let declined = provider.authorize("d", "tok_declined", 900).await;
    let waiting = provider.authorize("w", "tok_action_required", 900).await;
    let stuck = provider.authorize("s", "tok_capture_fails", 900).await;
    let lost = intent_body("tok_charged_reply_lost", 900, "l");
    provider.send("POST", "/v1/payment_intents", Some("l"), Some(&lost)).await.expect_err("a lost reply");
    let captured = provider.capture("c", ok.id(), json!({"amount": 800})).await;
    let refund = provider.refund("r", ok.id(), 300).await;
    let refused = provider.capture("c-again", ok.id(), json!({})).await;
    let list = provider.get("/v1/payment_intents?limit=100").await;
    let operation = provider.get("/v1/operations/c").await;
    provider.stop().await;

    let provider = Running::start(with_ledger(&path)).await;
    let replay = |first: &Reply| Reply { replayed: true, ..first.clone() };
    assert_eq!(provider.authorize("a", "tok_ok", 900).await, replay(&ok));
    assert_eq!(provider.authorize("d", "tok_declined", 900).await, replay(&declined));
    assert_eq!(provider.capture("c", ok.id(), json!({"amount": 800})).await, replay(&captured));
    assert_eq!(provider.refund("r", ok.id(), 300).await, replay(&refund));
    assert_eq!(provider.capture("c-again", ok.id(), json!({})).await, replay(&refused));
    assert_eq!(provider.post("/v1/payment_intents", "l", lost).await.state(), "requires_capture");
    assert_eq!(provider.get("/v1/payment_intents?limit=100").await, list);
    assert_eq!(provider.get("/v1/operations/c").await, operation);
    assert_eq!(provider.authorize("a", "tok_ok", 901).await.code(), "idempotency_key_reused");
    // The rules go on from where they were: 500 of 800 are left to refund, tokens still choose the behaviour.
    assert_eq!(provider.refund("r2", ok.id(), 501).await.code(), "refund_exceeds_captured");
    assert_eq!(provider.refund("r3", ok.id(), 500).await.status, 200);
    assert_eq!(provider.capture("c2", stuck.id(), json!({})).await.code(), "capture_failed");
    let confirm = format!("/v1/payment_intents/{}/confirm", waiting.id());
    assert_eq!(provider.post(&confirm, "cf", json!({})).await.state(), "requires_capture");
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_sent_only_after_its_line_is_in_the_file() {
    let path = fresh_ledger();
    let provider = Arc::new(Running::start(with_ledger(&path)).await);
    let tasks = (0..200).map(|n| {
        let (provider, path) = (Arc::clone(&provider), path.clone());
        tokio::spawn(async move {
            let reply = provider.authorize(&format!("k{n}"), "tok_ok", 100).await;
            let lines = Ledger::read(&path).expect("the ledger reads");
            assert!(lines.iter().any(|line| line.intent == reply.id()), "{reply:?} is not written");
        })
    });
    assert!(join_all(tasks).await.into_iter().all(|task| task.is_ok()));
    Arc::into_inner(provider).expect("no copy is left").stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_before_an_abrupt_end_is_answered_again() {
    let path = fresh_ledger();
    let mut answered: Vec<(String, Reply)> = Vec::new();
    for round in 0..5 {
        let provider = restarted(&path).await;
        for (key, first) in &answered {
            let again = provider.authorize(key, "tok_ok", 100).await;
            assert_eq!((again.replayed, &again.body), (true, &first.body));
        }
        let keys: Vec<_> = (0..60).map(|n| format!("r{round}-{n}")).collect();
        let calls = keys.iter().map(|key| async {
            let body = intent_body("tok_ok", 100, key);
            let reply = provider.send("POST", "/v1/payment_intents", Some(key), Some(&body)).await;
            reply.ok().map(|reply| (key.clone(), reply))
        });
        // Ended when a third is answered, so that the rest is in flight.
        let mut calls: FuturesUnordered<_> = calls.collect();
        for _ in 0..20 {
            answered.extend(calls.next().await.expect("a call"));
        }
        drop(calls);
        provider.abort().await;
    }
    assert_eq!(answered.len(), 100);
}

/// Binds again; a write that the ended simulator had begun may keep the file locked for a moment.
async fn restarted(path: &std::path::Path) -> Running {
    for _ in 0..500 {
        match Simulator::bind(with_ledger(path)).await {
            Err(SimulatorError::LedgerBusy { .. }) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(error) => panic!("the ledger does not open: {error}"),
            Ok(free) => {
                drop(free);
                return Running::start(with_ledger(path)).await;
            }
        }
    }
    panic!("the ledger stays in use");
}

#[tokio::test]
async fn a_torn_last_line_is_cut_off() {
    let path = fresh_ledger();
    let provider = Running::start(with_ledger(&path)).await;
    let first = provider.authorize("a", "tok_ok", 900).await;
    provider.authorize("b", "tok_ok", 900).await;
    provider.stop().await;
    let bytes = std::fs::read(&path).expect("reads");
    for cut in [1, 40, 200] {
        std::fs::write(&path, &bytes[..bytes.len() - cut]).expect("writes");
        assert_eq!(Ledger::read(&path).expect("an auditor leaves the torn line out").len(), 1);
        let provider = Running::start(with_ledger(&path)).await;
        assert_eq!(provider.authorize("a", "tok_ok", 900).await.body, first.body);
        assert_eq!(provider.get("/v1/operations/b").await.status, 404);
        let again = provider.authorize("b", "tok_ok", 900).await;
        assert_eq!((again.status, again.replayed), (200, false));
        provider.stop().await;
        assert_eq!(Ledger::read(&path).expect("the ledger is whole again").len(), 2);
    }
}

#[tokio::test]
async fn damage_before_the_last_line_is_an_error_that_names_the_line() {
    let path = fresh_ledger();
    let provider = Running::start(with_ledger(&path)).await;
    for key in ["a", "b", "c"] {
        provider.authorize(key, "tok_ok", 900).await;
    }
    provider.stop().await;
    let text = std::fs::read_to_string(&path).expect("reads");
    let lines: Vec<_> = text.lines().collect();
    let damaged = format!("{}\n{{}}\n{}\n", lines[0], lines[2]);
    let gap = format!("{}\n{}\n", lines[0], lines[2]);
    let twice = format!("{}\n{}\n", lines[0], lines[0].replacen("\"seq\":1", "\"seq\":2", 1));
    for content in [damaged, gap, twice] {
        std::fs::File::create(&path).and_then(|mut file| file.write_all(content.as_bytes())).expect("writes");
        let error = Simulator::bind(with_ledger(&path)).await.expect_err("a damaged ledger is refused");
        assert!(matches!(error, SimulatorError::LedgerCorrupt { line: 2, .. }), "{error}");
    }
}

#[tokio::test]
async fn a_ledger_has_one_simulator() {
    let path = fresh_ledger();
    let provider = Running::start(with_ledger(&path)).await;
    let error = Simulator::bind(with_ledger(&path)).await.expect_err("the file is in use");
    assert!(matches!(error, SimulatorError::LedgerBusy { .. }), "{error}");
    provider.stop().await;
    Running::start(with_ledger(&path)).await.stop().await;
}

#[tokio::test]
async fn a_taken_port_is_an_error_that_names_it() {
    let provider = Running::start(pangaea_simulator::SimulatorConfig::default()).await;
    let config = pangaea_simulator::SimulatorConfig { listen: provider.addr, ..Default::default() };
    let error = Simulator::bind(config).await.expect_err("the port is taken");
    assert!(error.to_string().contains(&provider.addr.to_string()), "{error}");
    provider.stop().await;
}
