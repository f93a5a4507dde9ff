//! Log lines as OTLP records: what `json` writes, with the trace in the place that OTLP has for it.
//!
//! `opentelemetry-appender-tracing` takes the trace from OpenTelemetry's own context, which our spans never enter (see
//! `spans`), and leaves out the fields of `tracing`'s spans. So the records are made here.

use opentelemetry::logs::{AnyValue, LogRecord, Logger, LoggerProvider, Severity};
use opentelemetry::{SpanId, TraceId};
use opentelemetry_sdk::logs::{SdkLogger, SdkLoggerProvider};
use serde_json::Value;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::telemetry::fields::Fields;
use crate::telemetry::spans::now;

/// Of one text in a record; what is longer is cut, so that the queue's bound is one of memory, too.
const TEXT_BYTES_MAX: usize = 8_192;
/// What an export may itself log: exporting it would be the next thing to log.
const OF_THE_EXPORT: [&str; 9] = [
    "h2",
    "hyper",
    "hyper_util",
    "opentelemetry",
    "opentelemetry_http",
    "opentelemetry_otlp",
    "opentelemetry_sdk",
    "reqwest",
    "tower",
];

/// Hands events to OpenTelemetry's processor, which never blocks. Whether an event comes here is decided by the filter around it.
pub(in crate::telemetry) struct LogLayer(SdkLogger);

// === impl LogLayer ===

impl LogLayer {
    pub(super) fn new(provider: &SdkLoggerProvider) -> Self {
        Self(provider.logger("pangaea"))
    }
}

impl<S> Layer<S> for LogLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        if metadata.target().split("::").next().is_some_and(|root| OF_THE_EXPORT.contains(&root)) {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        for span in context.event_scope(event).into_iter().flatten() {
            fields.add("span", Value::from(span.name()));
            for (name, value) in span.extensions().get::<Fields>().into_iter().flat_map(|kept| &kept.0) {
                fields.add(name, value.clone());
            }
        }
        let mut record = self.0.create_log_record();
        record.set_timestamp(now());
        record.set_target(metadata.target());
        record.set_severity_text(metadata.level().as_str());
        record.set_severity_number(severity(*metadata.level()));
        let mut fields = fields.0;
        if let Some(message) = fields.remove("message") {
            record.set_body(any_value(message));
        }
        let trace = fields.get("trace_id").and_then(Value::as_str).and_then(|digits| TraceId::from_hex(digits).ok());
        if let Some(trace) = trace {
            fields.remove("trace_id");
            // A line knows its trace and not its span: zeros stand for none.
            record.set_trace_context(trace, SpanId::INVALID, None);
        }
        record.add_attributes(fields.into_iter().map(|(name, value)| (name, any_value(value))));
        self.0.emit(record);
    }
}

fn severity(level: Level) -> Severity {
    match level {
        Level::ERROR => Severity::Error,
        Level::WARN => Severity::Warn,
        Level::INFO => Severity::Info,
        Level::DEBUG => Severity::Debug,
        Level::TRACE => Severity::Trace,
    }
}

fn any_value(value: Value) -> AnyValue {
    match value {
        Value::String(mut text) => {
            text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
            AnyValue::from(text)
        }
        Value::Bool(value) => AnyValue::Boolean(value),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => AnyValue::Int(whole),
            (None, Some(real)) => AnyValue::Double(real),
            (None, None) => AnyValue::from(number.to_string()),
        },
        other => AnyValue::from(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use opentelemetry::logs::{AnyValue, Severity};
    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::logs::{LogBatch, LogExporter, SdkLogRecord, SdkLoggerProvider};
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::{EnvFilter, Layer, reload};

    use super::{LogLayer, TEXT_BYTES_MAX};

    #[derive(Clone, Debug, Default)]
    struct Sink(Arc<Mutex<Vec<SdkLogRecord>>>);

    impl LogExporter for Sink {
        async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
            self.0.lock().unwrap().extend(batch.iter().map(|(record, _)| record.clone()));
            Ok(())
        }
    }

    fn attribute(record: &SdkLogRecord, name: &str) -> Option<AnyValue> {
        record.attributes_iter().find(|(key, _)| key.as_str() == name).map(|(_, value)| value.clone())
    }

    fn records_of(filter: EnvFilter, work: impl FnOnce(&dyn Fn(EnvFilter))) -> Vec<SdkLogRecord> {
        let sink = Sink::default();
        let provider = SdkLoggerProvider::builder().with_simple_exporter(sink.clone()).build();
        let (filter, handle) = reload::Layer::new(filter);
        let subscriber = tracing_subscriber::registry().with(LogLayer::new(&provider).with_filter(filter));
        tracing::subscriber::with_default(subscriber, || work(&|filter| handle.reload(filter).unwrap()));
        let records = sink.0.lock().unwrap();
        records.clone()
    }

    #[test]
    fn a_record_has_its_trace_and_the_fields_of_its_spans() {
        let records = records_of(EnvFilter::new("info"), |_| {
            let handle = tracing::info_span!(
                "handle",
                subject = "order.cmd.x.v1",
                correlation_id = "ord_1",
                trace_id = Some("0af7651916cd43dd8448eb211c80319c"),
                late = tracing::field::Empty
            );
            handle.record("late", true);
            let _handle = handle.entered();
            tracing::warn!(rows = 7_u64, subject = "inner", text = "é".repeat(TEXT_BYTES_MAX), "slow");
        });
        let [record] = &records[..] else { panic!("{records:?}") };
        let trace = record.trace_context().unwrap().trace_id.to_string();
        assert_eq!(trace, "0af7651916cd43dd8448eb211c80319c");
        assert_eq!((record.severity_number(), record.severity_text()), (Some(Severity::Warn), Some("WARN")));
        assert_eq!(record.body(), Some(&AnyValue::from("slow")));
        for (name, expected) in [
            ("rows", AnyValue::Int(7)),
            ("subject", AnyValue::from("inner")),
            ("correlation_id", AnyValue::from("ord_1")),
            ("span", AnyValue::from("handle")),
            ("late", AnyValue::Boolean(true)),
            ("text", AnyValue::from("é".repeat(TEXT_BYTES_MAX / 2))),
        ] {
            assert_eq!(attribute(record, name), Some(expected), "{name}");
        }
        assert_eq!(attribute(record, "trace_id"), None, "it is in its own place");
    }

    #[test]
    fn the_filter_decides_while_it_runs_and_what_an_export_logs_is_left_out() {
        let records = records_of(EnvFilter::new("info"), |set| {
            tracing::debug!("too fine");
            set(EnvFilter::new("trace"));
            tracing::debug!("fine");
            tracing::trace!(target: "hyper_util::client::legacy::pool", "of an export");
            tracing::info!(target: "opentelemetry_sdk", "of an export");
            set(EnvFilter::new("off"));
            tracing::error!("off");
        });
        let bodies: Vec<_> = records.iter().filter_map(|record| record.body()).collect();
        assert_eq!(bodies, [&AnyValue::from("fine")]);
        assert!(records[0].trace_context().is_none());
    }
}
