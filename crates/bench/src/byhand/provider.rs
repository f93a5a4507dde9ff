//! The provider's operations: by HTTP to the simulator and its ledger file, as the store's, or done at once.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use pangaea_simulator::{Simulator, SimulatorConfig};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::Said;
use super::payment::Input;

/// As the store's `effects.in_flight_max`.
const IN_FLIGHT_MAX: usize = 64;

#[derive(Clone)]
pub(super) struct Provider(Option<Arc<Http>>);

struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
    places: Semaphore,
}

impl Provider {
    pub(super) async fn start(folder: &Path, with_provider: bool) -> Result<Self> {
        if !with_provider {
            return Ok(Self(None));
        }
        let ledger = Some(folder.join("provider-ledger.jsonl"));
        let simulator = Simulator::bind(SimulatorConfig { ledger, ..SimulatorConfig::default() }).await?;
        let base = format!("http://{}", simulator.addr());
        // It ends with the bench.
        tokio::spawn(simulator.run(CancellationToken::new()));
        let client = Client::builder(TokioExecutor::new()).build_http();
        Ok(Self(Some(Arc::new(Http { client, base, places: Semaphore::new(IN_FLIGHT_MAX) }))))
    }

    pub(super) fn perform(&self, operation: Said, intent: Option<String>, done: mpsc::Sender<Input>) {
        let http = self.0.clone();
        tokio::spawn(async move {
            let answered = match &http {
                Some(http) => http.perform(&operation, intent).await,
                None => Ok(intent.unwrap_or_else(|| format!("pi_{:024}", operation.id.len()))),
            };
            match answered {
                // The program may have ended meanwhile.
                Ok(intent) => drop(done.send(Input::Done { operation, intent }).await),
                Err(error) => eprintln!("error: the provider: {error:#}"),
            }
        });
    }
}

impl Http {
    async fn perform(&self, operation: &Said, intent: Option<String>) -> Result<String> {
        let _place = self.places.acquire().await?;
        let facts = &operation.facts;
        let (path, body) = match intent {
            None => {
                let body = json!({ "amount": facts.total, "currency": "GBP", "payment_method": "tok_ok", "reference": facts.order_id });
                ("/v1/payment_intents".to_owned(), body)
            }
            Some(intent) => (format!("/v1/payment_intents/{intent}/capture"), json!({ "amount": facts.total })),
        };
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}{path}", self.base))
            .header("idempotency-key", &operation.id)
            .header("traceparent", &facts.trace)
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body.to_string())))?;
        let response = self.client.request(request).await?;
        ensure!(response.status().is_success(), "{path}: {}", response.status());
        let body: Value = serde_json::from_slice(&response.into_body().collect().await?.to_bytes())?;
        Ok(body.get("id").and_then(Value::as_str).context("an intent without id")?.to_owned())
    }
}
