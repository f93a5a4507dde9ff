//! What is global is set up once: a test binary of its own, because a process can show this only once.

use pangaea_kernel::{Histogram, Unit};
use pangaea_runtime::config::{Config, Sources};
use pangaea_runtime::telemetry::{self, TelemetryError};

const WAIT: Histogram =
    Histogram { name: "test_wait", unit: Unit::Seconds, label: "outcome", values: &["done"], buckets: &[1.0, 90.0] };

#[test]
fn metrics_are_rendered_and_a_second_start_is_refused() {
    let config = Config::load(&Sources::default()).unwrap().config;
    let telemetry = telemetry::init(&config, &[&WAIT]).unwrap();
    metrics::counter!("test_orders_total", "state" => "confirmed").increment(3);
    metrics::histogram!("test_commit_seconds").record(0.004);
    metrics::histogram!(WAIT.full_name(), "outcome" => "done").record(60.0);
    let text = telemetry.render_metrics();
    for line in [
        "test_orders_total{state=\"confirmed\"} 3",
        "test_commit_seconds_bucket{le=\"0.005\"} 1",
        "test_commit_seconds_count 1",
        "pangaea_test_wait_seconds_bucket{outcome=\"done\",le=\"1\"} 0",
        "pangaea_test_wait_seconds_bucket{outcome=\"done\",le=\"90\"} 1",
    ] {
        assert!(text.lines().any(|rendered| rendered == line), "{line}\n{text}");
    }
    let Err(error) = telemetry::init(&config, &[]) else { panic!("a second init must be refused") };
    assert!(matches!(error, TelemetryError::LogsInstalled), "{error}");
    assert!(error.to_string().contains("called once"), "{error}");
}
