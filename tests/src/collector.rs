use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as SpanStatus;
use prost::Message;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A collector that takes traces over OTLP/HTTP and keeps them.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    spans: Arc<Mutex<Vec<Span>>>,
    server: JoinHandle<()>,
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
        let spans = Arc::new(Mutex::new(Vec::new()));
        let router = axum::Router::new().route("/v1/traces", post(take)).with_state(spans.clone());
        let server = tokio::spawn(async move {
            // It ends with the collector.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, spans, server })
    }

    /// What `telemetry.otlp_endpoint` has to say.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What has come of the trace so far.
    pub fn trace(&self, trace_id: &str) -> Trace {
        let spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        Trace(spans.iter().filter(|span| span.trace_id == trace_id).cloned().collect())
    }

    /// All that has come.
    pub fn all(&self) -> Vec<Span> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn take(State(spans): State<Arc<Mutex<Vec<Span>>>>, body: Bytes) -> StatusCode {
    let Ok(request) = ExportTraceServiceRequest::decode(body) else { return StatusCode::BAD_REQUEST };
    let mut kept = spans.lock().unwrap_or_else(PoisonError::into_inner);
    for of_resource in request.resource_spans {
        let resource = of_resource.resource.map(|resource| texts(resource.attributes)).unwrap_or_default();
        let service = resource.get("service.name").cloned().unwrap_or_default();
        for span in of_resource.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans) {
            kept.push(Span {
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

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value: Value| match value {
        Value::StringValue(text) => text,
        Value::BoolValue(value) => value.to_string(),
        Value::IntValue(value) => value.to_string(),
        other => format!("{other:?}"),
    };
    attributes.into_iter().filter_map(|attribute| Some((attribute.key, text(attribute.value?.value?)))).collect()
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
