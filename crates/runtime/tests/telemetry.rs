//! What is global is set up once: a test binary of its own, because a process can show this only once.

use pangaea_runtime::config::{Config, Sources};
use pangaea_runtime::telemetry::{self, TelemetryError};

#[test]
fn metrics_are_rendered_and_a_second_start_is_refused() {
    let config = Config::load(&Sources::default()).unwrap().config;
    let telemetry = telemetry::init(&config).unwrap();
    metrics::counter!("test_orders_total", "state" => "confirmed").increment(3);
    metrics::histogram!("test_commit_seconds").record(0.004);
    let text = telemetry.render_metrics();
    for line in [
        "test_orders_total{state=\"confirmed\"} 3",
        "test_commit_seconds_bucket{le=\"0.005\"} 1",
        "test_commit_seconds_count 1",
    ] {
        assert!(text.lines().any(|rendered| rendered == line), "{line}\n{text}");
    }
    let Err(error) = telemetry::init(&config) else { panic!("a second init must be refused") };
    assert!(matches!(error, TelemetryError::LogsInstalled), "{error}");
    assert!(error.to_string().contains("called once"), "{error}");
}
