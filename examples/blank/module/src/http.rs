use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use pangaea_blank_contracts::Write;
use pangaea_contracts::Timestamp;
use pangaea_kernel::http::{Body, Edge, Intent, PathParams, etag, not_modified};
use pangaea_kernel::{Problem, ProblemKind};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::store::{self, Entry};

const ENTRY_CHARS_MAX: usize = 64;
const TEXT_CHARS_MAX: usize = 2_000;

pub(crate) fn routes() -> OpenApiRouter<Edge> {
    OpenApiRouter::new().routes(routes!(write)).routes(routes!(read))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewBlankEntry {
    #[schema(min_length = 1, max_length = 64)]
    entry: String,
    #[schema(max_length = 2000)]
    text: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BlankEntry)]
pub(crate) struct EntryView {
    entry: String,
    version: i64,
    text: String,
    #[schema(value_type = String, format = DateTime)]
    written_at: Timestamp,
}

/// Writes an entry, for the first time or again.
#[utoipa::path(
    post, path = "/v1/blank", tag = "blank", operation_id = "writeBlank",
    params(
        ("Idempotency-Key" = String, Header, description = "names this request; a repeat with it is answered as the first")
    ),
    request_body = NewBlankEntry,
    responses(
        (status = 200, description = "written", body = EntryView),
        (status = 400, description = "the request cannot be read, or the key is missing", body = Problem),
        (status = 401, description = "no valid token", body = Problem),
        (status = 403, description = "for staff only", body = Problem),
        (status = 422, description = "a field out of its bounds, or another body under the same key", body = Problem),
        (status = 503, description = "too much is waiting, or the outcome is unknown", body = Problem)
    ),
    extensions(("x-access" = json!({"roles": ["staff"]})))
)]
async fn write(State(edge): State<Edge>, intent: Intent, Body(new): Body<NewBlankEntry>) -> Result<Response, Problem> {
    let NewBlankEntry { entry, text } = new;
    let mut problem = Problem::new(ProblemKind::Invalid, "the entry is not acceptable");
    if entry.is_empty() || entry.chars().count() > ENTRY_CHARS_MAX {
        problem = problem.with_field("/entry", format!("write 1 to {ENTRY_CHARS_MAX} characters"));
    }
    if text.chars().count() > TEXT_CHARS_MAX {
        problem = problem.with_field("/text", format!("write at most {TEXT_CHARS_MAX} characters"));
    }
    if !problem.errors.is_empty() {
        return Err(problem);
    }
    Ok(edge.submit(intent.command(&Write { entry, text }, Vec::new())?).await?.into_response())
}

/// An entry as it is now.
#[utoipa::path(
    get, path = "/v1/blank/{entry}", tag = "blank", operation_id = "readBlank",
    params(("entry" = String, Path, description = "which entry"), ("If-None-Match" = Option<String>, Header)),
    responses(
        (status = 200, description = "with its `ETag`", body = EntryView),
        (status = 304, description = "unchanged"),
        (status = 404, description = "no such entry", body = Problem)
    ),
    extensions(("x-access" = json!({"anonymous": true})))
)]
async fn read(
    State(edge): State<Edge>,
    PathParams(entry): PathParams<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let found = store::entry(edge.database(), &entry).await?;
    let found = found.ok_or_else(|| Problem::not_found("entry"))?;
    let tag = [(header::ETAG, etag(found.version))];
    if not_modified(&headers, found.version) {
        return Ok((StatusCode::NOT_MODIFIED, tag).into_response());
    }
    Ok((tag, Json(EntryView::from(&found))).into_response())
}

// === impl EntryView ===

impl From<&Entry> for EntryView {
    fn from(entry: &Entry) -> Self {
        let Entry { entry, version, text, written_at } = entry.clone();
        Self { entry, version, text, written_at }
    }
}
