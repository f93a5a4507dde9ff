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
pub struct TraceContext {
    span: SpanContext,
    /// Invalid for the first span of a trace, and for a context that came from elsewhere.
    parent: SpanId,
}

/// Which share of the traces that begin here is sampled; a trace that began elsewhere keeps what was decided there.
///
/// Decided by the trace's id as OpenTelemetry's `TraceIdRatioBased` does it, so that all who begin one agree.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling(u64);

// === impl TraceContext ===

impl TraceContext {
    /// A new trace. Its ids are random, so this is for the edge only: handlers get theirs in the envelope.
    pub fn at_edge(sampling: Sampling) -> Self {
        let ids = RandomIdGenerator::default();
        let trace = ids.new_trace_id();
        Self::of(trace, ids.new_span_id(), sampling.flags_of(trace), SpanId::INVALID)
    }

    /// The context in which a request is served: a child of what the client sent, or a new trace when it sent none, several,
    /// or nonsense.
    pub fn of_request(headers: &HeaderMap, sampling: Sampling) -> Self {
        let mut sent = headers.get_all(TRACEPARENT).iter();
        let only = sent.next().filter(|_| sent.next().is_none());
        only.and_then(|value| value.to_str().ok())
            .and_then(Self::parse)
            .map_or_else(|| Self::at_edge(sampling), |parent| parent.child())
    }

    /// Reads a `traceparent`; `None` when it is not a valid one.
    pub fn parse(traceparent: &str) -> Option<Self> {
        let extracted = TraceContextPropagator::new().extract_with_context(&Context::new(), &One(traceparent));
        let span = extracted.span().span_context().clone();
        span.is_valid().then(|| Self::of(span.trace_id(), span.span_id(), span.trace_flags(), SpanId::INVALID))
    }

    /// The next hop of the same trace, with a random id: for the edge only.
    #[must_use]
    pub fn child(&self) -> Self {
        self.child_with(RandomIdGenerator::default().new_span_id())
    }

    /// The next hop of the same trace, with an id that is known: see [`pangaea_contracts::trace`].
    #[must_use]
    pub fn child_with(&self, span_id: SpanId) -> Self {
        Self::of(self.span.trace_id(), span_id, self.span.trace_flags(), self.span.span_id())
    }

    /// The value of the `traceparent` header, 55 bytes.
    pub fn traceparent(&self) -> String {
        let mut headers = HashMap::new();
        TraceContextPropagator::new()
            .inject_context(&Context::new().with_remote_span_context(self.span.clone()), &mut headers);
        headers.remove(TRACEPARENT).unwrap_or_default()
    }

    /// Shown as 32 hexadecimal digits.
    pub fn trace_id(&self) -> TraceId {
        self.span.trace_id()
    }

    /// Shown as 16 hexadecimal digits.
    pub fn span_id(&self) -> SpanId {
        self.span.span_id()
    }

    /// Of the span that this one follows from; invalid where that is not known.
    pub(super) fn parent_id(&self) -> SpanId {
        self.parent
    }

    pub fn is_sampled(&self) -> bool {
        self.span.is_sampled()
    }

    fn of(trace: TraceId, span: SpanId, flags: TraceFlags, parent: SpanId) -> Self {
        Self { span: SpanContext::new(trace, span, flags, true, TraceState::NONE), parent }
    }
}

// === impl Sampling ===

impl Sampling {
    /// `ratio`: 0 (none) to 1 (all).
    pub fn of_ratio(ratio: f64) -> Self {
        Self((ratio.clamp(0.0, 1.0) * (1_u64 << 63) as f64) as u64)
    }

    fn flags_of(self, trace: TraceId) -> TraceFlags {
        let bytes = trace.to_bytes();
        let low =
            u64::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11], bytes[12], bytes[13], bytes[14], bytes[15]]);
        if low >> 1 < self.0 { TraceFlags::SAMPLED } else { TraceFlags::default() }
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

    use super::{Sampling, TraceContext};

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
        let all = Sampling::of_ratio(1.0);
        let served = TraceContext::of_request(&headers(&[SENT]), all);
        assert_eq!(served.trace_id(), sent.trace_id());
        assert_ne!(served.span_id(), sent.span_id());
        assert_eq!(served.parent_id(), sent.span_id());
        for values in [&[][..], &["nonsense"], &[SENT, SENT]] {
            let fresh = TraceContext::of_request(&headers(values), all);
            assert_ne!(fresh.trace_id(), sent.trace_id(), "{values:?}");
            assert!(fresh.is_sampled());
            assert_eq!(TraceContext::parse(&fresh.traceparent()), Some(fresh));
        }
    }

    #[test]
    fn the_share_that_is_sampled_is_the_one_asked_for_and_a_decision_made_elsewhere_stands() {
        let sampled = |ratio: f64| {
            let sampling = Sampling::of_ratio(ratio);
            (0..4_000).filter(|_| TraceContext::at_edge(sampling).is_sampled()).count()
        };
        assert_eq!((sampled(0.0), sampled(1.0)), (0, 4_000));
        let tenth = sampled(0.1);
        assert!((250..550).contains(&tenth), "{tenth} of 4,000");
        let none = Sampling::of_ratio(0.0);
        assert!(TraceContext::of_request(&headers(&[SENT]), none).is_sampled());
    }
}
