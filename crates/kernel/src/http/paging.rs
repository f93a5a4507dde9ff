use axum::http::{HeaderMap, HeaderValue, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::{Problem, ProblemKind};

pub const PAGE_LIMIT_MAX: u32 = 200;
const PAGE_LIMIT_DEFAULT: u32 = 50;

/// `?cursor=…&limit=…`
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageParams {
    /// From a former page's `next_cursor`. Opaque.
    pub cursor: Option<String>,
    /// Items on a page, 1 to 200; 50 unless given.
    pub limit: Option<u32>,
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Where the next page begins; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

// === impl PageParams ===

impl PageParams {
    /// # Errors
    /// When it is not between 1 and 200.
    pub fn limit(&self) -> Result<u32, Problem> {
        match self.limit.unwrap_or(PAGE_LIMIT_DEFAULT) {
            limit @ 1..=PAGE_LIMIT_MAX => Ok(limit),
            _ => Err(Problem::invalid("/limit", format!("limit is from 1 to {PAGE_LIMIT_MAX}"))),
        }
    }
}

// === impl Page ===

impl<T> Page<T> {
    /// Makes a page of `items`, which were fetched with one more than `limit` so as to know whether there is a next page.
    pub fn cut(mut items: Vec<T>, limit: u32, cursor_of: impl Fn(&T) -> Vec<String>) -> Self {
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next_cursor = if more { items.last().map(|item| encode_cursor(&cursor_of(item))) } else { None };
        Self { items, next_cursor }
    }

    /// `Link: <path?cursor=…&limit=…>; rel="next"` (RFC 8288); `query` is the rest of the query string.
    pub fn link(&self, path: &str, query: &str, limit: u32) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(cursor) = &self.next_cursor {
            let rest = if query.is_empty() { String::new() } else { format!("&{query}") };
            let link = format!("<{path}?cursor={cursor}&limit={limit}{rest}>; rel=\"next\"");
            if let Ok(value) = HeaderValue::try_from(link) {
                headers.insert(header::LINK, value);
            }
        }
        headers
    }
}

pub fn encode_cursor(parts: &[String]) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(parts).unwrap_or_default())
}

/// # Errors
/// When `cursor` was not made by [`encode_cursor`] with this many parts.
pub fn decode_cursor(cursor: &str, parts: usize) -> Result<Vec<String>, Problem> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).unwrap_or_default();
    let values: Vec<String> = serde_json::from_slice(&bytes).unwrap_or_default();
    if values.len() == parts {
        return Ok(values);
    }
    Err(Problem::new(ProblemKind::MalformedRequest, "the cursor is not one of this list; start without one"))
}

/// Any text for a query or a part of a path (RFC 3986): everything but the unreserved characters is encoded.
pub fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::percent_encoded;

    #[test]
    fn any_text_may_stand_in_a_url() {
        assert_eq!(percent_encoded("ord_1-a.~"), "ord_1-a.~");
        assert_eq!(percent_encoded("op_1:result/ü&x=?"), "op_1%3Aresult%2F%C3%BC%26x%3D%3F");
    }
}
