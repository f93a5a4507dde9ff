use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::{Problem, ProblemKind};

/// A JSON body. What is wrong with it is said with a JSON pointer to the field.
#[derive(Clone, Debug)]
pub struct Body<T>(pub T);

/// The query string.
#[derive(Clone, Debug)]
pub struct Params<T>(pub T);

/// The parts of the path.
#[derive(Clone, Debug)]
pub struct PathParams<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let content_type =
            request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        let essence = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        if essence != "application/json" && !essence.ends_with("+json") {
            return Err(Problem::new(ProblemKind::UnsupportedMediaType, "send Content-Type: application/json"));
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
            if rejection.status().as_u16() == 413 {
                Problem::new(ProblemKind::BodyTooLarge, "send a smaller body; docs/problems.md names the limits")
            } else if is_caused_by(&rejection, std::io::ErrorKind::QuotaExceeded) {
                Problem::new(ProblemKind::Overloaded, "too many bodies are on their way: come again later")
                    .with_retry_after(1)
            } else if is_caused_by(&rejection, std::io::ErrorKind::TimedOut) {
                Problem::new(
                    ProblemKind::RequestTimeout,
                    "send the body without pauses; docs/problems.md names the limits",
                )
            } else {
                Problem::new(ProblemKind::MalformedRequest, "the body could not be read to its end")
            }
        })?;
        parse(&bytes).map(Self)
    }
}

/// The host cuts a body off with an I/O error whose kind says why.
fn is_caused_by(rejection: &(dyn std::error::Error + 'static), kind: std::io::ErrorKind) -> bool {
    let is_kind = |error: &(dyn std::error::Error + 'static)| {
        error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == kind)
    };
    std::iter::successors(Some(rejection), |error| error.source()).any(is_kind)
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let pointer = pointer(error.path());
        let inner = error.into_inner();
        if inner.is_data() {
            // serde_json ends its messages with the place in the text, which the pointer says better.
            let text = inner.to_string();
            let text = text.split(" at line ").next().unwrap_or_default().to_owned();
            Problem::invalid(pointer, text)
        } else {
            Problem::new(ProblemKind::MalformedRequest, format!("the body is not JSON: {inner}"))
        }
    })?;
    reader
        .end()
        .map_err(|error| Problem::new(ProblemKind::MalformedRequest, format!("after the JSON value: {error}")))?;
    Ok(value)
}

/// RFC 6901.
fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut text = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => text.push_str(&format!("/{index}")),
            Segment::Map { key } => text.push_str(&format!("/{}", key.replace('~', "~0").replace('/', "~1"))),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    text
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Query(value) = Query::from_request_parts(parts, state).await.map_err(|rejection| {
            Problem::new(ProblemKind::MalformedRequest, format!("the query string: {}", rejection.body_text()))
        })?;
        Ok(Self(value))
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for PathParams<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(value) = Path::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::new(ProblemKind::NotFound, "this is not an id of the kind that this path takes"))?;
        Ok(Self(value))
    }
}
