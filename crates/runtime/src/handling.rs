//! What a module's handlers cost and how they end: as metrics, and as spans of the traces they belong to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use metrics::Histogram;
use opentelemetry::trace::{SpanKind, Status};
use pangaea_contracts::moment_of_id;
use pangaea_contracts::trace::{HANDLE, TIMER, derived_span_id};
use pangaea_kernel::{Definition, HandlingEnd, Input, InputKind, Observation, Observer, Work};

use crate::telemetry::spans::{Span, Spans, now};
use crate::telemetry::trace::TraceContext;

/// Watches a module's executor.
pub(crate) struct Handlings {
    module: &'static str,
    spans: Spans,
    waits: Waits,
    /// By subject; only those that have a handler, so that nobody's input can make up a metric.
    durations: HashMap<String, [Histogram; 4]>,
    commit_duration: Histogram,
    /// The module's own: by their places in its definition, and by those of their label's values.
    own: Vec<Vec<Histogram>>,
    running: Option<(SystemTime, Instant)>,
    /// What the next commit makes true, of sampled traces.
    ended: Vec<Ended>,
    committing: Option<(SystemTime, Instant)>,
}

/// What the writer knows of a batch before it runs: when its inputs came, and how long the database kept it waiting. Cheap to
/// clone.
#[derive(Clone, Default)]
pub(crate) struct Waits(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    /// By input id, for inputs of sampled traces.
    queued_at: HashMap<String, SystemTime>,
    backoffs: Vec<(SystemTime, SystemTime)>,
}

struct Ended {
    input_id: String,
    cause: TraceContext,
    /// The wait that `handle` ended, if a timer's.
    timer: Option<Span>,
    handle: Span,
    started: SystemTime,
    ended: SystemTime,
    status: Status,
}

const OUTCOMES: [&str; 4] = ["handled", "answered", "refused", "failed"];

// === impl Waits ===

impl Waits {
    pub(crate) fn begin(&self, spans: &Spans, work: &[Work], queued_at: SystemTime) {
        let mut waiting = self.lock();
        for one in work {
            if let Work::Input(input) = one
                && spans.wants(input.traceparent.as_deref())
            {
                waiting.queued_at.insert(input.id.clone(), queued_at);
            }
        }
    }

    pub(crate) fn backed_off(&self, started: SystemTime) {
        self.lock().backoffs.push((started, now()));
    }

    /// The batch is done.
    pub(crate) fn end(&self) {
        let mut waiting = self.lock();
        waiting.queued_at.clear();
        waiting.backoffs.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Handlings ===

impl Handlings {
    pub(crate) fn of(definition: &Definition, spans: Spans, waits: Waits) -> Self {
        let module = definition.name();
        let histograms = |subject: &str| {
            OUTCOMES.map(|outcome| {
                metrics::histogram!(
                    "pangaea_handler_duration_seconds",
                    "module" => module, "subject" => subject.to_owned(), "outcome" => outcome
                )
            })
        };
        let durations = definition.handled().map(|subject| (subject.to_owned(), histograms(subject))).collect();
        let commit_duration = metrics::histogram!("pangaea_commit_duration_seconds", "module" => module);
        let own = definition.histograms().iter().map(|histogram| own_series(module, histogram)).collect();
        let (running, ended, committing) = (None, Vec::new(), None);
        Self { module, spans, waits, durations, commit_duration, own, running, ended, committing }
    }

    fn export(&self, handling: Ended, commit: (SystemTime, SystemTime)) {
        let Ended { input_id, cause, timer, handle, started, ended, status } = handling;
        let waiting = self.waits.lock();
        if let Some(queued_at) = waiting.queued_at.get(&input_id) {
            let queue = Span::below(&cause, format!("queue {}", self.module), *queued_at);
            self.spans.end_at(queue, started, Status::Unset);
        }
        for (from, to) in &waiting.backoffs {
            let backoff = Span::below(&cause, format!("backoff {}", self.module), *from);
            self.spans.end_at(backoff, *to, Status::Unset);
        }
        drop(waiting);
        if let Some(timer) = timer {
            self.spans.end_at(timer, started, Status::Unset);
        }
        let committed = Span::below(handle.context(), format!("commit {}", self.module), commit.0);
        self.spans.end_at(handle, ended, status);
        self.spans.end_at(committed, commit.1, Status::Unset);
    }
}

/// All of them from the start, at 0: the first of a kind is an increase, too.
fn own_series(module: &'static str, histogram: &pangaea_kernel::Histogram) -> Vec<Histogram> {
    let (name, label) = (histogram.full_name(), histogram.label);
    let series = |value: &&'static str| metrics::histogram!(name.clone(), "module" => module, label => *value);
    histogram.values.iter().map(series).collect()
}

/// The span that everything which an input's handler says goes on from.
pub(crate) fn handle_span(module: &'static str, input: &Input, cause: &TraceContext, started: SystemTime) -> Span {
    let kind = match input.kind {
        InputKind::Delivery { .. } => SpanKind::Consumer,
        _ => SpanKind::Internal,
    };
    Span::known(cause, derived_span_id(HANDLE, module, &input.id), format!("handle {}", input.subject), started)
        .of_kind(kind)
        .with("pangaea.module", module)
        .with("pangaea.key", input.key.clone())
        .with("messaging.message.id", input.id.clone())
        .with("messaging.message.conversation_id", input.correlation_id.clone())
}

/// The wait of a timer that has fired, from when it was set: below the handling that set it, which `cause` names. Its id is
/// in no journal; a handling that is told again names the same one.
pub(crate) fn timer_span(module: &'static str, input: &Input, cause: &TraceContext) -> Option<Span> {
    // A timer's id begins with the moment at which it was derived.
    let set_at = moment_of_id(&input.id)?.as_millis().max(0) as u64;
    let set_at = UNIX_EPOCH + Duration::from_millis(set_at);
    let span =
        Span::known(cause, derived_span_id(TIMER, module, &input.id), format!("timer {}", input.subject), set_at);
    Some(span.with("pangaea.module", module).with("pangaea.key", input.key.clone()))
}

impl Observer for Handlings {
    fn handling(&mut self, _: &Input) {
        self.running = Some((now(), Instant::now()));
    }

    fn handled(&mut self, input: &Input, end: HandlingEnd<'_>) {
        let Some((started, clock)) = self.running.take() else { return };
        let (outcome, status) = match end {
            HandlingEnd::Handled => (0, None),
            HandlingEnd::Answered(status) if status < 400 => (1, Some(status)),
            HandlingEnd::Answered(status) => (2, Some(status)),
            HandlingEnd::Failed(_) => (3, None),
        };
        if let Some(histograms) = self.durations.get(&input.subject) {
            histograms[outcome].record(clock.elapsed().as_secs_f64());
        }
        let traceparent = input.traceparent.as_deref();
        if let HandlingEnd::Failed(reason) = end {
            // It runs again: only the run that counts has the known id.
            if let Some(cause) = self.spans.any(traceparent) {
                let span = Span::below(&cause, format!("handle {}", input.subject), started);
                self.spans.fail(span.with("pangaea.module", self.module), reason.to_owned());
            }
        } else if let Some(cause) = self.spans.sampled(traceparent) {
            let is_timer = input.kind == InputKind::Timer;
            let timer = is_timer.then(|| timer_span(self.module, input, &cause)).flatten();
            // Exported together with it, so that the handling's parent is never missing.
            let cause = timer.as_ref().map_or(cause, |timer| timer.context().clone());
            let mut handle = handle_span(self.module, input, &cause, started);
            let mut failed = Status::Unset;
            if let Some(status) = status {
                handle = handle.with("http.response.status_code", i64::from(status));
                failed = if status >= 500 { Status::error(format!("status {status}")) } else { Status::Unset };
            }
            let input_id = input.id.clone();
            self.ended.push(Ended { input_id, cause, timer, handle, started, ended: now(), status: failed });
        }
    }

    fn committing(&mut self) {
        self.committing = Some((now(), Instant::now()));
    }

    fn committed(&mut self) {
        let Some((started, clock)) = self.committing.take() else { return };
        self.commit_duration.record(clock.elapsed().as_secs_f64());
        let commit = (started, now());
        for handling in std::mem::take(&mut self.ended) {
            self.export(handling, commit);
        }
    }

    fn observed(&mut self, observation: Observation) {
        let Observation { histogram, value, measured } = observation;
        if let Some(series) = self.own.get(histogram).and_then(|histogram| histogram.get(value)) {
            series.record(measured);
        }
    }

    fn undone(&mut self) {
        self.ended.clear();
        self.running = None;
        self.committing = None;
    }
}
