use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State as Shared;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{Stream, unfold};
use pangaea_contracts::OrderId;
use pangaea_kernel::http::{Caller, Edge, PathParams};
use pangaea_kernel::{Problem, ProblemKind};

use super::reached;
use super::wait::Wait;
use crate::store;
use crate::views::TimelineEntry;

/// A stream ends after this long; a client resumes with the last id that it has seen.
const STREAM_SECONDS_MAX: u64 = 600;
const KEEP_ALIVE_SECONDS: u64 = 15;
/// For whom there is no room to follow.
const BUSY_RETRY_SECONDS: u32 = 10;
/// Entries read at once.
const ENTRIES_PER_READ: u32 = 100;

/// The timeline as it grows, as server-sent events: `event` is the entry's, `id` its number, `data` the entry. The stream
/// ends once the order is settled and no refund is pending; asked again from its end it is 204, which ends an
/// `EventSource` for good.
#[utoipa::path(
    get, path = "/v1/orders/{id}/events", tag = "order", operation_id = "streamOrderEvents",
    params(
        ("id" = String, Path, description = "`ord_…`"),
        ("Last-Event-ID" = Option<String>, Header, description = "resumes behind this entry")
    ),
    responses(
        (status = 200, description = "the entries, then those to come", body = TimelineEntry, content_type = "text/event-stream"),
        (status = 204, description = "nothing more will come"),
        (status = 400, description = "`Last-Event-ID` is not a number", body = Problem),
        (status = 401, description = "no valid token", body = Problem),
        (status = 404, description = "no such order, or another's", body = Problem),
        (status = 503, description = "too many follow an order already", body = Problem)
    ),
    extensions(("x-access" = json!({"roles": ["customer", "staff"], "owner": true})))
)]
pub(super) async fn events(
    Shared(edge): Shared<Edge>,
    caller: Caller,
    PathParams(id): PathParams<OrderId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let order = reached(&edge, &caller, &id).await?;
    let seen = last_event_id(&headers)?;
    if seen >= order.version && order.is_quiet() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let Some(wait) = Wait::new(&edge, Duration::from_secs(STREAM_SECONDS_MAX)) else {
        let detail = "too many follow an order already: come again later, or read its timeline";
        return Err(Problem::new(ProblemKind::Overloaded, detail).with_retry_after(BUSY_RETRY_SECONDS));
    };
    let keep_alive = KeepAlive::new().interval(Duration::from_secs(KEEP_ALIVE_SECONDS));
    Ok(Sse::new(Tail::new(edge, id, seen, wait).stream()).keep_alive(keep_alive).into_response())
}

fn last_event_id(headers: &HeaderMap) -> Result<i64, Problem> {
    let Some(value) = headers.get("last-event-id") else { return Ok(0) };
    let number = value.to_str().ok().and_then(|text| text.trim().parse::<i64>().ok()).filter(|number| *number >= 0);
    number.ok_or_else(|| {
        Problem::new(ProblemKind::MalformedRequest, "Last-Event-ID is the number of an entry of this timeline")
    })
}

/// Follows one order's timeline.
struct Tail {
    edge: Edge,
    id: OrderId,
    /// The last entry read.
    seen: i64,
    read: VecDeque<TimelineEntry>,
    wait: Wait,
}

// === impl Tail ===

impl Tail {
    fn new(edge: Edge, id: OrderId, seen: i64, wait: Wait) -> Self {
        Self { edge, id, seen, read: VecDeque::new(), wait }
    }

    fn stream(self) -> impl Stream<Item = Result<Event, Infallible>> + Send {
        unfold(self, |mut tail| async move {
            let entry = tail.next().await?;
            let event = Event::default().id(entry.seq.to_string()).event(entry.event.clone()).json_data(&entry);
            // Entries are numbers, texts and a time, which always serialise.
            Some((Ok(event.unwrap_or_default()), tail))
        })
    }

    /// `None` ends the stream: nothing more will come, the time is up, or the database cannot be read, in which case the
    /// client resumes by itself.
    async fn next(&mut self) -> Option<TimelineEntry> {
        loop {
            if let Some(entry) = self.read.pop_front() {
                return Some(entry);
            }
            let order = store::order(self.edge.database(), &self.id).await.ok()??;
            if order.version <= self.seen {
                if order.is_quiet() || !self.wait.changed().await {
                    return None;
                }
                continue;
            }
            let rows = store::timeline(self.edge.database(), &self.id, self.seen, ENTRIES_PER_READ).await.ok()?;
            self.seen = rows.last()?.seq;
            self.read.extend(rows.into_iter().map(TimelineEntry::from));
        }
    }
}
