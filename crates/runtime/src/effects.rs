use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::trace::SpanKind;
use pangaea_contracts::order::Reason;
use pangaea_contracts::trace::{EFFECT, derived_span_id, trace_id, traceparent_with};
use pangaea_faults::{Failpoint, reach};
use pangaea_journal::EffectRow;
use pangaea_kernel::{Call, Clock, Definition, Done, ErasedPerformer, Input, InputKind, TryError, Work, result_id};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::breaker::Breakers;
use crate::config::EffectsConfig;
use crate::queue::Queue;
use crate::telemetry::spans::{Span, Spans, now};
use crate::waiting::wait_for;

/// Shorter waits are not shown: an open breaker that lets a call through at once is no wait.
const WAIT_SHOWN_MIN: Duration = Duration::from_millis(1);

/// Where the writer leaves the effects of a commit. It never blocks the writer; the table is the queue, and this list
/// holds only rows of it, at most as many as there are.
#[derive(Clone, Default)]
pub(crate) struct EffectInbox(Arc<Waiting>);

#[derive(Default)]
struct Waiting {
    rows: Mutex<VecDeque<EffectRow>>,
    arrived: Notify,
}

/// Performs a module's effects: bounded in number, retried with backoff until their deadline, behind a breaker per target.
///
/// A try is recorded by the writer before its call. One that may have happened is asked about before the next.
pub(crate) struct EffectsTask {
    pub(crate) module: &'static str,
    pub(crate) definition: Arc<Definition>,
    pub(crate) inbox: EffectInbox,
    pub(crate) queue: Queue,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) config: EffectsConfig,
    /// Begun before this process: each may have happened.
    pub(crate) inherited: HashSet<String>,
    pub(crate) spans: Spans,
    pub(crate) shutdown: CancellationToken,
}

struct Runner {
    module: &'static str,
    queue: Queue,
    clock: Arc<dyn Clock>,
    breakers: Breakers,
    config: EffectsConfig,
    spans: Spans,
    shutdown: CancellationToken,
}

/// An effect in its trace; its tries and the waits between them are below it.
struct Trace<'a> {
    runner: &'a Runner,
    subject: &'a str,
    target: &'a str,
    traceparent: Option<&'a str>,
    /// The effect's own, when its trace is sampled.
    effect: Option<Span>,
}

// === impl EffectInbox ===

impl EffectInbox {
    pub(crate) fn push(&self, rows: Vec<EffectRow>) {
        if rows.is_empty() {
            return;
        }
        self.0.rows.lock().unwrap_or_else(PoisonError::into_inner).extend(rows);
        self.0.arrived.notify_one();
    }

    async fn next(&self) -> EffectRow {
        loop {
            if let Some(row) = self.0.rows.lock().unwrap_or_else(PoisonError::into_inner).pop_front() {
                return row;
            }
            self.0.arrived.notified().await;
        }
    }
}

// === impl EffectsTask ===

impl EffectsTask {
    /// Runs until shutdown, then waits for the calls under way.
    pub(crate) async fn run(self) {
        let Self { module, definition, inbox, queue, clock, config, inherited, spans, shutdown } = self;
        let permits = Arc::new(Semaphore::new(config.in_flight_max.max(1)));
        let calls = TaskTracker::new();
        let breakers = Breakers::new(config.breaker_failures, config.breaker_open_ms as i64);
        let runner = Arc::new(Runner { module, queue, clock, breakers, config, spans, shutdown: shutdown.clone() });
        loop {
            let row = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                row = inbox.next() => row,
            };
            let permit = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                permit = permits.clone().acquire_owned() => permit,
            };
            let Some(performer) = definition.performer(&row.subject).cloned() else {
                tracing::error!(module, subject = %row.subject, "no performer for a stored effect");
                continue;
            };
            let (runner, ask_first) = (runner.clone(), inherited.contains(&row.id));
            metrics::gauge!("pangaea_effects_in_flight", "module" => module).increment(1.0);
            calls.spawn(async move {
                runner.perform_traced(row, performer, ask_first).await;
                metrics::gauge!("pangaea_effects_in_flight", "module" => module).decrement(1.0);
                drop(permit);
            });
        }
        calls.close();
        calls.wait().await;
    }
}

// === impl Runner ===

impl Runner {
    async fn perform_traced(&self, row: EffectRow, performer: ErasedPerformer, inherited: bool) {
        let (first, target) = (row.clone(), performer.target.clone());
        let mut trace = Trace::begin(self, &first, &target, inherited);
        if let Some((row, payload)) = self.perform(row, performer, inherited, &trace).await {
            // Before its result: what that brings names it as parent.
            trace.end();
            self.result(&row, payload).await;
        }
    }

    /// One effect to its result. It ends without one only at shutdown: the next start goes on from the table.
    async fn perform(
        &self,
        mut row: EffectRow,
        performer: ErasedPerformer,
        mut ask_first: bool,
        trace: &Trace<'_>,
    ) -> Option<(EffectRow, String)> {
        let mut backoff_ms = self.config.backoff_initial_ms;
        if ask_first {
            row = self.begin_try(&row, &performer).await?;
        }
        loop {
            if self.clock.now() >= row.deadline_at {
                return self.give_up(&row, &performer).map(|payload| (row, payload));
            }
            if !trace.waiting("breaker open", self.wait_for_breaker(&row, &performer.target)).await {
                if self.shutdown.is_cancelled() {
                    return None;
                }
                continue;
            }
            let (span, begun) = (trace.below("try"), now());
            let outcome = performer.run(self.call(&row, &performer, span.as_ref()), ask_first).await;
            let reached = outcome.is_ok();
            self.breakers.report(&performer.target, reached, self.clock.now());
            let error = match outcome {
                Ok(payload) => {
                    trace.tried(span, &row, begun, None);
                    return Some((row, payload));
                }
                Err(error) => error,
            };
            trace.tried(span, &row, begun, Some(&error));
            tracing::info!(module = self.module, effect = %row.id, subject = %row.subject, attempt = row.tries, %error, correlation_id = row.correlation_id, trace_id = row.traceparent.as_deref().and_then(trace_id), "a try gave no outcome");
            metrics::counter!("pangaea_effect_retries_total", "module" => self.module, "subject" => row.subject.clone()).increment(1);
            ask_first |= matches!(error, TryError::Unknown(_));
            let jittered = backoff_ms / 2 + jitter(&row, backoff_ms / 2);
            if !trace.waiting("retry", self.pause(Duration::from_millis(jittered))).await {
                return None;
            }
            backoff_ms = (backoff_ms * 2).min(self.config.backoff_max_ms);
            row = self.begin_try(&row, &performer).await?;
        }
    }

    fn call(&self, row: &EffectRow, performer: &ErasedPerformer, span: Option<&Span>) -> Call<String> {
        Call {
            operation_id: row.id.clone(),
            effect: row.payload.clone(),
            attempt: row.tries,
            deadline_at: row.deadline_at,
            timeout: Duration::from_millis(performer.try_timeout_ms.max(1) as u64),
            traceparent: span.map(|span| span.context().traceparent()).or_else(|| row.traceparent.clone()),
        }
    }

    /// Has the writer record that another try begins.
    async fn begin_try(&self, row: &EffectRow, performer: &ErasedPerformer) -> Option<EffectRow> {
        loop {
            let begun = match reach(Failpoint::TryBefore).await {
                Ok(()) => self.record_try(row, performer).await?,
                Err(_) => continue,
            };
            if reach(Failpoint::TryAfter).await.is_ok() {
                return Some(begun);
            }
        }
    }

    async fn record_try(&self, row: &EffectRow, performer: &ErasedPerformer) -> Option<EffectRow> {
        let expires_at = self.clock.now().plus_millis(performer.try_timeout_ms);
        let work = Work::Try { effect_id: row.id.clone(), expires_at };
        match self.queue.result(work).await.ok()?.into_iter().next() {
            Some(Done::Tried(Some(begun))) => Some(begun),
            _ => None,
        }
    }

    /// False at shutdown, and when the deadline passes meanwhile: nothing is called then.
    async fn wait_for_breaker(&self, row: &EffectRow, target: &str) -> bool {
        while let Err(wait_ms) = self.breakers.admit(target, self.clock.now()) {
            if self.clock.now() >= row.deadline_at {
                return false;
            }
            if !self.pause(Duration::from_millis(wait_ms.clamp(1, 1_000) as u64)).await {
                return false;
            }
        }
        true
    }

    fn give_up(&self, row: &EffectRow, performer: &ErasedPerformer) -> Option<String> {
        let reason = Reason::new("deadline", format!("no outcome after {} tries", row.tries));
        performer
            .give_up(&row.payload, reason)
            .inspect_err(|error| {
                tracing::error!(module = self.module, effect = %row.id, %error, "a stored effect cannot be read");
            })
            .ok()
    }

    async fn result(&self, row: &EffectRow, payload: String) {
        let input = Input {
            id: result_id(&row.id),
            kind: InputKind::EffectResult { effect_id: row.id.clone() },
            subject: row.subject.clone(),
            key: row.key.clone(),
            causation_id: row.causation_id.clone(),
            correlation_id: row.correlation_id.clone(),
            actor: row.actor.clone(),
            traceparent: self.effect_traceparent(row),
            payload,
            secrets: Vec::new(),
        };
        if self.queue.result(Work::Input(input)).await.is_err() {
            tracing::debug!(module = self.module, effect = %row.id, "the result comes after the stop; it will be asked for again");
        }
    }

    /// The effect's own place in its trace, from which its result goes on. Derived, so that it is the same whoever asks and
    /// whether anybody exports it.
    fn effect_traceparent(&self, row: &EffectRow) -> Option<String> {
        let span_id = derived_span_id(EFFECT, self.module, &row.id);
        row.traceparent.as_deref().and_then(|cause| traceparent_with(cause, span_id))
    }

    async fn pause(&self, wait: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => false,
            () = wait_for(&*self.clock, wait) => true,
        }
    }
}

// === impl Trace ===

impl<'a> Trace<'a> {
    fn begin(runner: &'a Runner, row: &'a EffectRow, target: &'a str, inherited: bool) -> Self {
        let traceparent = row.traceparent.as_deref();
        let effect = runner.spans.sampled(traceparent).map(|cause| {
            let id = derived_span_id(EFFECT, runner.module, &row.id);
            Span::known(&cause, id, format!("effect {}", row.subject), now())
                .with("pangaea.module", runner.module)
                .with("pangaea.key", row.key.clone())
                .with("pangaea.effect.id", row.id.clone())
                .with("pangaea.effect.inherited", inherited)
        });
        Self { runner, subject: &row.subject, target, traceparent, effect }
    }

    fn below(&self, what: &str) -> Option<Span> {
        let name = format!("{what} {}", self.subject);
        self.effect.as_ref().map(|effect| Span::below(effect.context(), name, now()))
    }

    /// A failure is told even where the trace is not sampled.
    fn tried(&self, span: Option<Span>, row: &EffectRow, begun: SystemTime, error: Option<&TryError>) {
        let unsampled = || {
            let cause = error.and_then(|_| self.runner.spans.any(self.traceparent))?;
            Some(Span::below(&cause, format!("try {}", self.subject), begun))
        };
        let Some(span) = span.or_else(unsampled) else { return };
        let span = span
            .of_kind(SpanKind::Client)
            .with("pangaea.module", self.runner.module)
            .with("server.address", self.target.to_owned())
            .with("pangaea.effect.attempt", i64::from(row.tries));
        match error {
            Some(error) => self.runner.spans.fail(span, error.to_string()),
            None => self.runner.spans.end(span),
        }
    }

    /// A wait that is worth a span is one that was waited for.
    async fn waiting<T>(&self, why: &'static str, wait: impl Future<Output = T>) -> T {
        let (span, begun) = (self.below("backoff"), Instant::now());
        let waited = wait.await;
        if let Some(span) = span.filter(|_| begun.elapsed() >= WAIT_SHOWN_MIN) {
            self.runner.spans.end(span.with("pangaea.wait.reason", why));
        }
        waited
    }

    fn end(&mut self) {
        if let Some(effect) = self.effect.take() {
            self.runner.spans.end(effect);
        }
    }
}

/// Spreads retries by the operation's id, so that no random source is needed.
fn jitter(row: &EffectRow, bound_ms: u64) -> u64 {
    let digest = pangaea_contracts::digest_text(&[row.id.as_bytes(), &row.tries.to_be_bytes()], 8);
    digest.bytes().fold(0u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte))) % bound_ms.max(1)
}
