use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use pangaea_kernel::Problem;
use pangaea_kernel::http::Edge;
use serde::Serialize;
use utoipa::ToSchema;

use crate::keys::{FIRST_USE_AFTER_MS, Jwk};
use crate::store;

/// A JSON Web Key Set (RFC 7517).
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct JwkSet {
    /// The newest first. A key is here before tokens are signed with it, and until the last of them has ended.
    pub(super) keys: Vec<Jwk>,
}

/// The keys that access tokens are signed with.
#[utoipa::path(
    get, path = "/.well-known/jwks.json", operation_id = "read_key_set", tag = "user",
    responses(
        (status = 200, description = "The keys; they may be kept for five minutes", body = JwkSet),
        (status = 503, description = "Not at the moment", body = Problem),
    ),
    extensions(("x-access" = json!({"anonymous": true})))
)]
pub(super) async fn read(State(edge): State<Edge>) -> Result<Response, Problem> {
    let keys = store::token_keys(edge.database(), edge.clock().now()).await?;
    let keys = keys.iter().filter_map(Jwk::of).collect();
    let max_age = format!("public, max-age={}", FIRST_USE_AFTER_MS / 1_000);
    let max_age = HeaderValue::try_from(max_age).unwrap_or(HeaderValue::from_static("no-cache"));
    Ok(([(header::CACHE_CONTROL, max_age)], Json(JwkSet { keys })).into_response())
}
