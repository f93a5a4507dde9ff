mod accounts;
mod administration;
mod key_set;
mod sessions;
mod views;

use std::sync::Arc;

use axum::Extension;
use axum::http::HeaderValue;
use pangaea_kernel::http::Edge;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::accounts::Shared;

/// The vault, keys and bounds of this module, beside the edge.
pub(super) type Ours = Extension<Arc<Shared>>;

/// Kept by nobody but the client it is for, and asked for anew each time.
pub(super) const PRIVATE: HeaderValue = HeaderValue::from_static("private, no-cache");

pub(crate) fn routes(shared: Arc<Shared>) -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(accounts::register, administration::list))
        .routes(routes!(accounts::read_me, accounts::change_me))
        .routes(routes!(administration::read))
        .routes(routes!(administration::change_roles))
        .routes(routes!(sessions::sign_in, sessions::sign_out_everywhere))
        .routes(routes!(sessions::refresh))
        .routes(routes!(sessions::sign_out))
        .routes(routes!(key_set::read))
        .layer(Extension(shared))
}
