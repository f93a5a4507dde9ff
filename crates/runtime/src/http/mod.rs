//! The HTTP side of a host: the modules' routes behind one set of layers, and a listener of its own for operations.

mod connections;
mod deadline;
mod descriptors;
mod guard;
mod letters;
mod levels;
pub(crate) mod openapi;
mod operations;
mod rate_limit;
mod rebuild;
mod server;
mod timely;
mod trace;

use std::sync::Arc;

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use pangaea_kernel::{Module, Problem, ProblemKind};
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;

use crate::ModuleHandle;
use crate::config::Config;
use crate::telemetry::spans::Spans;
use crate::telemetry::trace::Sampling;

pub(crate) use operations::{Health, serve_operations};
pub use server::serve_http;

#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("the API's document is not complete: {0}")]
    Document(String),
}

/// Every hosted module's routes under one guard, with the document that describes them.
///
/// # Errors
/// When an operation does not say who may call it.
pub(crate) fn api_router(
    modules: &[Arc<dyn Module>],
    handles: &[ModuleHandle],
    config: &Config,
    spans: &Spans,
) -> Result<Router, HttpError> {
    let document = openapi::api_document(modules);
    let access = Arc::new(pangaea_kernel::http::access_table(&document).map_err(HttpError::Document)?);
    let text = document.to_string();
    let limits = Arc::new(rate_limit::RateLimits::new(&config.http));
    let mut router = Router::new().route(
        "/openapi.json",
        get(move || {
            let text = text.clone();
            async move { ([("content-type", "application/json")], text).into_response() }
        }),
    );
    for (module, handle) in modules.iter().zip(handles) {
        let (routes, _) = module.routes().split_for_parts();
        let guard =
            guard::Guard { access: access.clone(), verifier: handle.edge().verifier().clone(), limits: limits.clone() };
        let routes = routes.route_layer(axum::middleware::from_fn_with_state(guard, guard::check));
        router = router.merge(routes.with_state(handle.edge().clone()));
    }
    let sampling = Sampling::of_ratio(config.telemetry.trace_sample_ratio);
    let observed = trace::Observed { spans: spans.clone(), sampling };
    let layers = ServiceBuilder::new()
        .layer(axum::middleware::from_fn_with_state(observed, trace::observe))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(axum::middleware::from_fn_with_state(config.http.request_timeout_ms, trace::time_out))
        .layer(axum::middleware::map_response(problem_for_plain_errors));
    Ok(router
        .fallback(|| async { Problem::new(ProblemKind::NotFound, "no operation has this path; see /openapi.json") })
        .method_not_allowed_fallback(|| async { Problem::new(ProblemKind::MethodNotAllowed, "see /openapi.json") })
        .layer(axum::extract::DefaultBodyLimit::max(config.http.body_bytes_max))
        .layer(layers))
}

fn panicked(_: Box<dyn std::any::Any + Send>) -> axum::response::Response {
    metrics::counter!("pangaea_http_panics_total").increment(1);
    Problem::new(ProblemKind::Internal, "the failure has been logged").into_response()
}

/// What a library answers in plain text becomes a problem too, so that clients need to know one form only.
async fn problem_for_plain_errors(response: axum::response::Response) -> axum::response::Response {
    use axum::http::{StatusCode, header};
    let is_json = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.to_str().is_ok_and(|text| text.contains("json")));
    if is_json {
        return response;
    }
    match response.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(ProblemKind::BodyTooLarge, "send a smaller body").into_response(),
        StatusCode::METHOD_NOT_ALLOWED => {
            Problem::new(ProblemKind::MethodNotAllowed, "see /openapi.json").into_response()
        }
        _ => response,
    }
}
