//! The module and its HTTP provider against the real simulator on loopback: every token, and every way to fail.

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use common::{Bench, gbp, order, reason};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use pangaea_contracts::payment::{CaptureFailed, Declined};
use pangaea_kernel::{Outcome, TryError};
use pangaea_payment::{
    HttpProvider, Provider, ProviderStatus, ProviderTimeouts, QueryOperation, ShowIntent, State, VoidIntent,
};
use pangaea_simulator::{Ledger, LedgerSummary, Simulator, SimulatorConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const NOTHING: [&str; 0] = [];
const QUICK: ProviderTimeouts = ProviderTimeouts { connect_ms: 500, request_ms: 300 };

/// A simulator with a ledger file of its own, gone with the test.
struct Sim {
    url: String,
    ledger: std::path::PathBuf,
    _stop: tokio_util::sync::DropGuard,
}

impl Sim {
    async fn start(name: &str) -> Self {
        let ledger = std::env::temp_dir().join(format!("pangaea-payment-{}-{name}.jsonl", std::process::id()));
        let _ = std::fs::remove_file(&ledger);
        let config = SimulatorConfig { ledger: Some(ledger.clone()), hold_ms: 100, ..SimulatorConfig::default() };
        let simulator = Simulator::bind(config).await.expect("binds");
        let url = format!("http://{}", simulator.addr());
        let stop = CancellationToken::new();
        tokio::spawn(simulator.run(stop.clone()));
        Self { url, ledger, _stop: stop.drop_guard() }
    }

    async fn bench(&self) -> Bench {
        Bench::at(&self.url, QUICK).await
    }

    fn provider(&self) -> HttpProvider {
        HttpProvider::new(&self.url, QUICK).expect("a usable URL")
    }

    /// What the provider's own books say.
    fn summary(&self) -> LedgerSummary {
        LedgerSummary::of(&Ledger::read(&self.ledger).expect("a sound ledger"))
    }

    /// The payer confirms.
    async fn confirm(&self, intent: &str) {
        let request = Request::post(format!("{}/v1/payment_intents/{intent}/confirm", self.url))
            .header("idempotency-key", "confirm-1")
            .body(Full::new(Bytes::new()))
            .expect("a request");
        let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        let response = client.request(request).await.expect("answers");
        assert_eq!(response.status(), 200);
        response.into_body().collect().await.expect("ends");
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.ledger);
    }
}

async fn done(bench: &mut Bench) -> Vec<String> {
    bench.attempt(false).await.expect("an outcome")
}

fn is_unknown<T>(result: &Result<T, TryError>) -> bool {
    matches!(result, Err(TryError::Unknown(_)))
}

#[tokio::test]
async fn every_good_token_pays_and_refunds() {
    for token in ["tok_ok", "tok_late_webhook", "tok_duplicate_webhook"] {
        let sim = Sim::start(token).await;
        let mut bench = sim.bench().await;
        bench.authorize(token).await;
        assert_eq!(done(&mut bench).await, ["authorized"], "{token}");
        bench.capture().await;
        assert_eq!(done(&mut bench).await, ["captured"], "{token}");
        bench.refund("ref_1", gbp(400)).await;
        assert_eq!(done(&mut bench).await, ["refunded"], "{token}");
        bench.void().await;
        assert_eq!(done(&mut bench).await, ["voided"], "{token}");
        bench.sound().await;
        let payment = bench.payment().await;
        let shown = sim.provider().show(&payment.provider_intent.unwrap()).await;
        let Ok(Outcome::Done(receipt)) = shown else { panic!("{shown:?}") };
        assert_eq!((receipt.amount_captured, receipt.amount_refunded), (payment.captured, payment.refunded));
        assert!(sim.summary().orphaned_authorizations.is_empty());
    }
}

#[tokio::test]
async fn a_declined_card_is_refused_with_its_reason() {
    let sim = Sim::start("declined").await;
    let mut bench = sim.bench().await;
    bench.authorize("tok_declined").await;
    assert_eq!(done(&mut bench).await, ["declined"]);
    let reason = bench.last::<Declined>().reason;
    assert_eq!(reason.code, "payment_declined");
    assert!(reason.detail.starts_with("card_declined: "), "{reason:?}");
    bench.sound().await;
}

#[tokio::test]
async fn a_token_that_the_provider_does_not_know_is_refused() {
    let sim = Sim::start("nosuch").await;
    let mut bench = sim.bench().await;
    bench.authorize("tok_nosuch").await;
    assert_eq!(done(&mut bench).await, ["declined"]);
    assert!(bench.last::<Declined>().reason.detail.starts_with("unknown_payment_method: "));
    bench.sound().await;
}

#[tokio::test]
async fn a_payer_who_confirms_is_seen_by_the_next_look() {
    let sim = Sim::start("action").await;
    let mut bench = sim.bench().await;
    bench.authorize("tok_action_required").await;
    assert_eq!(done(&mut bench).await, ["action_required"]);
    bench.pass(2_000).await;
    assert_eq!(done(&mut bench).await, NOTHING);
    sim.confirm(&bench.payment().await.provider_intent.unwrap()).await;
    bench.pass(2_000).await;
    bench.effect::<ShowIntent>();
    assert_eq!(done(&mut bench).await, ["authorized"]);
    bench.capture().await;
    assert_eq!(done(&mut bench).await, ["captured"]);
    bench.sound().await;
}

#[tokio::test]
async fn a_payer_who_never_confirms_leaves_no_intent_behind() {
    let sim = Sim::start("expired").await;
    let mut bench = sim.bench().await;
    bench.authorize("tok_action_required").await;
    done(&mut bench).await;
    bench.pass(600_000).await;
    assert_eq!(done(&mut bench).await, ["declined"]);
    bench.effect::<VoidIntent>();
    assert_eq!(done(&mut bench).await, NOTHING);
    assert_eq!(bench.payment().await.state, State::Expired);
    let shown = sim.provider().show(&bench.payment().await.provider_intent.unwrap()).await;
    assert!(matches!(shown, Ok(Outcome::Done(receipt)) if receipt.status == ProviderStatus::Canceled));
    bench.sound().await;
}

#[tokio::test]
async fn a_call_that_never_happened_stays_unknown() {
    let sim = Sim::start("timeout").await;
    let mut bench = sim.bench().await;
    bench.authorize("tok_timeout").await;
    assert!(is_unknown(&bench.attempt(false).await));
    assert!(is_unknown(&bench.attempt(true).await), "the query finds nothing, so it is tried again");
    assert_eq!(bench.give_up().await, ["declined"]);
    assert_eq!(bench.last::<Declined>().reason.code, "outcome_unknown");
    bench.pass(10_000).await;
    bench.effect::<QueryOperation>();
    assert_eq!(done(&mut bench).await, NOTHING);
    bench.sound().await;
    assert!(sim.summary().orphaned_authorizations.is_empty());
}

#[tokio::test]
async fn a_lost_reply_is_asked_for_and_charged_once() {
    let sim = Sim::start("lost").await;
    let mut bench = sim.bench().await;
    bench.authorize("tok_charged_reply_lost").await;
    assert!(is_unknown(&bench.attempt(false).await));
    assert_eq!(bench.attempt(true).await, Ok(vec!["authorized".to_owned()]));
    bench.capture().await;
    assert_eq!(done(&mut bench).await, ["captured"]);
    bench.sound().await;
    let authorized = Ledger::read(&sim.ledger).unwrap();
    assert_eq!(authorized.iter().filter(|entry| entry.amount == 1_000).count(), 2, "one hold and one capture");
}

#[tokio::test]
async fn a_hold_whose_reply_was_lost_for_good_is_voided() {
    let sim = Sim::start("orphan").await;
    let mut bench = sim.bench().await;
    bench.authorize("tok_charged_reply_lost").await;
    assert!(is_unknown(&bench.attempt(false).await));
    assert_eq!(bench.give_up().await, ["declined"]);
    bench.sound().await;
    assert_eq!(sim.summary().orphaned_authorizations.len(), 1);
    bench.pass(10_000).await;
    bench.effect::<QueryOperation>();
    assert_eq!(done(&mut bench).await, NOTHING);
    assert_eq!(done(&mut bench).await, NOTHING);
    assert_eq!(bench.payment().await.held, 0);
    bench.sound().await;
    assert!(sim.summary().orphaned_authorizations.is_empty());
}

#[tokio::test]
async fn a_flaky_provider_does_nothing_until_it_does_it() {
    let sim = Sim::start("flaky").await;
    let (mut bench, mut refusals) = (sim.bench().await, 0);
    for step in 0..4 {
        match step {
            0 => drop(bench.authorize("tok_flaky").await),
            1 => drop(bench.capture().await),
            _ => drop(bench.refund(&format!("ref_{step}"), gbp(500)).await),
        }
        while let Err(error) = bench.attempt(false).await {
            assert!(matches!(error, TryError::NotDone(_)), "{error:?}");
            refusals += 1;
            assert!(refusals < 40, "it never succeeds");
        }
        bench.sound().await;
    }
    assert_eq!(bench.payment().await.refunded, 1_000);
    // Seeded, so it is known whether any call was refused; with other ids it may be none of five.
    let provider = sim.provider();
    let mut seen = 0;
    for number in 0..20 {
        let key = format!("flaky-{number}");
        if let Err(TryError::NotDone(_)) = provider.authorize(key.as_str().into(), gbp(1), "tok_flaky", "ref").await {
            seen += 1;
        }
    }
    assert!(seen > 0, "the simulator must refuse some of twenty");
}

#[tokio::test]
async fn a_capture_that_is_refused_can_be_voided() {
    let sim = Sim::start("capture_fails").await;
    let mut bench = sim.bench().await;
    bench.authorize("tok_capture_fails").await;
    done(&mut bench).await;
    for _ in 0..2 {
        bench.capture().await;
        assert_eq!(done(&mut bench).await, ["capture_failed"]);
        assert_eq!(bench.last::<CaptureFailed>().reason.code, "capture_failed");
    }
    bench.void().await;
    assert_eq!(done(&mut bench).await, ["voided"]);
    bench.sound().await;
    assert!(sim.summary().orphaned_authorizations.is_empty());
}

/// The capture reached the provider, its answer did not reach us, and order has given up.
#[tokio::test]
async fn a_void_after_a_capture_nobody_saw_gives_the_money_back() {
    let sim = Sim::start("unseen").await;
    let mut bench = sim.bench().await;
    bench.authorize("tok_ok").await;
    done(&mut bench).await;
    bench.capture().await;
    let key = bench.effects[0].id.clone();
    let intent = bench.payment().await.provider_intent.unwrap();
    let seen = sim.provider().capture(key.as_str().into(), &intent, 1_000).await;
    assert!(matches!(seen, Ok(Outcome::Done(_))), "{seen:?}");
    assert_eq!(bench.give_up().await, ["capture_failed"]);
    bench.void().await;
    assert_eq!(done(&mut bench).await, NOTHING, "it was captured");
    assert_eq!(done(&mut bench).await, ["voided"]);
    let payment = bench.payment().await;
    assert_eq!((payment.captured, payment.refunded), (1_000, 1_000));
    bench.sound().await;
}

/// The same, with an order that asks again: the provider answers the same key with its first answer.
#[tokio::test]
async fn a_second_capture_after_an_unknown_one_takes_nothing_more() {
    let sim = Sim::start("again").await;
    let mut bench = sim.bench().await;
    bench.authorize("tok_ok").await;
    done(&mut bench).await;
    bench.capture().await;
    let key = bench.effects[0].id.clone();
    let intent = bench.payment().await.provider_intent.unwrap();
    sim.provider().capture(key.as_str().into(), &intent, 1_000).await.unwrap();
    bench.give_up().await;
    bench.capture().await;
    assert_eq!(done(&mut bench).await, ["captured"]);
    bench.sound().await;
    assert!(sim.summary().double_captures.is_empty());
}

#[tokio::test]
async fn a_void_asks_first_and_learns_how_it_ended() {
    let sim = Sim::start("void_asks").await;
    let mut bench = sim.bench().await;
    bench.authorize("tok_ok").await;
    done(&mut bench).await;
    bench.void().await;
    let intent = bench.payment().await.provider_intent.unwrap();
    let key = bench.effects[0].id.clone();
    assert!(matches!(sim.provider().void(key.as_str().into(), &intent).await, Ok(Outcome::Done(_))));
    assert_eq!(bench.attempt(true).await, Ok(vec!["voided".to_owned()]));
    bench.sound().await;
}

#[tokio::test]
async fn a_connection_that_is_never_made_did_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let provider = HttpProvider::new(&format!("http://{addr}"), QUICK).unwrap();
    let result = provider.authorize("key".into(), gbp(1), "tok_ok", order().as_str()).await;
    assert!(matches!(result, Err(TryError::NotDone(_))), "{result:?}");
    assert!(provider.query("key").await.is_err(), "no answer is not the answer that nothing is known");
}

/// Answers the simulator never gives: each is sent as it stands to one connection, which is then closed.
async fn answering(answer: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4_096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    addr
}

fn http(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn every_other_answer_is_taken_for_what_it_proves() {
    let not_done = |result: &Result<_, TryError>| matches!(result, Err(TryError::NotDone(_)));
    let busy = r#"{"error":{"code":"temporarily_unavailable","message":"busy"}}"#;
    let stopped = r#"{"error":{"code":"ledger_unavailable","message":"stopped"}}"#;
    for (answer, nothing_done) in [
        (http("429 Too Many Requests", ""), true),
        (http("503 Service Unavailable", busy), true),
        (http("503 Service Unavailable", stopped), false),
        (http("503 Service Unavailable", "no healthy upstream"), false),
        (http("500 Internal Server Error", ""), false),
        (http("302 Found", ""), false),
        (http("408 Request Timeout", ""), false),
        (http("200 OK", "not JSON"), false),
        (http("200 OK", r#"{"id":"pi_1","status":"requires_a_miracle","amount":1}"#), false),
        (http("200 OK", &format!("\"{}\"", "x".repeat(70_000))), false),
        ("HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{".to_owned(), false),
        (String::new(), false),
    ] {
        let addr = answering(answer.clone()).await;
        let provider = HttpProvider::new(&format!("http://{addr}"), QUICK).unwrap();
        let result = provider.authorize("key".into(), gbp(1), "tok_ok", "ref").await;
        let short: String = answer.chars().take(80).collect();
        assert!(if nothing_done { not_done(&result) } else { is_unknown(&result) }, "{short:?}: {result:?}");
    }
    let addr = answering(http("418 I'm a teapot", "")).await;
    let provider = HttpProvider::new(&format!("http://{addr}"), QUICK).unwrap();
    let result = provider.authorize("key".into(), gbp(1), "tok_ok", "ref").await;
    assert!(matches!(result, Ok(Outcome::Refused(reason)) if reason.code == "provider_418"));
    let addr = answering(http("500 Internal Server Error", "")).await;
    let provider = HttpProvider::new(&format!("http://{addr}"), QUICK).unwrap();
    assert!(is_unknown(&provider.query("key").await), "a failed question is not a no");
}

#[tokio::test]
async fn a_provider_that_does_not_answer_is_left_after_the_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let provider = HttpProvider::new(&format!("http://{}", listener.local_addr().unwrap()), QUICK).unwrap();
    let begun = std::time::Instant::now();
    assert!(is_unknown(&provider.authorize("key".into(), gbp(1), "tok_ok", "ref").await));
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn the_same_key_is_done_once_and_found_by_its_query() {
    let sim = Sim::start("once").await;
    let provider = sim.provider();
    assert_eq!(provider.query("key-1").await, Ok(None));
    let first = provider.authorize("key-1".into(), gbp(5), "tok_ok", "ref").await.unwrap();
    assert_eq!(provider.authorize("key-1".into(), gbp(5), "tok_ok", "ref").await.unwrap(), first);
    assert_eq!(provider.query("key-1").await, Ok(Some(first)));
    let other = provider.authorize("key-1".into(), gbp(6), "tok_ok", "ref").await.unwrap();
    assert!(matches!(other, Outcome::Refused(refused) if refused.code == "idempotency_key_reused"));
    let declined = provider.authorize("key-2".into(), gbp(5), "tok_declined", "ref").await.unwrap();
    assert_ne!(declined, Outcome::Refused(reason("card_declined")), "the provider's own words");
    assert_eq!(provider.query("key-2").await, Ok(Some(declined)));
}
