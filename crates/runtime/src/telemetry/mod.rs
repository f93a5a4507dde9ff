//! Logs to standard error, metrics for Prometheus, both to a collector if wanted, and the trace context that ties them to
//! requests.

mod exposition;
mod fields;
mod filter;
mod json;
mod levels;
mod metrics;
mod otlp;
pub mod spans;
pub mod trace;

use std::io::IsTerminal;
use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, PrometheusHandle};
use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use pangaea_kernel::Histogram;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;

use crate::config::{Config, LogFormat};
use otlp::MetricsExport;
use spans::Spans;

pub use filter::check_filter;
pub(crate) use levels::{LevelError, Levels};

/// How long the end of a process waits for its last spans, logs and metrics to be exported.
const LAST_EXPORT_WAIT: Duration = Duration::from_secs(3);

/// The handle on what [`init`] installed. Cheap to clone.
#[derive(Clone, Default)]
pub struct Telemetry {
    metrics: Option<PrometheusHandle>,
    spans: Spans,
    levels: Levels,
    /// None where they are not exported.
    logs_export: Option<SdkLoggerProvider>,
    metrics_export: Option<MetricsExport>,
}

#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("telemetry.log_filter: {0}")]
    Filter(String),
    #[error("logging is already set up in this process; telemetry::init is called once, at the start of main")]
    LogsInstalled,
    #[error(
        "metrics are already set up in this process, or cannot be: {0}; telemetry::init is called once, at the start of main"
    )]
    Metrics(#[from] BuildError),
    #[error("a thread for the metrics could not be started: {0}")]
    Thread(std::io::Error),
    #[error("telemetry.otlp_endpoint: {0}")]
    Otlp(#[from] ExporterBuildError),
}

/// Sets up logs, metrics and the export of spans for the whole process. The first two are global by the nature of the macros
/// that feed them, so this can be done once. `histograms` are those that the modules declare: their buckets are fixed here.
///
/// # Errors
/// When the filter or the endpoint cannot be read, or on a second call in one process.
pub fn init(config: &Config, histograms: &[&Histogram]) -> Result<Telemetry, TelemetryError> {
    let filter = filter::parse(&config.telemetry.log_filter).map_err(TelemetryError::Filter)?;
    let (filter, levels) = Levels::of(filter, &config.telemetry.log_filter);
    let is_terminal = std::io::stderr().is_terminal();
    let pretty = match config.telemetry.log_format {
        LogFormat::Auto => is_terminal,
        LogFormat::Pretty => true,
        LogFormat::Json => false,
    };
    // A failing write to standard error is not reported there: that would panic, and logs must not stop the store.
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).log_internal_errors(false);
    let layer = match (pretty, is_terminal) {
        // On a terminal the layer itself decides about colours, and heeds NO_COLOR.
        (true, true) => layer.boxed(),
        (true, false) => layer.with_ansi(false).boxed(),
        (false, _) => layer.with_ansi(false).fmt_fields(json::fields()).event_format(json::JsonLines).boxed(),
    };
    let resource = otlp::resource(config);
    let (exported, logs_export) = otlp::logs(config, &resource)?.unzip();
    // One filter around both, so that both ways have the same lines, whatever the filter is changed to.
    let subscriber = tracing_subscriber::registry().with(layer.and_then(exported).with_filter(filter));
    tracing::subscriber::set_global_default(subscriber).map_err(|_| TelemetryError::LogsInstalled)?;
    let metrics = metrics::install(histograms)?;
    let metrics_export = otlp::metrics(config, &resource, &metrics)?;
    let spans = otlp::spans(config, &resource)?;
    Ok(Telemetry { metrics: Some(metrics), spans, levels, logs_export, metrics_export })
}

// === impl Telemetry ===

impl Telemetry {
    /// Nothing is measured and nothing exported: for hosts inside of tests and commands.
    pub fn off() -> Self {
        Self::default()
    }

    /// Every metric in Prometheus' text format.
    pub fn render_metrics(&self) -> String {
        self.metrics.as_ref().map(PrometheusHandle::render).unwrap_or_default()
    }

    /// How often [`Telemetry::export_metrics`] is wanted; never where metrics are not exported.
    pub(crate) fn metrics_interval(&self) -> Option<Duration> {
        self.metrics_export.as_ref().map(MetricsExport::interval)
    }

    /// Has every metric exported as it stands now, and does not wait for it.
    pub(crate) fn export_metrics(&self) {
        if let Some(export) = &self.metrics_export {
            export.export();
        }
    }

    /// Where finished spans go.
    pub fn spans(&self) -> &Spans {
        &self.spans
    }

    /// The levels of the logs, which can be changed.
    pub(crate) fn levels(&self) -> &Levels {
        &self.levels
    }

    /// Sends the last spans, logs and metrics; a collector that is away is not waited for longer than a moment.
    pub async fn shut_down(self) {
        // It blocks until the exporting threads have answered.
        let _ = tokio::task::spawn_blocking(move || self.export_the_last()).await;
    }

    fn export_the_last(&self) {
        // At once, so that together they take no longer than one.
        std::thread::scope(|scope| {
            scope.spawn(|| self.spans.shut_down(LAST_EXPORT_WAIT));
            if let Some(export) = &self.metrics_export {
                scope.spawn(|| export.shut_down(LAST_EXPORT_WAIT));
            }
            if let Some(Err(error)) = self.logs_export.as_ref().map(|logs| logs.shutdown_with_timeout(LAST_EXPORT_WAIT))
            {
                tracing::warn!(%error, "the last logs were not exported");
            }
        });
    }
}
