use std::sync::{Arc, PoisonError, RwLock};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use pangaea_bus::Bus;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::server::serve_http;
use crate::ModuleHandle;
use crate::config::HttpConfig;
use crate::telemetry::Telemetry;

/// Probes and whoever collects the metrics.
const CONNECTIONS_MAX: usize = 256;

/// What the probes look at.
#[derive(Clone, Default)]
pub(crate) struct Health(Arc<RwLock<Parts>>);

#[derive(Default)]
struct Parts {
    modules: Option<Vec<ModuleHandle>>,
    bus: Option<Arc<dyn Bus>>,
    draining: bool,
}

#[derive(Clone)]
struct Operations {
    health: Health,
    telemetry: Telemetry,
}

// === impl Health ===

impl Health {
    pub(crate) fn set_modules(&self, modules: Vec<ModuleHandle>) {
        self.write(|parts| parts.modules = Some(modules));
    }

    pub(crate) fn watch_bus(&self, bus: Arc<dyn Bus>) {
        self.write(|parts| parts.bus = Some(bus));
    }

    pub(crate) fn set_draining(&self) {
        self.write(|parts| parts.draining = true);
    }

    /// The hosted modules, once they have started.
    pub(super) fn modules(&self) -> Option<Vec<ModuleHandle>> {
        self.snapshot().0
    }

    /// Sets the gauges of what is looked at only when somebody asks.
    async fn observe(&self) {
        for module in self.modules().unwrap_or_default() {
            module.observe().await;
        }
    }

    fn write(&self, change: impl FnOnce(&mut Parts)) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }

    fn snapshot(&self) -> (Option<Vec<ModuleHandle>>, bool, bool) {
        let parts = self.0.read().unwrap_or_else(PoisonError::into_inner);
        (parts.modules.clone(), parts.bus.as_ref().is_none_or(|bus| bus.healthy()), parts.draining)
    }
}

/// Serves `/healthz`, `/readyz`, `/metrics`, `/log-filter`, `/dead-letters` and `/rebuild` until `stop`, on a listener that the
/// mesh does not expose. What `/metrics` shows is exported as well, where that is configured.
pub(crate) fn serve_operations(
    listener: TcpListener,
    health: Health,
    telemetry: Telemetry,
    http: &HttpConfig,
    stop: CancellationToken,
) -> JoinHandle<()> {
    tokio::spawn(export_metrics(health.clone(), telemetry.clone(), stop.clone()));
    let letters = super::letters::routes().with_state(health.clone());
    let rebuilds = super::rebuild::routes().with_state(health.clone());
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics_text))
        .merge(super::levels::routes(telemetry.levels().clone()))
        .with_state(Operations { health, telemetry })
        .merge(letters)
        .merge(rebuilds)
        .layer(axum::middleware::map_response(super::problem_for_plain_errors));
    let limits = HttpConfig { connections_max: CONNECTIONS_MAX, ..http.clone() };
    tokio::spawn(serve_http("operations", listener, router, limits, stop))
}

/// Ready: the database answers and the writer leads. A broker that is away degrades, and is said, but is no reason to
/// take the process out of service: what it accepts is kept.
async fn ready(State(operations): State<Operations>) -> Response {
    let (modules, bus_healthy, draining) = operations.health.snapshot();
    let Some(modules) = modules else {
        return (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "starting" }))).into_response();
    };
    let mut faults = serde_json::Map::new();
    for module in &modules {
        if let Err(fault) = module.ready().await {
            faults.insert(module.module().to_owned(), fault.into());
        }
    }
    let (code, status) = match (draining, faults.is_empty(), bus_healthy) {
        (true, _, _) => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        (_, false, _) => (StatusCode::SERVICE_UNAVAILABLE, "unready"),
        (_, _, false) => (StatusCode::OK, "degraded"),
        _ => (StatusCode::OK, "ready"),
    };
    let names: Vec<&str> = modules.iter().map(ModuleHandle::module).collect();
    (code, Json(json!({ "status": status, "modules": names, "bus": bus_healthy, "faults": faults }))).into_response()
}

async fn metrics_text(State(operations): State<Operations>) -> Response {
    operations.health.observe().await;
    ([("content-type", "text/plain; version=0.0.4")], operations.telemetry.render_metrics()).into_response()
}

/// Exports what a scrape would see, on schedule, until `stop`; nothing where nobody wants it.
async fn export_metrics(health: Health, telemetry: Telemetry, stop: CancellationToken) {
    let Some(interval) = telemetry.metrics_interval() else { return };
    while stop.run_until_cancelled(tokio::time::sleep(interval)).await.is_some() {
        health.observe().await;
        telemetry.export_metrics();
    }
}
