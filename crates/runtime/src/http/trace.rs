use std::time::{Duration, Instant, SystemTime};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use opentelemetry::trace::SpanKind;
use pangaea_kernel::{Problem, ProblemKind};
use tracing::Instrument;

use crate::telemetry::spans::{self, Span, Spans};
use crate::telemetry::trace::{Sampling, TraceContext};

/// What [`observe`] needs.
#[derive(Clone)]
pub(crate) struct Observed {
    pub(crate) spans: Spans,
    pub(crate) sampling: Sampling,
}

/// Gives every request a trace context, a span, and its place in the metrics.
pub(crate) async fn observe(State(observed): State<Observed>, mut request: Request, next: Next) -> Response {
    let (started, started_at) = (Instant::now(), spans::now());
    let method = known_method(request.method());
    let route =
        request.extensions().get::<MatchedPath>().map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let context = TraceContext::of_request(request.headers(), observed.sampling);
    let traceparent = context.traceparent();
    if let Ok(value) = HeaderValue::try_from(&traceparent) {
        request.headers_mut().insert("traceparent", value);
    }
    let span = tracing::info_span!("http", method, route, trace_id = %context.trace_id());
    let mut response = next.run(request).instrument(span.clone()).await;
    let status = response.status().as_u16();
    let elapsed = started.elapsed();
    span.in_scope(|| tracing::debug!(status, elapsed_ms = elapsed.as_millis() as u64, "answered"));
    observed.export(context, (method, &route), status, started_at);
    metrics::histogram!(
        "http_server_request_duration_seconds", "http_request_method" => method, "http_route" => route,
        "http_response_status_code" => status.to_string()
    )
    .record(elapsed.as_secs_f64());
    if let Ok(value) = HeaderValue::try_from(traceparent) {
        response.headers_mut().insert("traceparent", value);
    }
    response
}

impl Observed {
    fn export(&self, context: TraceContext, (method, route): (&'static str, &str), status: u16, started: SystemTime) {
        if !self.spans.is_on() {
            return;
        }
        let span = Span::new(context, format!("{method} {route}"), started)
            .of_kind(SpanKind::Server)
            .with("http.request.method", method)
            .with("http.route", route.to_owned())
            .with("http.response.status_code", i64::from(status));
        if status >= 500 { self.spans.fail(span, format!("status {status}")) } else { self.spans.end(span) }
    }
}

/// A client may make up methods; a label may not grow with them (OpenTelemetry's conventions say `_OTHER`).
fn known_method(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("_OTHER")
}

/// Ends a request that takes too long. What it has admitted is still done; waiting that the client asked for is added.
pub(crate) async fn time_out(State(limit_ms): State<u64>, request: Request, next: Next) -> Response {
    let prefer = request.headers().get("prefer").and_then(|value| value.to_str().ok()).unwrap_or("");
    let wait = prefer.split([',', ';']).find_map(|part| part.trim().strip_prefix("wait=")?.parse::<u64>().ok());
    let limit = Duration::from_millis(limit_ms) + Duration::from_secs(wait.unwrap_or(0).min(60));
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let detail = "whether it happened is unknown; send the same request again with the same Idempotency-Key";
            Problem::new(ProblemKind::OutcomeUnknown, detail).with_retry_after(1).into_response()
        }
    }
}
