use axum::body::HttpBody as _;
use axum::extract::{FromRequest, Request};
use pangaea_kernel::Problem;
use pangaea_kernel::http::Body;
use serde::de::DeserializeOwned;

/// A JSON body that may be left out when every field of it may be.
pub(super) struct OptionalBody<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if request.body().is_end_stream() {
            return Ok(Self(T::default()));
        }
        Body::from_request(request, state).await.map(|Body(value)| Self(value))
    }
}
