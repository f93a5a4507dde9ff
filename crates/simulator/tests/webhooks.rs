//! Webhooks reach a real receiver, signed.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::Running;
use pangaea_simulator::{Simulator, SimulatorConfig};
use ring::hmac;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

const SECRET: &[u8] = b"a secret of twenty-four bytes and more";

struct Delivery {
    id: String,
    body: Value,
    at: Instant,
}

/// What the receiver needs: where deliveries go, and how many it still refuses although they are signed well.
#[derive(Clone)]
struct Receiver {
    deliveries: mpsc::Sender<Delivery>,
    refusals_left: Arc<AtomicU32>,
}

/// A receiver that verifies signatures and refuses the first deliveries, and a simulator that sends to it.
async fn start(refusals: u32) -> (Running, mpsc::Receiver<Delivery>) {
    let (sender, deliveries) = mpsc::channel(64);
    let receiver = Receiver { deliveries: sender, refusals_left: Arc::new(AtomicU32::new(refusals)) };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let url = format!("http://{}/hooks", listener.local_addr().expect("an address"));
    let app = Router::new().route("/hooks", post(receive)).with_state(receiver);
    let serving = async move {
        let mut tasks = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let service = hyper_util::service::TowerToHyperService::new(app.clone());
            let io = hyper_util::rt::TokioIo::new(stream);
            tasks.spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
        }
    };
    tokio::spawn(serving);
    let config = SimulatorConfig {
        webhook_url: Some(url),
        webhook_secret: Some(format!("whsec_{}", STANDARD.encode(SECRET))),
        ..SimulatorConfig::default()
    };
    (Running::start(config).await, deliveries)
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut signed = format!("{}.{}.", header("webhook-id"), header("webhook-timestamp")).into_bytes();
    signed.extend_from_slice(&body);
    let signature = header("webhook-signature").strip_prefix("v1,").unwrap_or_default();
    let signature = STANDARD.decode(signature).unwrap_or_default();
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    if hmac::verify(&key, &signed, &signature).is_err() {
        return StatusCode::UNAUTHORIZED;
    }
    let refuse = |left: u32| left.checked_sub(1);
    if receiver.refusals_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, refuse).is_ok() {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let body = serde_json::from_slice(&body).unwrap_or_default();
    let delivery = Delivery { id: header("webhook-id").to_owned(), body, at: Instant::now() };
    match receiver.deliveries.send(delivery).await {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::GONE,
    }
}

async fn next(deliveries: &mut mpsc::Receiver<Delivery>) -> Delivery {
    tokio::time::timeout(Duration::from_secs(10), deliveries.recv()).await.expect("in time").expect("a delivery")
}

#[tokio::test]
async fn a_movement_is_announced_with_a_signature() {
    let (provider, mut deliveries) = start(0).await;
    let intent = provider.authorize("a", "tok_ok", 500).await;
    let delivery = next(&mut deliveries).await;
    assert!(delivery.id.starts_with("msg_"));
    assert_eq!(delivery.body["type"], "payment_intent.authorized");
    assert_eq!(delivery.body["data"], intent.body);
    let captured = provider.capture("c", intent.id(), json!({})).await;
    let delivery = next(&mut deliveries).await;
    assert_eq!(delivery.body["type"], "payment_intent.captured");
    assert_eq!(delivery.body["data"], captured.body);
    provider.stop().await;
}

#[tokio::test]
async fn a_webhook_that_is_refused_is_sent_again() {
    let (provider, mut deliveries) = start(2).await;
    let begin = Instant::now();
    provider.authorize("a", "tok_ok", 500).await;
    let delivery = next(&mut deliveries).await;
    assert_eq!(delivery.body["type"], "payment_intent.authorized");
    assert!(delivery.at - begin >= Duration::from_millis(600), "it backs off for 200 ms, then 400 ms");
    provider.stop().await;
}

#[tokio::test]
async fn a_late_webhook_comes_after_the_next_step() {
    let (provider, mut deliveries) = start(0).await;
    let begin = Instant::now();
    let intent = provider.authorize("a", "tok_late_webhook", 500).await;
    assert_eq!(provider.capture("c", intent.id(), json!({})).await.state(), "succeeded");
    assert!(begin.elapsed() < Duration::from_millis(1_500), "the calls themselves are not late");
    let delivery = next(&mut deliveries).await;
    assert!(delivery.at - begin >= Duration::from_secs(2));
    provider.stop().await;
}

#[tokio::test]
async fn a_duplicate_webhook_keeps_its_id() {
    let (provider, mut deliveries) = start(0).await;
    provider.authorize("a", "tok_duplicate_webhook", 500).await;
    let (first, second) = (next(&mut deliveries).await, next(&mut deliveries).await);
    assert_eq!((&first.id, &first.body), (&second.id, &second.body));
    provider.stop().await;
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused() {
    let secret = || Some(format!("whsec_{}", STANDARD.encode(SECRET)));
    let cases = [
        ("https://localhost/hooks", secret(), "http://"),
        ("http://localhost/hooks", None, "needs a secret"),
        ("http://localhost/hooks", Some("plain".to_owned()), "whsec_"),
        ("http://localhost/hooks", Some("whsec_!!".to_owned()), "base64"),
        ("http://localhost/hooks", Some("whsec_AAAA".to_owned()), "24 bytes"),
    ];
    for (url, webhook_secret, told) in cases {
        let config =
            SimulatorConfig { webhook_url: Some(url.to_owned()), webhook_secret, ..SimulatorConfig::default() };
        let error = Simulator::bind(config).await.expect_err("refused");
        assert!(error.to_string().contains(told), "{error}");
    }
}
