use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use clap::Args;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use pangaea_kernel::{Problem, ProblemKind};
use tokio_util::sync::CancellationToken;

/// A small stand-in for the mesh's ingress: routes by path, so that a split store has one address on a laptop.
#[derive(Args)]
#[command(after_help = "Example:\n  \
    pangaea edge --listen 127.0.0.1:8080 --route /v1/orders=http://127.0.0.1:8081 --route /v1/products=http://127.0.0.1:8082\n\n\
    The longest prefix wins. /openapi.json is asked of every target and merged.")]
pub(crate) struct EdgeArgs {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// A path prefix and the process that serves it
    #[arg(long = "route", value_name = "PREFIX=URL", value_parser = parse_route, required = true)]
    routes: Vec<Route>,
}

#[derive(Clone)]
pub(crate) struct Route {
    prefix: String,
    target: String,
}

struct Edge {
    routes: Vec<Route>,
    client: Client<HttpConnector, Body>,
}

fn parse_route(text: &str) -> Result<Route, String> {
    let (prefix, target) = text.split_once('=').ok_or("expected PREFIX=URL, e.g. /v1/orders=http://127.0.0.1:8081")?;
    if !prefix.starts_with('/') || !target.starts_with("http://") {
        return Err("the prefix starts with /, the target with http://".to_owned());
    }
    Ok(Route { prefix: prefix.to_owned(), target: target.trim_end_matches('/').to_owned() })
}

pub(super) async fn run(args: EdgeArgs) -> Result<ExitCode> {
    let EdgeArgs { listen, mut routes } = args;
    routes.sort_by_key(|route| std::cmp::Reverse(route.prefix.len()));
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(Duration::from_secs(2)));
    let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(256).build(connector);
    let edge = Arc::new(Edge { routes, client });
    let listener =
        tokio::net::TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen} (--listen)"))?;
    writeln!(std::io::stdout().lock(), "the edge listens on http://{}", listener.local_addr()?)?;
    let app = axum::Router::new().fallback(forward).with_state(edge);
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    let stop = CancellationToken::new();
    super::run::stop_on_signal(stop.clone())?;
    let stopped = async move { stop.cancelled().await };
    axum::serve(listener, app).with_graceful_shutdown(stopped).await.map_err(|error| anyhow!(error))?;
    Ok(ExitCode::SUCCESS)
}

async fn forward(State(edge): State<Arc<Edge>>, request: Request) -> Result<Response, Infallible> {
    let path = request.uri().path().to_owned();
    if path == "/openapi.json" {
        return Ok(edge.merged_document().await);
    }
    let matches = |route: &&Route| {
        path.strip_prefix(route.prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let Some(route) = edge.routes.iter().find(matches) else {
        return Ok(Problem::new(ProblemKind::NotFound, "no process serves this path").into_response());
    };
    Ok(edge.send(&route.target, request).await)
}

// === impl Edge ===

impl Edge {
    async fn send(&self, target: &str, mut request: Request) -> Response {
        let rest = request.uri().path_and_query().map_or("/", |rest| rest.as_str());
        let Ok(uri) = format!("{target}{rest}").parse::<Uri>() else {
            return Problem::new(ProblemKind::MalformedRequest, "the path cannot be forwarded").into_response();
        };
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip().to_string());
        *request.uri_mut() = uri;
        request.headers_mut().remove(header::HOST);
        request.headers_mut().remove(header::CONNECTION);
        // Whatever the client claims about itself is replaced by what is known.
        if let Some(value) = peer.and_then(|peer| HeaderValue::try_from(peer).ok()) {
            request.headers_mut().insert("x-forwarded-for", value);
        }
        match self.client.request(request).await {
            Ok(response) => response.map(Body::new),
            Err(error) => {
                tracing::debug!(%error, target, "forwarding");
                let detail = "the process that serves this path cannot be reached; send the same request again";
                Problem::new(ProblemKind::OutcomeUnknown, detail).with_retry_after(1).into_response()
            }
        }
    }

    async fn merged_document(&self) -> Response {
        let mut targets: Vec<&str> = self.routes.iter().map(|route| route.target.as_str()).collect();
        targets.sort_unstable();
        targets.dedup();
        let mut merged: Option<serde_json::Value> = None;
        for target in targets {
            let request = Request::get("/openapi.json").body(Body::empty()).unwrap_or_default();
            let response = self.send(target, request).await;
            let bytes = axum::body::to_bytes(response.into_body(), 8 * 1024 * 1024).await.unwrap_or_default();
            let Ok(document) = serde_json::from_slice::<serde_json::Value>(&bytes) else { continue };
            match &mut merged {
                None => merged = Some(document),
                Some(merged) => merge(merged, &document),
            }
        }
        match merged {
            Some(document) => axum::Json(document).into_response(),
            None => Problem::new(ProblemKind::Unavailable, "no process answers").with_retry_after(1).into_response(),
        }
    }
}

/// Adds the paths and components of `other`.
fn merge(document: &mut serde_json::Value, other: &serde_json::Value) {
    let (Some(into), Some(from)) = (document.as_object_mut(), other.as_object()) else { return };
    for (key, value) in from {
        match into.get_mut(key) {
            Some(existing) if existing.is_object() && key != "info" => merge(existing, value),
            Some(_) => {}
            None => {
                into.insert(key.clone(), value.clone());
            }
        }
    }
}
