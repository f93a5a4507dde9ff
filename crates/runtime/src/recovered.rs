//! Spans that died with a process: what was committed shortly before an unclean stop may not have been exported, and what goes
//! on from it would name parents that nobody knows. The journal knows them.

use std::time::{Duration, UNIX_EPOCH};

use opentelemetry::trace::{SpanId, SpanKind, Status};
use pangaea_contracts::trace::{HANDLE, derived_span_id};
use pangaea_contracts::{Kind, Subject};
use pangaea_journal::{Admitted, Database, Head, InboxRow, JournalError};
use pangaea_kernel::Input;

use crate::handling::{handle_span, timer_span};
use crate::telemetry::spans::{Span, Spans};

/// As many as may wait for the exporter; of a busier store the oldest are left out.
const ROWS_MAX: u64 = 16_384;
const ROWS_PER_READ: usize = 256;
/// Older ones have been exported: some intervals of the exporter, and room for a slow collector.
const AGE_MS_MAX: i64 = 5_000;

/// Exports the handlings of the last seconds before the stop again, without their duration, which nobody remembers. `head` is as
/// it stood then.
pub(crate) async fn export(spans: Spans, module: &'static str, database: Database, head: Head) {
    if !spans.is_on() {
        return;
    }
    if let Err(error) = export_all(&spans, module, &database, &head).await {
        tracing::warn!(module, %error, "the last spans before the stop are lost");
    }
}

async fn export_all(spans: &Spans, module: &'static str, database: &Database, head: &Head) -> Result<(), JournalError> {
    let recent = database.inbox_position_at(head.last_time.plus_millis(-AGE_MS_MAX)).await?;
    let mut next = recent.max((head.inbox_end + 1).saturating_sub(ROWS_MAX));
    while next <= head.inbox_end {
        let rows = database.inbox_from(next, ROWS_PER_READ).await?;
        let Some(last) = rows.last() else { break };
        next = last.position + 1;
        let before = rows.into_iter().take_while(|row| row.position <= head.inbox_end);
        before.for_each(|Admitted { input, .. }| export_one(spans, module, input));
    }
    Ok(())
}

fn export_one(spans: &Spans, module: &'static str, row: InboxRow) {
    let Some(cause) = spans.sampled(row.traceparent.as_deref()) else { return };
    let at = UNIX_EPOCH + Duration::from_millis(row.admitted_at.as_millis().max(0) as u64);
    let told = |span: Span| spans.end_at(span.with("pangaea.recovered", true), at, Status::Unset);
    let is_command = row.fingerprint.is_some();
    let kind = Subject::parse(&row.subject).ok().map(|subject| subject.kind);
    let input = Input::of_row(row);
    let timer = (kind == Some(Kind::Timer)).then(|| timer_span(module, &input, &cause)).flatten();
    let cause = timer.as_ref().map_or(cause, |timer| timer.context().clone());
    told(handle_span(module, &input, &cause, at));
    if let Some(timer) = timer {
        told(timer);
    }
    if kind == Some(Kind::Effect) {
        let asked = cause.child_with(SpanId::from_bytes(derived_span_id(HANDLE, module, &input.causation_id)));
        told(Span::new(asked.child_with(cause.span_id()), format!("effect {}", input.subject), at));
    }
    if is_command {
        // The request's own span ended with its process, too; its parent, if it had one, is forgotten.
        told(Span::new(cause.clone(), format!("request {}", input.subject), at).of_kind(SpanKind::Server));
    }
}
