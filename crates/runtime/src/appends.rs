use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use opentelemetry::trace::SpanKind;
use pangaea_contracts::Envelope;

use crate::telemetry::spans::{Span, Spans, now};

/// Messages that are followed on their way to the broker; beyond it, which means an outage, the oldest lose their spans.
const FOLLOWED_MAX: usize = 4_096;

/// The messages of sampled traces between their commit and the broker's word that it has them.
pub(crate) struct Appends {
    spans: Spans,
    under_way: Mutex<VecDeque<(Arc<Envelope>, SystemTime)>>,
}

// === impl Appends ===

impl Appends {
    pub(crate) fn new(spans: Spans) -> Self {
        Self { spans, under_way: Mutex::default() }
    }

    pub(super) fn begin(&self, committed: &[Arc<Envelope>]) {
        if !self.spans.is_on() {
            return;
        }
        let committed_at = now();
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        for envelope in committed.iter().filter(|envelope| self.spans.wants(envelope.traceparent.as_deref())) {
            if under_way.len() == FOLLOWED_MAX {
                under_way.pop_front();
            }
            under_way.push_back((envelope.clone(), committed_at));
        }
    }

    pub(super) fn end(&self, position: u64) {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let appended = under_way.partition_point(|(envelope, _)| envelope.position <= position);
        for (envelope, committed_at) in under_way.drain(..appended) {
            let Some(handling) = self.spans.sampled(envelope.traceparent.as_deref()) else { continue };
            let span = Span::below(&handling, format!("append {}", envelope.source), committed_at)
                .of_kind(SpanKind::Producer)
                .with("messaging.system", "nats")
                .with("messaging.operation.type", "send")
                .with("messaging.destination.name", envelope.subject.clone())
                .with("messaging.message.id", envelope.id.clone());
            self.spans.end(span);
        }
    }
}
