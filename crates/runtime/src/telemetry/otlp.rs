//! Export over OTLP/HTTP with protobuf bodies.
//!
//! The blocking client, in the processor's own thread: the asynchronous ones need a reactor, which that thread does not have.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SpanProcessor};

use super::spans::Spans;
use crate::CODE_VERSION;
use crate::config::Config;

/// Spans that wait to be sent; beyond it new ones are dropped, so that a collector that is away costs no memory.
const QUEUE_SPANS_MAX: usize = 16_384;
const BATCH_SPANS_MAX: usize = 2_048;
const SEND_EVERY: Duration = Duration::from_secs(1);
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// Spans to the configured endpoint, or nowhere.
///
/// # Errors
/// When the endpoint is not a URL.
pub(super) fn spans(config: &Config) -> Result<Spans, ExporterBuildError> {
    let endpoint = config.telemetry.otlp_endpoint.trim_end_matches('/');
    if endpoint.is_empty() {
        return Ok(Spans::default());
    }
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{endpoint}/v1/traces"))
        .with_timeout(SEND_TIMEOUT)
        .with_headers(config.telemetry.otlp_headers.clone().into_iter().collect())
        .build()?;
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE_SPANS_MAX)
        .with_max_export_batch_size(BATCH_SPANS_MAX)
        .with_scheduled_delay(SEND_EVERY)
        .build();
    let mut processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
    processor.set_resource(&resource(config));
    Ok(Spans::to(Box::new(processor)))
}

/// Who speaks, in OpenTelemetry's words.
fn resource(config: &Config) -> Resource {
    Resource::builder_empty()
        .with_attributes([
            KeyValue::new("service.name", service_name(config)),
            KeyValue::new("service.namespace", config.bus.namespace.clone()),
            KeyValue::new("service.version", CODE_VERSION),
            KeyValue::new("process.pid", i64::from(std::process::id())),
        ])
        .build()
}

/// As configured, or after what runs here: `pangaea`, `pangaea-order`, `pangaea-order-payment`.
fn service_name(config: &Config) -> String {
    if !config.telemetry.service_name.is_empty() {
        return config.telemetry.service_name.clone();
    }
    let modules: Vec<&str> = config.runtime.modules.iter().map(String::as_str).collect();
    if modules.is_empty() || modules.contains(&"*") {
        "pangaea".to_owned()
    } else {
        format!("pangaea-{}", modules.join("-"))
    }
}
