//! The W3C trace context, as it travels: `traceparent` in HTTP headers, envelopes and bus headers.

use std::collections::HashMap;

use axum::http::HeaderMap;
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};

const TRACEPARENT: &str = "traceparent";

/// One hop of a trace: the trace's id, and the id of the span that does the work. Always valid.
///
/// `tracestate` is dropped: it is for vendors along the way, and envelopes have no room for text of others' choosing.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceContext(SpanContext);

// === impl TraceContext ===

impl TraceContext {
    /// A new trace, sampled. Its ids are random, so this is for the edge only: handlers get theirs in the envelope.
    pub fn at_edge() -> Self {
        let ids = RandomIdGenerator::default();
        Self::of(ids.new_trace_id(), ids.new_span_id(), TraceFlags::SAMPLED)
    }

    /// The context in which a request is served: a child of what the client sent, or a new trace when it sent none, several,
    /// or nonsense.
    pub fn of_request(headers: &HeaderMap) -> Self {
        let mut sent = headers.get_all(TRACEPARENT).iter();
        let only = sent.next().filter(|_| sent.next().is_none());
        only.and_then(|value| value.to_str().ok())
            .and_then(Self::parse)
            .map_or_else(Self::at_edge, |parent| parent.child())
    }

    /// Reads a `traceparent`; `None` when it is not a valid one.
    pub fn parse(traceparent: &str) -> Option<Self> {
        let extracted = TraceContextPropagator::new().extract_with_context(&Context::new(), &One(traceparent));
        let span = extracted.span().span_context().clone();
        span.is_valid().then(|| Self::of(span.trace_id(), span.span_id(), span.trace_flags()))
    }

    /// The next hop of the same trace, with a random id: for the edge only.
    #[must_use]
    pub fn child(&self) -> Self {
        Self::of(self.0.trace_id(), RandomIdGenerator::default().new_span_id(), self.0.trace_flags())
    }

    /// The value of the `traceparent` header, 55 bytes.
    pub fn traceparent(&self) -> String {
        let mut headers = HashMap::new();
        TraceContextPropagator::new()
            .inject_context(&Context::new().with_remote_span_context(self.0.clone()), &mut headers);
        headers.remove(TRACEPARENT).unwrap_or_default()
    }

    /// Shown as 32 hexadecimal digits.
    pub fn trace_id(&self) -> TraceId {
        self.0.trace_id()
    }

    /// Shown as 16 hexadecimal digits.
    pub fn span_id(&self) -> SpanId {
        self.0.span_id()
    }

    pub fn is_sampled(&self) -> bool {
        self.0.is_sampled()
    }

    fn of(trace: TraceId, span: SpanId, flags: TraceFlags) -> Self {
        Self(SpanContext::new(trace, span, flags, true, TraceState::NONE))
    }
}

/// The propagator's view of a lone header.
struct One<'a>(&'a str);

impl Extractor for One<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == TRACEPARENT).then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue};

    use super::TraceContext;

    const SENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (super::TRACEPARENT.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_traceparent_is_read_and_written_again() {
        let context = TraceContext::parse(SENT).unwrap();
        assert_eq!(context.traceparent(), SENT);
        assert_eq!(context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert!(context.is_sampled());
        let unsampled = SENT.replace("-01", "-00");
        assert_eq!(TraceContext::parse(&unsampled).unwrap().traceparent(), unsampled);
    }

    #[test]
    fn nonsense_is_no_context() {
        let all_zero = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
        for bad in [
            "",
            "00",
            all_zero,
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-xyz-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceContext::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_request_continues_the_trace_it_names_and_starts_one_otherwise() {
        let sent = TraceContext::parse(SENT).unwrap();
        let served = TraceContext::of_request(&headers(&[SENT]));
        assert_eq!(served.trace_id(), sent.trace_id());
        assert_ne!(served.span_id(), sent.span_id());
        for values in [&[][..], &["nonsense"], &[SENT, SENT]] {
            let fresh = TraceContext::of_request(&headers(values));
            assert_ne!(fresh.trace_id(), sent.trace_id(), "{values:?}");
            assert!(fresh.is_sampled());
            assert_eq!(TraceContext::parse(&fresh.traceparent()), Some(fresh));
        }
    }
}
