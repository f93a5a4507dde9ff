use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use clap::Args;
use pangaea_kernel::{Problem, ProblemKind};
use pangaea_runtime::config::{Config, Sources};
use tokio_util::sync::CancellationToken;

use self::upstreams::{HttpClient, Upstreams};

mod upstreams;

/// A small stand-in for the mesh's ingress: routes by path, so that a split store has one address on a laptop.
#[derive(Args)]
#[command(after_help = "Example:\n  \
    pangaea edge --listen 127.0.0.1:8080 --route /v1/orders=http://127.0.0.1:8081,http://127.0.0.1:8082 --route /v1/products=http://127.0.0.1:8083\n\n\
    The longest prefix wins. Several processes of one route are taken in turn; where one cannot be reached, or goes away\n\
    before it answers a GET or a request with an Idempotency-Key, the next is asked. /openapi.json is asked of every\n\
    route and merged.")]
pub(crate) struct EdgeArgs {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// A path prefix and the processes that serve it
    #[arg(long = "route", value_name = "PREFIX=URL[,URL…]", value_parser = parse_route, required = true)]
    routes: Vec<Route>,
}

#[derive(Clone)]
pub(crate) struct Route {
    prefix: String,
    upstreams: Upstreams,
}

struct Edge {
    routes: Vec<Route>,
    client: HttpClient,
}

fn parse_route(text: &str) -> Result<Route, String> {
    let (prefix, urls) = text.split_once('=').ok_or("expected PREFIX=URL, e.g. /v1/orders=http://127.0.0.1:8081")?;
    if !prefix.starts_with('/') {
        return Err("the prefix starts with /".to_owned());
    }
    Ok(Route { prefix: prefix.to_owned(), upstreams: Upstreams::parse(urls)? })
}

pub(super) async fn run(args: EdgeArgs) -> Result<ExitCode> {
    let EdgeArgs { listen, mut routes } = args;
    routes.sort_by_key(|route| std::cmp::Reverse(route.prefix.len()));
    let edge = Arc::new(Edge { routes, client: upstreams::client() });
    let listener =
        tokio::net::TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen} (--listen)"))?;
    writeln!(std::io::stdout().lock(), "the edge listens on http://{}", listener.local_addr()?)?;
    let stop = CancellationToken::new();
    super::run::stop_on_signal(stop.clone())?;
    let mut http = Config::load(&Sources::default())?.config.http;
    // The process behind it says what is wrong with a slow body, so it gives up first.
    http.body_timeout_ms *= 2;
    pangaea_runtime::serve_http("edge", listener, app(edge), http, stop).await;
    Ok(ExitCode::SUCCESS)
}

fn app(edge: Arc<Edge>) -> axum::Router {
    axum::Router::new().fallback(forward).with_state(edge)
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
    Ok(route.upstreams.send(&edge.client, request).await)
}

// === impl Edge ===

impl Edge {
    async fn merged_document(&self) -> Response {
        let mut asked: Vec<&Upstreams> = self.routes.iter().map(|route| &route.upstreams).collect();
        asked.sort_unstable_by_key(|upstreams| upstreams.urls());
        asked.dedup_by_key(|upstreams| upstreams.urls());
        let mut merged: Option<serde_json::Value> = None;
        for upstreams in asked {
            let request = Request::get("/openapi.json").body(Body::empty()).unwrap_or_default();
            let response = upstreams.send(&self.client, request).await;
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

#[cfg(test)]
mod tests;
