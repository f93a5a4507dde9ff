use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as SpanStatus;
use prost::Message;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A collector that takes traces, logs and metrics over OTLP/HTTP and keeps them.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    kept: Kept,
    server: JoinHandle<()>,
}

#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Exports>>);

#[derive(Debug, Default)]
struct Exports {
    spans: Vec<Span>,
    logs: Vec<LogLine>,
    /// By service.
    metrics: BTreeMap<String, BTreeSet<String>>,
    /// The `service.instance.id`s of each service, with the signal.
    instances: BTreeMap<String, BTreeSet<(&'static str, String)>>,
    /// Every body as it came, with the signal that it was sent as. Text stands in protobuf as it is.
    bodies: Vec<(&'static str, Bytes)>,
}

/// A log record as it was exported.
#[derive(Clone, Debug)]
pub struct LogLine {
    pub service: String,
    /// Empty when it belongs to none.
    pub trace_id: String,
    pub severity: String,
    pub body: String,
    /// Values as text.
    pub attributes: BTreeMap<String, String>,
}

/// A span as it was exported.
#[derive(Clone, Debug)]
pub struct Span {
    pub service: String,
    pub trace_id: String,
    pub span_id: String,
    /// Empty for the first of a trace.
    pub parent_id: String,
    pub name: String,
    pub start_unix_nano: u64,
    pub end_unix_nano: u64,
    pub is_error: bool,
    /// Values as text.
    pub attributes: BTreeMap<String, String>,
}

/// The spans of one trace.
#[derive(Clone, Debug)]
pub struct Trace(pub Vec<Span>);

// === impl Collector ===

impl Collector {
    /// Serves on a free port of this machine until it is dropped.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("a port for the collector")?;
        let address = listener.local_addr()?;
        let kept = Kept::default();
        let router = axum::Router::new()
            .route("/v1/traces", post(take_traces))
            .route("/v1/logs", post(take_logs))
            .route("/v1/metrics", post(take_metrics))
            .with_state(kept.clone());
        let server = tokio::spawn(async move {
            // It ends with the collector.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, kept, server })
    }

    /// What `telemetry.otlp_endpoint` has to say.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What has come of the trace so far.
    pub fn trace(&self, trace_id: &str) -> Trace {
        Trace(self.kept.lock().spans.iter().filter(|span| span.trace_id == trace_id).cloned().collect())
    }

    /// All spans that have come.
    pub fn all(&self) -> Vec<Span> {
        self.kept.lock().spans.clone()
    }

    /// All log records that have come.
    pub fn logs(&self) -> Vec<LogLine> {
        self.kept.lock().logs.clone()
    }

    /// The names of all metrics that have come, by service.
    pub fn metrics(&self) -> BTreeMap<String, BTreeSet<String>> {
        self.kept.lock().metrics.clone()
    }

    /// The instances that have spoken for each service, with the signal of each.
    pub fn instances(&self) -> BTreeMap<String, BTreeSet<(&'static str, String)>> {
        self.kept.lock().instances.clone()
    }

    /// The signals in whose exports this text stands, whatever its case.
    pub fn signals_with(&self, text: &str) -> BTreeSet<&'static str> {
        let text = text.to_ascii_lowercase().into_bytes();
        let holds = |body: &Bytes| body.to_ascii_lowercase().windows(text.len()).any(|window| window == text);
        self.kept.lock().bodies.iter().filter(|(_, body)| holds(body)).map(|(signal, _)| *signal).collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

// === impl Kept ===

impl Kept {
    fn lock(&self) -> MutexGuard<'_, Exports> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Exports ===

impl Exports {
    /// Whose export this is; notes which instance speaks.
    fn service(&mut self, signal: &'static str, resource: Option<Resource>) -> String {
        let mut attributes = resource.map(|resource| texts(resource.attributes)).unwrap_or_default();
        let service = attributes.remove("service.name").unwrap_or_default();
        let instance = attributes.remove("service.instance.id").unwrap_or_default();
        self.instances.entry(service.clone()).or_default().insert((signal, instance));
        service
    }
}

async fn take_traces(State(kept): State<Kept>, body: Bytes) -> StatusCode {
    let Ok(request) = ExportTraceServiceRequest::decode(body.clone()) else { return StatusCode::BAD_REQUEST };
    let mut kept = kept.lock();
    kept.bodies.push(("traces", body));
    for of_resource in request.resource_spans {
        let service = kept.service("traces", of_resource.resource);
        for span in of_resource.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans) {
            kept.spans.push(Span {
                service: service.clone(),
                trace_id: hexadecimal(&span.trace_id),
                span_id: hexadecimal(&span.span_id),
                parent_id: hexadecimal(&span.parent_span_id),
                name: span.name,
                start_unix_nano: span.start_time_unix_nano,
                end_unix_nano: span.end_time_unix_nano,
                is_error: span.status.is_some_and(|status| status.code == SpanStatus::Error as i32),
                attributes: texts(span.attributes),
            });
        }
    }
    StatusCode::OK
}

async fn take_logs(State(kept): State<Kept>, body: Bytes) -> StatusCode {
    let Ok(request) = ExportLogsServiceRequest::decode(body.clone()) else { return StatusCode::BAD_REQUEST };
    let mut kept = kept.lock();
    kept.bodies.push(("logs", body));
    for of_resource in request.resource_logs {
        let service = kept.service("logs", of_resource.resource);
        for record in of_resource.scope_logs.into_iter().flat_map(|of_scope| of_scope.log_records) {
            kept.logs.push(LogLine {
                service: service.clone(),
                trace_id: hexadecimal(&record.trace_id),
                severity: record.severity_text,
                body: record.body.and_then(text).unwrap_or_default(),
                attributes: texts(record.attributes),
            });
        }
    }
    StatusCode::OK
}

async fn take_metrics(State(kept): State<Kept>, body: Bytes) -> StatusCode {
    let Ok(request) = ExportMetricsServiceRequest::decode(body.clone()) else { return StatusCode::BAD_REQUEST };
    let mut kept = kept.lock();
    kept.bodies.push(("metrics", body));
    for of_resource in request.resource_metrics {
        let service = kept.service("metrics", of_resource.resource);
        let names = kept.metrics.entry(service).or_default();
        let metrics = of_resource.scope_metrics.into_iter().flat_map(|of_scope| of_scope.metrics);
        names.extend(metrics.filter(|metric| metric.data.is_some()).map(|metric| metric.name));
    }
    StatusCode::OK
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    attributes.into_iter().filter_map(|attribute| Some((attribute.key, text(attribute.value?)?))).collect()
}

fn text(value: AnyValue) -> Option<String> {
    Some(match value.value? {
        Value::StringValue(text) => text,
        Value::BoolValue(value) => value.to_string(),
        Value::IntValue(value) => value.to_string(),
        other => format!("{other:?}"),
    })
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

// === impl Trace ===

impl Trace {
    pub fn names(&self) -> BTreeSet<&str> {
        self.0.iter().map(|span| span.name.as_str()).collect()
    }

    pub fn services(&self) -> BTreeSet<&str> {
        self.0.iter().map(|span| span.service.as_str()).collect()
    }

    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Span> {
        self.0.iter().filter(move |span| span.name == name)
    }

    /// # Errors
    /// When a span names a parent that has not come, or there is not exactly one first span.
    pub fn check_parents(&self) -> Result<()> {
        let ids: BTreeSet<&str> = self.0.iter().map(|span| span.span_id.as_str()).collect();
        let is_first = |span: &&Span| span.parent_id.trim_start_matches('0').is_empty();
        let orphans: Vec<String> = self
            .0
            .iter()
            .filter(|span| !is_first(span) && !ids.contains(span.parent_id.as_str()))
            .map(|span| format!("{} of {} (parent {})", span.name, span.service, span.parent_id))
            .collect();
        ensure!(orphans.is_empty(), "spans without their parents: {orphans:?}");
        let first: Vec<&str> = self.0.iter().filter(is_first).map(|span| span.name.as_str()).collect();
        ensure!(first.len() == 1, "a trace begins once, not with {first:?}");
        Ok(())
    }
}
