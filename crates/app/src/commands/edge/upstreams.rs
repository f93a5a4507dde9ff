use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Uri, header};
use axum::response::{IntoResponse, Response};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use pangaea_kernel::{Problem, ProblemKind};

pub(super) type HttpClient = Client<HttpConnector, Body>;

/// A request with a longer body goes to one upstream only, because a second one needs the body again.
const BODY_KEPT_BYTES_MAX: u64 = 2 * 1024 * 1024;
/// For one request: each upstream once, and as many as may be starting again at the same time.
const TRIES_MAX: usize = 4;
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// Shorter than the processes keep an idle connection (`http.idle_timeout_ms`), so that a request rarely meets one that is
/// just being closed.
const IDLE_MAX: Duration = Duration::from_secs(2);

/// Processes that serve the same paths, taken in turn. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Upstreams {
    urls: Arc<[String]>,
    next: Arc<AtomicUsize>,
}

/// A request that may be sent more than once.
struct Kept {
    parts: Parts,
    body: Bytes,
    /// Whether a second one has no effect of its own.
    is_repeatable: bool,
}

pub(super) fn client() -> HttpClient {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_MAX));
    Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(256)
        .pool_idle_timeout(IDLE_MAX)
        .pool_timer(TokioTimer::new())
        .build(connector)
}

// === impl Upstreams ===

impl Upstreams {
    /// One or more base URLs, separated by commas.
    ///
    /// # Errors
    /// Which of them is no URL.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let urls: Vec<_> = text.split(',').map(|url| url.trim().trim_end_matches('/').to_owned()).collect();
        match urls.iter().find(|url| !url.starts_with("http://")) {
            Some(url) => Err(format!("{url:?} does not start with http://")),
            None => Ok(Self { urls: urls.into(), next: Arc::default() }),
        }
    }

    pub(super) fn urls(&self) -> &[String] {
        &self.urls
    }

    /// Sends a request to the next upstream, and on to others where that one cannot be reached, or goes away before it
    /// answers and a repeat is safe.
    pub(super) async fn send(&self, client: &HttpClient, mut request: Request) -> Response {
        prepare(&mut request);
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let upstream = |number: usize| &self.urls[first.wrapping_add(number) % self.urls.len()];
        let length = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let has_body = length.is_some() || request.headers().contains_key(header::TRANSFER_ENCODING);
        if self.urls.len() == 1 || (has_body && length.is_none_or(|length: u64| length > BODY_KEPT_BYTES_MAX)) {
            return answer(try_one(client, upstream(0), request).await);
        }
        let (parts, body) = request.into_parts();
        let Ok(body) = to_bytes(body, usize::try_from(BODY_KEPT_BYTES_MAX).unwrap_or(usize::MAX)).await else {
            return Problem::new(ProblemKind::MalformedRequest, "the body did not come whole").into_response();
        };
        let kept = Kept { is_repeatable: is_repeatable(&parts), parts, body };
        let mut number = 0;
        loop {
            let result = try_one(client, upstream(number), kept.request()).await;
            number += 1;
            match result {
                Err(error) if number < TRIES_MAX && (kept.is_repeatable || error.is_connect()) => {
                    tracing::debug!(%error, "trying the next process");
                }
                result => return answer(result),
            }
        }
    }
}

/// A second one of these has no effect of its own: reads, and commands that the store knows again by their key.
fn is_repeatable(parts: &Parts) -> bool {
    matches!(parts.method, Method::GET | Method::HEAD) || parts.headers.contains_key("idempotency-key")
}

/// Replaces whatever the client claims about itself by what is known, and takes away what holds for its connection only.
fn prepare(request: &mut Request) {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip().to_string());
    request.headers_mut().remove(header::HOST);
    request.headers_mut().remove(header::CONNECTION);
    if let Some(value) = peer.and_then(|peer| HeaderValue::try_from(peer).ok()) {
        request.headers_mut().insert("x-forwarded-for", value);
    }
}

async fn try_one(client: &HttpClient, upstream: &str, mut request: Request) -> Result<Response, Error> {
    let rest = request.uri().path_and_query().map_or("/", |rest| rest.as_str());
    let Ok(uri) = format!("{upstream}{rest}").parse::<Uri>() else {
        return Ok(Problem::new(ProblemKind::MalformedRequest, "the path cannot be forwarded").into_response());
    };
    *request.uri_mut() = uri;
    client.request(request).await.map(|response| response.map(Body::new))
}

fn answer(result: Result<Response, Error>) -> Response {
    result.unwrap_or_else(|error| {
        tracing::debug!(%error, "forwarding");
        let detail = "the process that serves this path cannot be reached; send the same request again";
        Problem::new(ProblemKind::OutcomeUnknown, detail).with_retry_after(1).into_response()
    })
}

// === impl Kept ===

impl Kept {
    fn request(&self) -> Request {
        Request::from_parts(self.parts.clone(), Body::from(self.body.clone()))
    }
}
