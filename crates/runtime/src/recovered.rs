//! Spans that died with a process: what was committed shortly before an unclean stop may not have been exported, and what goes
//! on from it would name parents that nobody knows. The journal knows them.

use opentelemetry::trace::{SpanId, SpanKind, Status};
use pangaea_contracts::trace::{HANDLE, derived_span_id};
use pangaea_contracts::{Kind, Subject};
use pangaea_journal::{Database, InboxRow};
use pangaea_kernel::{Definition, Input, InputKind};

use crate::handling::handle_span;
use crate::telemetry::spans::{Span, Spans};

/// More than a process can have committed and not yet exported.
const ROWS_MAX: usize = 4_096;
/// Older ones have been exported; twice the export's interval, and room for a slow collector.
const AGE_MS_MAX: i64 = 5_000;

/// Exports the handlings of the last seconds before the stop again, without their duration, which nobody remembers.
pub(crate) async fn export(spans: &Spans, definition: &Definition, database: &Database) {
    if !spans.is_on() {
        return;
    }
    match database.inbox_newest(ROWS_MAX).await {
        Ok(rows) => {
            let newest_ms = rows.first().map_or(0, |row| row.admitted_at.as_millis());
            let recent = rows.into_iter().filter(|row| newest_ms - row.admitted_at.as_millis() <= AGE_MS_MAX);
            recent.for_each(|row| export_one(spans, definition.name(), row));
        }
        Err(error) => tracing::warn!(module = definition.name(), %error, "the last spans before the stop are lost"),
    }
}

fn export_one(spans: &Spans, module: &'static str, row: InboxRow) {
    let Some(cause) = spans.sampled(row.traceparent.as_deref()) else { return };
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_millis(row.admitted_at.as_millis().max(0) as u64);
    let is_command = row.fingerprint.is_some();
    let is_result = Subject::parse(&row.subject).is_ok_and(|subject| subject.kind == Kind::Effect);
    let input = input_of(row);
    let handle = handle_span(module, &input, &cause, at).with("pangaea.recovered", true);
    spans.end_at(handle, at, Status::Unset);
    if is_result {
        let asked = cause.child_with(SpanId::from_bytes(derived_span_id(HANDLE, module, &input.causation_id)));
        let effect = Span::new(asked.child_with(cause.span_id()), format!("effect {}", input.subject), at);
        spans.end_at(effect.with("pangaea.recovered", true), at, Status::Unset);
    }
    if is_command {
        // The request's own span ended with its process, too; its parent, if it had one, is forgotten.
        let request = Span::new(cause.clone(), format!("request {}", input.subject), at).of_kind(SpanKind::Server);
        spans.end_at(request.with("pangaea.recovered", true), at, Status::Unset);
    }
}

fn input_of(row: InboxRow) -> Input {
    Input {
        id: row.id,
        kind: InputKind::Timer,
        subject: row.subject,
        key: row.key,
        causation_id: row.causation_id,
        correlation_id: row.correlation_id,
        actor: row.actor,
        traceparent: row.traceparent,
        payload: String::new(),
        secrets: Vec::new(),
    }
}
