//! The auditor's view finds what must not be there.

mod common;

use common::{Running, fresh_ledger, with_ledger};
use pangaea_simulator::{Amounts, Ledger, LedgerSummary};
use serde_json::{Value, json};

#[tokio::test]
async fn a_clean_ledger_has_no_faults() {
    let path = fresh_ledger();
    let provider = Running::start(with_ledger(&path)).await;
    let paid = provider.authorize("a", "tok_ok", 1_000).await;
    provider.capture("c", paid.id(), json!({"amount": 900})).await;
    provider.refund("r", paid.id(), 100).await;
    let voided = provider.authorize("v", "tok_ok", 500).await;
    provider.cancel("vv", voided.id()).await;
    provider.authorize("d", "tok_declined", 700).await;
    let waiting = provider.authorize("w", "tok_action_required", 300).await;
    provider.stop().await;

    let summary = LedgerSummary::of(&Ledger::read(&path).expect("the ledger reads"));
    let expected = Amounts { authorized: 1_500, captured: 900, refunded: 100, voided: 500 };
    assert_eq!(summary.totals["GBP"], expected);
    assert_eq!(summary.declined, 1);
    assert_eq!(summary.references["ref-a"].amounts["GBP"].captured, 900);
    assert_eq!(summary.intents[voided.id()].amounts.voided, 500);
    assert!(!summary.intents.contains_key(waiting.id()), "nothing was authorized");
    assert!(summary.orphaned_authorizations.is_empty());
    assert!(summary.double_captures.is_empty());
    assert!(summary.overdrawn.is_empty());
}

#[tokio::test]
async fn planted_faults_are_found() {
    let path = fresh_ledger();
    let provider = Running::start(with_ledger(&path)).await;
    let orphan = provider.authorize("orphan", "tok_ok", 1_000).await;
    // A caller that pays one order under two keys: the provider cannot know, the auditor must see it.
    let mut charged = Vec::new();
    for key in ["first", "second"] {
        let body = json!({"amount": 250, "currency": "GBP", "payment_method": "tok_ok", "reference": "order-7"});
        let intent = provider.post("/v1/payment_intents", key, body).await;
        provider.capture(&format!("{key}-c"), intent.id(), json!({})).await;
        charged.push(intent.id().to_owned());
    }
    provider.stop().await;

    let entries = Ledger::read(&path).expect("the ledger reads");
    let summary = LedgerSummary::of(&entries);
    assert_eq!(summary.orphaned_authorizations, [orphan.id()]);
    assert_eq!(summary.double_captures.len(), 1);
    let double = &summary.double_captures[0];
    assert_eq!((double.reference.as_str(), double.captures, &double.intents), ("order-7", 2, &charged));
    assert!(summary.overdrawn.is_empty());

    // A provider that captures one intent twice is written by hand: the simulator refuses to do it.
    let text = std::fs::read_to_string(&path).expect("reads");
    let capture = text.lines().nth(2).expect("a capture line");
    let mut line: Value = serde_json::from_str(capture).expect("decodes");
    assert_eq!(line["kind"], "captured");
    line["seq"] = json!(6);
    line["key"] = json!("planted");
    std::fs::write(&path, format!("{text}{line}\n")).expect("writes");
    let summary = LedgerSummary::of(&Ledger::read(&path).expect("the ledger reads"));
    assert_eq!(summary.overdrawn, [charged[0].as_str()]);
    assert_eq!(summary.double_captures[0].captures, 3);
    assert_eq!(summary.intents[&charged[0]].captures, 2);
}
