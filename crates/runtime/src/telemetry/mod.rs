//! Logs to standard error, metrics for Prometheus, and the trace context that ties them to requests.

mod filter;
mod json;
mod metrics;
pub mod trace;

use std::io::IsTerminal;

use metrics_exporter_prometheus::{BuildError, PrometheusHandle};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;

use crate::config::{LogFormat, TelemetryConfig};

pub use filter::check_filter;

/// The handle on what [`init`] installed. Cheap to clone.
#[derive(Clone)]
pub struct Telemetry {
    metrics: PrometheusHandle,
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
    #[error("the thread that keeps the metrics small could not be started: {0}")]
    Thread(std::io::Error),
}

/// Sets up logs and metrics for the whole process. Both are global by the nature of the macros that feed them, so this can
/// be done once.
///
/// # Errors
/// When the filter cannot be read, or on a second call in one process.
pub fn init(config: &TelemetryConfig) -> Result<Telemetry, TelemetryError> {
    let filter = filter::parse(&config.log_filter).map_err(TelemetryError::Filter)?;
    let is_terminal = std::io::stderr().is_terminal();
    let pretty = match config.log_format {
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
    let subscriber = tracing_subscriber::registry().with(layer.with_filter(filter));
    tracing::subscriber::set_global_default(subscriber).map_err(|_| TelemetryError::LogsInstalled)?;
    Ok(Telemetry { metrics: metrics::install()? })
}

// === impl Telemetry ===

impl Telemetry {
    /// Every metric in Prometheus' text format.
    pub fn render_metrics(&self) -> String {
        self.metrics.render()
    }
}
