//! A simulator on a free port and a small HTTP client for it.
#![allow(dead_code, reason = "each test file uses its own part of this module")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use pangaea_simulator::{Simulator, SimulatorConfig, SimulatorError};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) struct Running {
    pub(crate) addr: SocketAddr,
    client: Client<HttpConnector, Full<Bytes>>,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), SimulatorError>>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) replayed: bool,
    pub(crate) body: Value,
}

impl Running {
    pub(crate) async fn start(config: SimulatorConfig) -> Self {
        let simulator = Simulator::bind(config).await.expect("the simulator binds");
        let addr = simulator.addr();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(simulator.run(shutdown.clone()));
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Self { addr, client, shutdown, task }
    }

    /// Ends the simulator and waits until it has released its ledger.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.expect("run does not panic").expect("run ends well");
    }

    /// Ends the simulator wherever it stands, as far as that can be done within one process.
    pub(crate) async fn abort(self) {
        self.task.abort();
        assert!(self.task.await.is_err_and(|error| error.is_cancelled()), "it was still running");
    }

    /// `Err` if the connection ended, or nothing came within ten seconds.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        key: Option<&str>,
        body: Option<&Value>,
    ) -> Result<Reply, String> {
        let bytes = body.map(|body| body.to_string()).unwrap_or_default();
        self.send_raw(method, path, key, bytes.into_bytes()).await
    }

    pub(crate) async fn send_raw(
        &self,
        method: &str,
        path: &str,
        key: Option<&str>,
        body: Vec<u8>,
    ) -> Result<Reply, String> {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.addr));
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|error| error.to_string())?;
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| format!("{error:?}"))?;
            let (parts, body) = response.into_parts();
            let bytes = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
            let body = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
            let replayed = parts.headers.contains_key("idempotent-replayed");
            Ok(Reply { status: parts.status.as_u16(), replayed, body })
        };
        let limit = Duration::from_secs(10);
        tokio::time::timeout(limit, exchange).await.map_err(|_| "no answer".to_owned())?
    }

    pub(crate) async fn post(&self, path: &str, key: &str, body: Value) -> Reply {
        self.send("POST", path, Some(key), Some(&body)).await.expect("an answer")
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, None, None).await.expect("an answer")
    }

    pub(crate) async fn authorize(&self, key: &str, token: &str, amount: i64) -> Reply {
        self.post("/v1/payment_intents", key, intent_body(token, amount, key)).await
    }

    pub(crate) async fn capture(&self, key: &str, intent: &str, body: Value) -> Reply {
        self.post(&format!("/v1/payment_intents/{intent}/capture"), key, body).await
    }

    pub(crate) async fn cancel(&self, key: &str, intent: &str) -> Reply {
        self.post(&format!("/v1/payment_intents/{intent}/cancel"), key, json!({})).await
    }

    pub(crate) async fn refund(&self, key: &str, intent: &str, amount: i64) -> Reply {
        self.post("/v1/refunds", key, json!({"payment_intent": intent, "amount": amount})).await
    }
}

impl Reply {
    pub(crate) fn id(&self) -> &str {
        self.body["id"].as_str().unwrap_or_else(|| panic!("an id is expected in {self:?}"))
    }

    pub(crate) fn state(&self) -> &str {
        self.body["status"].as_str().unwrap_or_else(|| panic!("a status is expected in {self:?}"))
    }

    pub(crate) fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_else(|| panic!("an error is expected in {self:?}"))
    }
}

/// The reference is the key behind `ref-`.
pub(crate) fn intent_body(token: &str, amount: i64, key: &str) -> Value {
    json!({"amount": amount, "currency": "GBP", "payment_method": token, "reference": format!("ref-{key}")})
}

/// A path that no other test uses; the file does not exist.
pub(crate) fn fresh_ledger() -> PathBuf {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let name = format!("ledger-{}-{number}.jsonl", std::process::id());
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("simulator").join(name);
    let _ = std::fs::remove_file(&path);
    path
}

pub(crate) fn with_ledger(path: &std::path::Path) -> SimulatorConfig {
    SimulatorConfig { ledger: Some(path.to_owned()), ..SimulatorConfig::default() }
}
