//! Optimistic concurrency: strong entity tags (RFC 9110), required on changes (RFC 6585).

use axum::http::{HeaderMap, HeaderValue, header};

use crate::{Problem, ProblemKind};

/// The entity tag of a version.
pub fn etag(version: i64) -> HeaderValue {
    HeaderValue::try_from(format!("\"{version}\"")).unwrap_or_else(|_| HeaderValue::from_static("\"0\""))
}

/// Whether `If-None-Match` names this version: answer 304.
pub fn not_modified(headers: &HeaderMap, version: i64) -> bool {
    matches(headers, &header::IF_NONE_MATCH, version).unwrap_or(false)
}

/// The version that the client wants to change, from `If-Match`; `None` for `*`.
///
/// # Errors
/// 428 without the header, 412 when it holds nothing that was ever a tag here.
pub fn require_match(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    let missing =
        || Problem::new(ProblemKind::PreconditionRequired, "read the thing first and send its ETag as If-Match");
    let value = headers.get(header::IF_MATCH).ok_or_else(missing)?.to_str().unwrap_or("").trim();
    if value == "*" {
        return Ok(None);
    }
    let version = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).and_then(|text| text.parse().ok());
    let stale = || Problem::new(ProblemKind::PreconditionFailed, "If-Match is not a tag of this thing; read it again");
    version.map(Some).ok_or_else(stale)
}

fn matches(headers: &HeaderMap, name: &header::HeaderName, version: i64) -> Option<bool> {
    let value = headers.get(name)?.to_str().ok()?;
    let wanted = format!("\"{version}\"");
    Some(value.split(',').any(|tag| tag.trim() == "*" || tag.trim().trim_start_matches("W/") == wanted))
}
