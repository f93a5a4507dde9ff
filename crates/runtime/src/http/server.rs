use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::extract::Request;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::connections::{Connection, Connections, Place};
use super::deadline::{TimelyBody, WatchedAnswer};
use super::descriptors::connections_that_fit;
use super::timely::TimelyStream;
use crate::config::HttpConfig;

/// Serves routes until `stop`, then finishes the requests that have begun. Clients that keep the server waiting are cut by
/// `config`'s timeouts, and give way to others when there are too many. `name` is the listener's in the metrics.
///
/// `axum::serve` was rejected: it gives no hold on a connection, neither to time its head nor to let it give way.
pub async fn serve_http(
    name: &'static str,
    listener: TcpListener,
    router: Router,
    config: HttpConfig,
    stop: CancellationToken,
) {
    let connections = Connections::new(name, connections_that_fit(config.connections_max));
    let graceful = GracefulShutdown::new();
    // Without a timer: `TimelyStream` has the limits.
    let builder = http1::Builder::new();
    loop {
        let come = async {
            let (stream, peer) = listener.accept().await?;
            std::io::Result::Ok((stream, peer, connections.place().await))
        };
        let come = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            come = come => come,
        };
        let (stream, peer, place) = match come {
            Ok(come) => come,
            Err(error) => {
                // E.g. no file descriptors: pause instead of turning in a circle.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let service = service(&router, peer, &config, place.connection());
        let stream = TimelyStream::new(prepared(stream), place.connection().clone(), &config);
        let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(serve(connection, place, peer));
    }
    drop(listener);
    graceful.shutdown().await;
}

async fn serve(connection: impl Future<Output = Result<(), hyper::Error>>, place: Place, peer: SocketAddr) {
    tokio::select! {
        ended = connection => if let Err(error) = ended {
            tracing::debug!(%peer, %error, "a connection ended");
        },
        () = place.evicted() => tracing::debug!(%peer, "a connection gave way to others"),
    }
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
    connection: &Arc<Connection>,
) -> impl hyper::service::Service<
    hyper::Request<Incoming>,
    Response = hyper::Response<WatchedAnswer>,
    Error = std::convert::Infallible,
    Future: Send,
> + use<> {
    let (router, connection) = (router.clone(), connection.clone());
    let body_timeout = Duration::from_millis(config.body_timeout_ms);
    hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let (router, connection) = (router.clone(), connection.clone());
        async move {
            if !connection.head_read(!request.body().is_end_stream()) {
                // It is being closed; this future goes with it.
                std::future::pending::<()>().await;
            }
            let answering = connection.answering();
            let body = |body| axum::body::Body::new(TimelyBody::new(body, body_timeout, connection));
            let mut request: Request = request.map(body);
            request.extensions_mut().insert(ConnectInfo(peer));
            let answer = router.oneshot(request).await;
            answer.map(|answer| answer.map(|body| WatchedAnswer::new(body, answering)))
        }
    })
}
