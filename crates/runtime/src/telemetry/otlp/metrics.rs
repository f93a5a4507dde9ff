//! What `/metrics` shows, sent when it is asked for.
//!
//! OpenTelemetry's own meters would be a second set of books beside Prometheus', and `metrics` bridges to an older version only.
//! Here the recorder's text is read back, so that both ways always say the same. It costs a scrape each time, in a thread of its
//! own which nothing waits for, with one request at a time and no queue: what a collector misses is in the next sums.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics_exporter_prometheus::PrometheusHandle;
use opentelemetry_proto::tonic::Attributes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_sdk::Resource as SdkResource;
use prost::Message;

use super::SEND_TIMEOUT;
use crate::CODE_VERSION;
use crate::telemetry::TelemetryError;
use crate::telemetry::exposition::{Family, Kind, Labels, Sample, families};
use crate::telemetry::spans::now;

const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;

/// The thread that exports. Cheap to clone; the thread ends with the last clone.
#[derive(Clone)]
pub(in crate::telemetry) struct MetricsExport {
    orders: mpsc::Sender<Order>,
    /// Whether one is under way to the thread: at most one waits, however slow a collector is.
    is_ordered: Arc<AtomicBool>,
    interval: Duration,
}

enum Order {
    Export,
    /// Export and end; then say so.
    Last(mpsc::Sender<()>),
}

/// Where and for whom it exports.
pub(super) struct Target {
    pub(super) url: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) resource: SdkResource,
    pub(super) interval: Duration,
}

/// Of all points of one export, in nanoseconds since 1970.
#[derive(Clone, Copy)]
struct Times {
    started: u64,
    now: u64,
}

// === impl MetricsExport ===

impl MetricsExport {
    /// # Errors
    /// When the thread cannot be started.
    pub(super) fn start(target: Target, metrics: PrometheusHandle) -> Result<Self, TelemetryError> {
        let ((orders, received), is_ordered) = (mpsc::channel(), Arc::new(AtomicBool::new(false)));
        let (interval, taken) = (target.interval, is_ordered.clone());
        std::thread::Builder::new()
            .name("otlp-metrics".to_owned())
            .spawn(move || run(&target, &metrics, &received, &taken))
            .map_err(TelemetryError::Thread)?;
        Ok(Self { orders, is_ordered, interval })
    }

    /// How often [`MetricsExport::export`] is wanted.
    pub(in crate::telemetry) fn interval(&self) -> Duration {
        self.interval
    }

    /// Has the thread export. Does not wait for it; when one export already waits, this is left out.
    pub(in crate::telemetry) fn export(&self) {
        if !self.is_ordered.swap(true, Ordering::Relaxed) {
            // Without the thread there is nothing to be done.
            let _ = self.orders.send(Order::Export);
        }
    }

    /// Exports once more, for at most `timeout`, and never again. Blocks.
    pub(in crate::telemetry) fn shut_down(&self, timeout: Duration) {
        let (done, is_done) = mpsc::channel();
        if self.orders.send(Order::Last(done)).is_err() || is_done.recv_timeout(timeout).is_err() {
            tracing::warn!("the last metrics were not exported");
        }
    }
}

fn run(target: &Target, metrics: &PrometheusHandle, orders: &mpsc::Receiver<Order>, is_ordered: &AtomicBool) {
    let started = unix_nano(now());
    // It starts a runtime, so it is made here and not in the caller's.
    let client = reqwest::blocking::Client::builder().timeout(SEND_TIMEOUT).build();
    let export = || {
        let body = request(&metrics.render(), target, Times { started, now: unix_nano(now()) })?;
        let client = client.as_ref().map_err(ToString::to_string)?;
        let post = client.post(&target.url).header("content-type", "application/x-protobuf").body(body);
        let post = target.headers.iter().fold(post, |post, (name, value)| post.header(name, value));
        let answered = post.send().and_then(reqwest::blocking::Response::error_for_status);
        // The address may hold what only the configuration should know.
        answered.map(drop).map_err(|error| error.without_url().to_string())
    };
    let mut was_exported = true;
    while let Ok(order) = orders.recv() {
        is_ordered.store(false, Ordering::Relaxed);
        let exported = export();
        match &exported {
            // Once, and not each time while a collector is away.
            Err(error) if was_exported => {
                tracing::warn!(error, "metrics are not exported; what comes later makes up for it");
            }
            Ok(()) if !was_exported => tracing::info!("metrics are exported again"),
            _ => {}
        }
        was_exported = exported.is_ok();
        if let Order::Last(done) = order {
            // Who waited may have gone.
            let _ = done.send(());
            return;
        }
    }
}

fn unix_nano(moment: SystemTime) -> u64 {
    moment.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// The body of an export of `text`, which is what `/metrics` shows.
fn request(text: &str, target: &Target, times: Times) -> Result<Vec<u8>, String> {
    let families = families(text).map_err(|error| error.to_string())?;
    let metrics = families.into_iter().map(|family| metric(family, times)).collect::<Result<_, _>>()?;
    let attributes =
        target.resource.iter().map(|(name, value)| opentelemetry::KeyValue::new(name.clone(), value.clone()));
    let resource = Resource { attributes: Attributes::from(attributes).0, ..Resource::default() };
    let scope = InstrumentationScope {
        name: "pangaea".to_owned(),
        version: CODE_VERSION.to_owned(),
        ..InstrumentationScope::default()
    };
    let scope_metrics = vec![ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() }];
    let of_process = ResourceMetrics { resource: Some(resource), scope_metrics, ..ResourceMetrics::default() };
    Ok(ExportMetricsServiceRequest { resource_metrics: vec![of_process] }.encode_to_vec())
}

fn metric(family: Family<'_>, times: Times) -> Result<Metric, String> {
    let Family { name, kind, samples } = family;
    let unreadable = || format!("a value of {name} cannot be read");
    let data = match kind {
        Kind::Counter => {
            let point = |sample: Sample<'_>| {
                let value = number_data_point::Value::AsInt(i64::try_from(sample.value.parse::<u64>().ok()?).ok()?);
                Some(number(sample, value, times.started, times))
            };
            let data_points = samples.into_iter().map(point).collect::<Option<_>>().ok_or_else(unreadable)?;
            metric::Data::Sum(Sum { data_points, aggregation_temporality: CUMULATIVE, is_monotonic: true })
        }
        Kind::Gauge => {
            let point = |sample: Sample<'_>| {
                let value = number_data_point::Value::AsDouble(sample.value.parse().ok()?);
                Some(number(sample, value, 0, times))
            };
            let data_points = samples.into_iter().map(point).collect::<Option<_>>().ok_or_else(unreadable)?;
            metric::Data::Gauge(Gauge { data_points })
        }
        Kind::Histogram => {
            let data_points = histograms(samples, times).ok_or_else(unreadable)?;
            metric::Data::Histogram(Histogram { data_points, aggregation_temporality: CUMULATIVE })
        }
    };
    let unit = if name.ends_with("_seconds") { "s" } else { "" };
    Ok(Metric { name: name.to_owned(), unit: unit.to_owned(), data: Some(data), ..Metric::default() })
}

fn number(sample: Sample<'_>, value: number_data_point::Value, started: u64, times: Times) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes(sample.labels),
        start_time_unix_nano: started,
        time_unix_nano: times.now,
        value: Some(value),
        ..NumberDataPoint::default()
    }
}

/// A series' buckets come one after the other, then its sum, and its count at last. `None` when they do not.
fn histograms(samples: Vec<Sample<'_>>, times: Times) -> Option<Vec<HistogramDataPoint>> {
    let (mut points, mut point, mut below) = (Vec::new(), HistogramDataPoint::default(), 0_u64);
    for sample in samples {
        match sample.suffix {
            "_bucket" => {
                let (_, bound) = sample.labels.last().filter(|(name, _)| *name == "le")?;
                if bound != "+Inf" {
                    point.explicit_bounds.push(bound.parse().ok()?);
                }
                // Prometheus counts what is at most the bound, OTLP what is in the bucket.
                let at_most: u64 = sample.value.parse().ok()?;
                point.bucket_counts.push(at_most.checked_sub(below)?);
                below = at_most;
            }
            "_sum" => point.sum = Some(sample.value.parse().ok()?),
            _ => {
                point.count = sample.value.parse().ok()?;
                point.attributes = attributes(sample.labels);
                point.start_time_unix_nano = times.started;
                point.time_unix_nano = times.now;
                let is_whole = point.count == below && point.bucket_counts.len() == point.explicit_bounds.len() + 1;
                points.push(Some(std::mem::take(&mut point)).filter(|_| is_whole)?);
                below = 0;
            }
        }
    }
    (point == HistogramDataPoint::default()).then_some(points)
}

fn attributes(labels: Labels<'_>) -> Vec<KeyValue> {
    let attribute = |(name, value): (&str, String)| KeyValue {
        key: name.to_owned(),
        value: Some(AnyValue { value: Some(any_value::Value::StringValue(value)) }),
        ..KeyValue::default()
    };
    labels.into_iter().map(attribute).collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::{Duration, Instant};

    use metrics_exporter_prometheus::PrometheusBuilder;
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
    use opentelemetry_proto::tonic::metrics::v1::{Metric, metric::Data, number_data_point::Value};
    use opentelemetry_sdk::Resource;
    use prost::Message;

    use super::{MetricsExport, Target, Times, request};

    fn target(url: String) -> Target {
        let resource = Resource::builder_empty().with_service_name("pangaea-test").build();
        Target { url, headers: vec![("x-token".into(), "t".into())], resource, interval: Duration::from_secs(1) }
    }

    fn metrics_of(text: &str) -> Result<Vec<Metric>, String> {
        let target = target(String::new());
        let body = request(text, &target, Times { started: 5, now: 7 })?;
        let of_process = ExportMetricsServiceRequest::decode(&body[..]).unwrap().resource_metrics.remove(0);
        assert_eq!(of_process.resource.unwrap().attributes[0].key, "service.name");
        let mut metrics = of_process.scope_metrics.into_iter().next().unwrap().metrics;
        metrics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(metrics)
    }

    #[test]
    fn what_the_recorder_writes_becomes_sums_gauges_and_histograms() {
        let recorder = PrometheusBuilder::new().set_buckets(&[0.1, 1.0]).unwrap().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            metrics::counter!("a_total", "module" => "or\"der\n").increment(3);
            metrics::gauge!("b").set(-0.5);
            for (outcome, seconds) in [("good", 0.05), ("good", 0.5), ("good", 5.0), ("bad", 0.05)] {
                metrics::histogram!("c_seconds", "outcome" => outcome).record(seconds);
            }
        });
        let metrics = metrics_of(&recorder.handle().render()).unwrap();
        let names: Vec<_> = metrics.iter().map(|metric| (metric.name.as_str(), metric.unit.as_str())).collect();
        assert_eq!(names, [("a_total", ""), ("b", ""), ("c_seconds", "s")]);

        let Some(Data::Sum(sum)) = &metrics[0].data else { panic!("{:?}", metrics[0]) };
        assert!(sum.is_monotonic && sum.aggregation_temporality == super::CUMULATIVE);
        let point = &sum.data_points[0];
        assert_eq!((point.value, point.start_time_unix_nano, point.time_unix_nano), (Some(Value::AsInt(3)), 5, 7));
        let label = format!("{:?}", point.attributes);
        assert!(label.contains("module") && label.contains(r#"or\"der\n"#), "{label}");

        let Some(Data::Gauge(gauge)) = &metrics[1].data else { panic!("{:?}", metrics[1]) };
        assert_eq!(gauge.data_points[0].value, Some(Value::AsDouble(-0.5)));

        let Some(Data::Histogram(histogram)) = &metrics[2].data else { panic!("{:?}", metrics[2]) };
        assert_eq!((histogram.data_points.len(), histogram.aggregation_temporality), (2, super::CUMULATIVE));
        let good = histogram.data_points.iter().find(|point| point.count == 3).unwrap();
        assert_eq!((&good.bucket_counts[..], &good.explicit_bounds[..]), (&[1, 1, 1][..], &[0.1, 1.0][..]));
        assert_eq!((good.sum, good.attributes.len(), good.start_time_unix_nano), (Some(5.55), 1, 5));
    }

    #[test]
    fn half_a_histogram_and_odd_values_are_refused() {
        for text in [
            "# TYPE a_total counter\na_total 0.5",
            "# TYPE a_total counter\na_total -1",
            "# TYPE b gauge\nb high",
            "# TYPE c histogram\nc_bucket{le=\"1\"} 1\nc_sum 1\nc_count 1",
            "# TYPE c histogram\nc_bucket{le=\"1\"} 2\nc_bucket{le=\"+Inf\"} 1\nc_sum 1\nc_count 1",
            "# TYPE c histogram\nc_bucket{le=\"+Inf\"} 1\nc_sum 1\nc_count 2",
            "# TYPE c histogram\nc_bucket{le=\"+Inf\"} 1\nc_sum 1",
        ] {
            let error = metrics_of(text).expect_err(text);
            assert!(error.contains("cannot be read"), "{text}: {error}");
        }
    }

    #[test]
    fn a_collector_that_does_not_answer_is_waited_for_by_nobody() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1/metrics", silent.local_addr().unwrap());
        let recorder = PrometheusBuilder::new().build_recorder();
        let export = MetricsExport::start(target(url), recorder.handle()).unwrap();
        let begun = Instant::now();
        (0..10_000).for_each(|_| export.export());
        export.shut_down(Duration::from_millis(200));
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
        // It has been asked, and is asked once at a time.
        assert!(silent.accept().is_ok());
        silent.set_nonblocking(true).unwrap();
        assert!(silent.accept().is_err());
    }
}
