//! One JSON object a line: `timestamp`, `level`, `target`, `message`, the event's fields, and those of its spans.
//!
//! The stock JSON format nests the spans' fields in a list; here they stand at the top, so that `trace_id` is found in one
//! place whether a line was written in the span or three spans below.

use std::fmt;

use serde_json::{Map, Value};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::fields::Fields;

pub(super) struct JsonLines;

/// How spans keep their fields until a line is written.
pub(super) fn fields() -> JsonFields {
    JsonFields::new()
}

// === impl JsonLines ===

impl<S> FormatEvent<S, JsonFields> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let mut fields = Fields::default();
        fields.add("timestamp", Value::from(timestamp));
        fields.add("level", Value::from(metadata.level().as_str()));
        fields.add("target", Value::from(metadata.target()));
        event.record(&mut fields);
        for span in context.event_scope().into_iter().flatten() {
            fields.add("span", Value::from(span.name()));
            let extensions = span.extensions();
            let kept = extensions.get::<FormattedFields<JsonFields>>().map_or("", |kept| kept.fields.as_str());
            for (name, value) in serde_json::from_str::<Map<String, Value>>(kept).unwrap_or_default() {
                fields.add(&name, value);
            }
        }
        writeln!(writer, "{}", Value::Object(fields.0))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use serde_json::Value;
    use tracing_subscriber::layer::SubscriberExt;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines_of(work: impl FnOnce()) -> Vec<Value> {
        let sink = Sink::default();
        let written = sink.clone();
        let layer = tracing_subscriber::fmt::layer().fmt_fields(super::fields()).event_format(super::JsonLines);
        let subscriber = tracing_subscriber::registry().with(layer.with_ansi(false).with_writer(move || sink.clone()));
        tracing::subscriber::with_default(subscriber, work);
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_line_carries_the_trace_id_of_its_outer_span() {
        let lines = lines_of(|| {
            tracing::info!("outside");
            let request =
                tracing::info_span!("http", trace_id = %"0af7651916cd43dd8448eb211c80319c", route = "/v1/orders");
            let _request = request.enter();
            let _inner = tracing::info_span!("commit", rows = 3_u64, route = "inner").entered();
            tracing::warn!(rows = 7_u64, quoted = "a \"b\"\n", "slow");
        });
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["message"], "outside");
        assert!(lines[0].get("trace_id").is_none());
        let line = &lines[1];
        assert_eq!(line["trace_id"], "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(
            (&line["message"], &line["level"], &line["span"]),
            (&"slow".into(), &"WARN".into(), &"commit".into())
        );
        assert_eq!((&line["rows"], &line["route"], &line["quoted"]), (&7.into(), &"inner".into(), &"a \"b\"\n".into()));
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'), "{line}");
    }

    #[test]
    fn an_error_is_written_with_its_causes() {
        let cause = io::Error::other("disk full");
        let error = pangaea_error(cause);
        let lines = lines_of(|| tracing::error!(error = &*error, "stopped"));
        assert_eq!(lines[0]["error"], "cannot write: disk full");
    }

    fn pangaea_error(cause: io::Error) -> Box<dyn std::error::Error + 'static> {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot write")]
        struct Outer(#[source] io::Error);
        Box::new(Outer(cause))
    }
}
