//! Export over OTLP/HTTP with protobuf bodies.
//!
//! The blocking client, in threads of the exporters' own: the asynchronous ones need a reactor, which those threads do not have.

mod logs;
mod metrics;

use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use opentelemetry::KeyValue;
use opentelemetry_otlp::{ExporterBuildError, LogExporter, Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{BatchConfigBuilder as LogBatches, BatchLogProcessor, SdkLoggerProvider};
use opentelemetry_sdk::trace::{BatchConfigBuilder as SpanBatches, BatchSpanProcessor, SpanProcessor};

use super::TelemetryError;
use super::spans::Spans;
use crate::CODE_VERSION;
use crate::config::Config;
pub(super) use logs::LogLayer;
pub(super) use metrics::MetricsExport;

/// Spans that wait to be sent; beyond it new ones are dropped, so that a collector that is away costs no memory.
const QUEUE_SPANS_MAX: usize = 16_384;
const BATCH_SPANS_MAX: usize = 2_048;
/// Log records that wait, likewise. They are larger, and fewer.
const QUEUE_LOGS_MAX: usize = 4_096;
const BATCH_LOGS_MAX: usize = 512;
const SEND_EVERY: Duration = Duration::from_secs(1);
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// Spans to the configured endpoint, or nowhere.
///
/// # Errors
/// When the endpoint is not a URL.
pub(super) fn spans(config: &Config, resource: &Resource) -> Result<Spans, ExporterBuildError> {
    let Some(url) = url(config, "traces") else { return Ok(Spans::default()) };
    let exporter = to(SpanExporter::builder().with_http(), url, config).build()?;
    let batches = SpanBatches::default()
        .with_max_queue_size(QUEUE_SPANS_MAX)
        .with_max_export_batch_size(BATCH_SPANS_MAX)
        .with_scheduled_delay(SEND_EVERY)
        .build();
    let mut processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
    processor.set_resource(resource);
    Ok(Spans::to(Box::new(processor)))
}

/// Logs to the configured endpoint, if they are wanted there, and what has to be shut down at the end.
///
/// # Errors
/// When the endpoint is not a URL.
pub(super) fn logs(
    config: &Config,
    resource: &Resource,
) -> Result<Option<(LogLayer, SdkLoggerProvider)>, ExporterBuildError> {
    let Some(url) = url(config, "logs").filter(|_| config.telemetry.otlp_logs) else { return Ok(None) };
    let exporter = to(LogExporter::builder().with_http(), url, config).build()?;
    let batches = LogBatches::default()
        .with_max_queue_size(QUEUE_LOGS_MAX)
        .with_max_export_batch_size(BATCH_LOGS_MAX)
        .with_scheduled_delay(SEND_EVERY)
        .build();
    let processor = BatchLogProcessor::builder(exporter).with_batch_config(batches).build();
    let provider = SdkLoggerProvider::builder().with_resource(resource.clone()).with_log_processor(processor).build();
    Ok(Some((LogLayer::new(&provider), provider)))
}

/// What `handle` shows, to the configured endpoint, if it is wanted there.
///
/// # Errors
/// When the exporting thread cannot be started.
pub(super) fn metrics(
    config: &Config,
    resource: &Resource,
    handle: &PrometheusHandle,
) -> Result<Option<MetricsExport>, TelemetryError> {
    let Some(url) = url(config, "metrics").filter(|_| config.telemetry.otlp_metrics) else { return Ok(None) };
    let target = metrics::Target {
        url,
        headers: config.telemetry.otlp_headers.clone().into_iter().collect(),
        resource: resource.clone(),
        interval: Duration::from_secs(config.telemetry.otlp_metrics_interval_s),
    };
    MetricsExport::start(target, handle.clone()).map(Some)
}

/// Where a signal goes; nowhere without an endpoint.
fn url(config: &Config, signal: &str) -> Option<String> {
    let endpoint = config.telemetry.otlp_endpoint.trim_end_matches('/');
    (!endpoint.is_empty()).then(|| format!("{endpoint}/v1/{signal}"))
}

fn to<B: WithExportConfig + WithHttpConfig>(builder: B, url: String, config: &Config) -> B {
    builder
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(url)
        .with_timeout(SEND_TIMEOUT)
        .with_headers(config.telemetry.otlp_headers.clone().into_iter().collect())
}

/// Who speaks, in OpenTelemetry's words. Made once for a process: all it exports is of one instance.
pub(super) fn resource(config: &Config) -> Resource {
    Resource::builder_empty()
        .with_attributes([
            KeyValue::new("service.name", service_name(config)),
            KeyValue::new("service.namespace", config.bus.namespace.clone()),
            KeyValue::new("service.version", CODE_VERSION),
            KeyValue::new("service.instance.id", instance_id()),
            KeyValue::new("process.pid", i64::from(std::process::id())),
        ])
        .build()
}

/// Tells apart the replicas of a module, whose sums are else taken for one another's: in containers their process ids are
/// alike. New at every start, as its counters are.
fn instance_id() -> String {
    // Seeded by the system for every process; nothing secret hangs on it.
    let random = || std::hash::RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", random(), random())
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
