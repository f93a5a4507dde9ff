//! Spans of work that no stack frame stands for: it begins in one process and ends in another, or after a restart.
//!
//! They are made from what is known when the work has ended, with the ids that the journal knows, and handed to the SDK's
//! processor. A `tracing` span would have to be open for as long, and its id would be random.
//!
//! Their names and parents stand in `docs/observability.md`.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks, SpanProcessor};

use super::trace::TraceContext;

/// Where finished spans go. Cheap to clone; without an endpoint they go nowhere.
#[derive(Clone, Default)]
pub struct Spans(Option<Arc<Exporter>>);

struct Exporter {
    processor: Box<dyn SpanProcessor>,
    scope: InstrumentationScope,
}

/// A span that has not ended yet.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    context: TraceContext,
    name: Cow<'static, str>,
    kind: SpanKind,
    started: SystemTime,
    attributes: Vec<KeyValue>,
}

// === impl Spans ===

impl Spans {
    pub(super) fn to(processor: Box<dyn SpanProcessor>) -> Self {
        let scope = InstrumentationScope::builder("pangaea").with_version(crate::CODE_VERSION).build();
        Self(Some(Arc::new(Exporter { processor, scope })))
    }

    /// Whether anybody wants spans: without, none need be made.
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Whether the trace's spans are wanted, by its flags alone.
    pub(crate) fn wants(&self, traceparent: Option<&str>) -> bool {
        // The flag is the lowest bit of the last hexadecimal digit.
        let digit = |text: &str| char::from(*text.as_bytes().last()?).to_digit(16);
        self.is_on() && traceparent.and_then(digit).is_some_and(|digit| digit & 1 == 1)
    }

    /// The trace that `traceparent` names, if its spans are wanted.
    pub(crate) fn sampled(&self, traceparent: Option<&str>) -> Option<TraceContext> {
        // Most are not sampled: reading all of it can be spared.
        traceparent.filter(|text| self.wants(Some(text))).and_then(TraceContext::parse)
    }

    /// As [`Spans::sampled`], but whether the trace is sampled or not: for failures.
    pub(crate) fn any(&self, traceparent: Option<&str>) -> Option<TraceContext> {
        traceparent.filter(|_| self.is_on()).and_then(TraceContext::parse)
    }

    pub(crate) fn end(&self, span: Span) {
        self.end_at(span, now(), Status::Unset);
    }

    /// A failed span is kept even where its trace is not sampled.
    pub(crate) fn fail(&self, span: Span, reason: impl Into<Cow<'static, str>>) {
        self.end_at(span, now(), Status::error(reason));
    }

    pub(crate) fn end_at(&self, span: Span, ended: SystemTime, status: Status) {
        let Some(exporter) = &self.0 else { return };
        let is_kept = matches!(status, Status::Error { .. });
        if !span.context.is_sampled() && !is_kept {
            return;
        }
        let (trace, id, parent) = (span.context.trace_id(), span.context.span_id(), span.context.parent_id());
        exporter.processor.on_end(SpanData {
            // The processor passes only what is marked as sampled.
            span_context: SpanContext::new(trace, id, TraceFlags::SAMPLED, false, TraceState::NONE),
            parent_span_id: parent,
            parent_span_is_remote: false,
            span_kind: span.kind,
            name: span.name,
            start_time: span.started,
            end_time: ended.max(span.started),
            attributes: span.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status,
            instrumentation_scope: exporter.scope.clone(),
        });
    }

    /// Sends what waits, for at most `timeout`, and takes no more. Blocks.
    pub(super) fn shut_down(&self, timeout: Duration) {
        if let Some(exporter) = &self.0
            && let Err(error) = exporter.processor.shutdown_with_timeout(timeout)
        {
            tracing::warn!(%error, "the last spans were not exported");
        }
    }
}

// === impl Span ===

impl Span {
    /// Below `parent`, with a random id.
    pub(crate) fn below(parent: &TraceContext, name: impl Into<Cow<'static, str>>, started: SystemTime) -> Self {
        Self::new(parent.child(), name, started)
    }

    /// Below `parent`, with the id that what follows from it names as its parent.
    pub(crate) fn known(
        parent: &TraceContext,
        id: [u8; 8],
        name: impl Into<Cow<'static, str>>,
        started: SystemTime,
    ) -> Self {
        Self::new(parent.child_with(SpanId::from_bytes(id)), name, started)
    }

    pub(crate) fn new(context: TraceContext, name: impl Into<Cow<'static, str>>, started: SystemTime) -> Self {
        let (name, kind, attributes) = (name.into(), SpanKind::Internal, Vec::new());
        Self { context, name, kind, started, attributes }
    }

    #[must_use]
    pub(crate) fn of_kind(self, kind: SpanKind) -> Self {
        Self { kind, ..self }
    }

    #[must_use]
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<opentelemetry::Value>) -> Self {
        self.attributes.push(KeyValue::new(name, value));
        self
    }

    pub(crate) fn context(&self) -> &TraceContext {
        &self.context
    }
}

/// When spans begin and end.
pub(crate) fn now() -> SystemTime {
    #[expect(clippy::disallowed_methods, reason = "spans are on the wall clock, and decide nothing")]
    SystemTime::now()
}

impl fmt::Debug for Spans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spans({})", if self.is_on() { "on" } else { "off" })
    }
}
