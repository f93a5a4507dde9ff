use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::deadline::TimelyBody;
use crate::config::HttpConfig;

/// Serves the API until `stop`, then finishes the requests that have begun.
///
/// `axum::serve` was rejected: it installs no timer, so hyper's limit on the time for a request's head does nothing.
pub(crate) async fn serve_api(listener: TcpListener, router: Router, config: HttpConfig, stop: CancellationToken) {
    let connections = Arc::new(Semaphore::new(config.connections_max));
    let graceful = GracefulShutdown::new();
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(config.header_timeout_ms))
        .keep_alive(true);
    loop {
        let permit = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            permit = connections.clone().acquire_owned() => permit,
        };
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // E.g. no file descriptors: pause instead of turning in a circle.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let connection = builder.serve_connection(TokioIo::new(prepared(stream)), service(&router, peer, &config));
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%peer, %error, "a connection ended");
            }
            drop(permit);
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

fn prepared(stream: TcpStream) -> TcpStream {
    // Answers are small and complete: waiting to fill a packet only delays them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    stream
}

fn service(
    router: &Router,
    peer: SocketAddr,
    config: &HttpConfig,
) -> impl hyper::service::Service<
    hyper::Request<Incoming>,
    Response = axum::response::Response,
    Error = std::convert::Infallible,
    Future: Send,
> + use<> {
    let router = router.clone();
    let body_timeout = Duration::from_millis(config.body_timeout_ms);
    hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let router = router.clone();
        async move {
            let mut request: Request = request.map(|body| axum::body::Body::new(TimelyBody::new(body, body_timeout)));
            request.extensions_mut().insert(ConnectInfo(peer));
            router.oneshot(request).await
        }
    })
}
