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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use axum::routing::any;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::config::{Config, Sources};

    const HEAD: Duration = Duration::from_millis(300);
    const IDLE: Duration = Duration::from_millis(1_500);

    /// Reads and writes do not come to the stream in the same order for all of these.
    #[tokio::test]
    async fn however_a_request_went_its_connection_is_closed_once_it_has_been_idle() {
        let routes = Router::new()
            .route("/at-once", any(async || "here"))
            .route("/takes-all", any(async |body: axum::body::Bytes| body))
            .route("/slow", any(async || tokio::time::sleep(HEAD * 2).await));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut config = Config::load(&Sources::default()).unwrap().config.http;
        config.header_timeout_ms = HEAD.as_millis() as u64;
        config.idle_timeout_ms = IDLE.as_millis() as u64;
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve_http("test", listener, routes, config, stop.clone()));
        let mut asking = tokio::task::JoinSet::new();
        for path in ["/at-once", "/takes-all", "/slow"] {
            for request in
                ["GET PATH HTTP/1.1\r\nHost: x\r\n\r\n", "POST PATH HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"]
            {
                for pause in [Duration::ZERO, HEAD * 2] {
                    let request = request.replace("PATH", path);
                    asking.spawn(async move {
                        let mut stream = TcpStream::connect(address).await.unwrap();
                        for _ in 0..2 {
                            tokio::time::sleep(pause).await;
                            stream.write_all(request.as_bytes()).await.unwrap();
                            let mut answer = [0; 1_024];
                            let read = stream.read(&mut answer).await.unwrap();
                            assert!(answer[..read].starts_with(b"HTTP/1.1 200 "), "{request}");
                        }
                        let answered = Instant::now();
                        let mut rest = Vec::new();
                        let closed = tokio::time::timeout(IDLE * 10, stream.read_to_end(&mut rest)).await;
                        assert_eq!(closed.expect(&request).unwrap(), 0, "{request}");
                        assert!(answered.elapsed() >= IDLE - HEAD, "{request}");
                    });
                }
            }
        }
        while let Some(asked) = asking.join_next().await {
            asked.unwrap();
        }
        stop.cancel();
        server.await.unwrap();
    }
}
