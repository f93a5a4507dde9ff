use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use pangaea_kernel::Histogram;

use super::TelemetryError;

/// Upper bounds of the buckets for what is timed, in seconds: from an in-memory answer to a request's longest wait.
const SECONDS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// For what is counted: sizes of batches and queues.
const COUNTS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 256.0, 1_024.0];
/// What a histogram has been told waits in memory until it is sorted into its buckets.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// `own` are those of the modules, each with its own buckets.
pub(super) fn install(own: &[&Histogram]) -> Result<PrometheusHandle, TelemetryError> {
    // Buckets and not quantiles: only buckets can be added up over replicas.
    let mut builder = PrometheusBuilder::new()
        .set_buckets(&COUNTS)?
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?;
    // Of one without buckets the host says what is wrong.
    for histogram in own.iter().filter(|histogram| !histogram.buckets.is_empty()) {
        builder = builder.set_buckets_for_metric(Matcher::Full(histogram.full_name()), histogram.buckets)?;
    }
    let handle = builder.install_recorder()?;
    ::metrics::gauge!("pangaea_build_info", "version" => crate::CODE_VERSION).set(1.0);
    let upkeep = handle.clone();
    // A thread of its own and not a task: it must also run where no one scrapes and no runtime exists yet. It holds nothing
    // that a stopping process waits for.
    std::thread::Builder::new()
        .name("metrics-upkeep".to_owned())
        .spawn(move || {
            loop {
                std::thread::sleep(UPKEEP_INTERVAL);
                upkeep.run_upkeep();
            }
        })
        .map_err(TelemetryError::Thread)?;
    Ok(handle)
}
