use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::books::Books;
use crate::config::SimulatorConfig;
use crate::desk::{Desk, Inner};
use crate::error::SimulatorError;
use crate::filing::Filing;
use crate::http::{self, HangUp};
use crate::ledger::LedgerFile;
use crate::webhook::{WebhookTarget, Webhooks};
use crate::writer::{Durable, QUEUE_ENTRIES, Writer};

const CONNECTIONS_MAX: usize = 1_024;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Also closes idle connections. Longer than the 90 s after which common clients drop theirs, so that a client rarely
/// meets a connection that was closed a moment ago.
const HEADER_TIMEOUT: Duration = Duration::from_secs(120);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A simulator that is bound to its address and holds its ledger, but answers only while [`run`](Self::run) runs.
#[derive(Debug)]
pub struct Simulator {
    config: SimulatorConfig,
    listener: TcpListener,
    addr: SocketAddr,
    ledger: Option<(LedgerFile, Filing)>,
    books: Books,
    webhooks: Option<WebhookTarget>,
}

/// Returned to hyper to make it drop a connection.
#[derive(Debug, thiserror::Error)]
#[error("closed on purpose, as the payment's test token asks")]
struct ClosedOnPurpose;

// === impl Simulator ===

impl Simulator {
    /// Binds the address and rebuilds the state from the ledger file and its index, creating what is missing.
    ///
    /// # Errors
    /// The address cannot be bound; the ledger cannot be opened, is in use or is damaged before its last line; its
    /// index cannot be made; the webhook settings cannot work.
    pub async fn bind(config: SimulatorConfig) -> Result<Self, SimulatorError> {
        let webhooks = match &config.webhook_url {
            Some(url) => Some(WebhookTarget::parse(url, config.webhook_secret.as_deref())?),
            None => None,
        };
        let listen_error = |source| SimulatorError::Listen { addr: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(listen_error)?;
        let addr = listener.local_addr().map_err(listen_error)?;
        let (seed, keep, path) = (config.seed, config.kept_in_memory, config.ledger.clone());
        let rebuild = tokio::task::spawn_blocking(move || {
            let Some(path) = path else { return Ok((None, Books::new(seed))) };
            let mut ledger = LedgerFile::open(&path)?;
            let (filing, books) = Filing::catch_up(&mut ledger, seed, keep)?;
            Ok((Some((ledger, filing)), books))
        });
        let (ledger, books) =
            rebuild.await.map_err(|error| SimulatorError::LedgerStopped { reason: error.to_string() })??;
        Ok(Self { config, listener, addr, ledger, books, webhooks })
    }

    /// The address in use, with the real port.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Answers until `shutdown`, then finishes what it has taken, for at most five seconds. Everything answered is in
    /// the ledger file when this returns; dropping the future instead is as safe as a SIGKILL.
    ///
    /// # Errors
    /// The ledger could not be written. Nothing was answered that is not in it.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), SimulatorError> {
        let Self { config, listener, addr, ledger, books, webhooks } = self;
        // Dropped with this future, it ends the tasks below in every way out.
        let stop = shutdown.child_token();
        let _stop_on_return = stop.clone().drop_guard();
        let (entries, queue) = mpsc::channel(QUEUE_ENTRIES);
        let (durable, reached) = watch::channel(Durable { seq: books.seq(), failed: false });
        let books = Arc::new(Mutex::new(books));
        let mut tasks = JoinSet::new();
        let webhooks = webhooks.map(|target| {
            let (sender, sending) = Webhooks::build(target);
            tasks.spawn(sending.run(stop.clone()));
            sender
        });
        let desk = Desk::new(Inner {
            seed: config.seed,
            latency: Duration::from_millis(config.latency_ms),
            hold: Duration::from_millis(config.hold_ms),
            books: Arc::clone(&books),
            entries,
            durable: reached,
            webhooks,
            shutdown: stop.clone(),
        });
        let mut writing = JoinSet::new();
        writing.spawn(Writer { ledger, books, entries: queue, durable }.run());
        tracing::info!(%addr, "payment provider simulator is listening");

        let failed = tokio::select! {
            () = accept(&listener, http::router(desk), &mut tasks, &stop) => None,
            written = writing.join_next() => Some(written),
        };
        drop(listener);
        stop.cancel();
        while tasks.join_next().await.is_some() {}
        let written = match failed {
            Some(written) => written,
            None => writing.join_next().await,
        };
        match written {
            Some(Ok(result)) => result,
            Some(Err(error)) => Err(SimulatorError::LedgerStopped { reason: error.to_string() }),
            None => Ok(()),
        }
    }
}

async fn accept(listener: &TcpListener, router: Router, tasks: &mut JoinSet<()>, stop: &CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            // Ended connections are collected here, or the set would grow with every connection there ever was.
            Some(_) = tasks.join_next() => continue,
            accepted = accept_one(listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                let (router, stop) = (router.clone(), stop.clone());
                tasks.spawn(async move {
                    serve(stream, router, stop).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn accept_one(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, place))
}

/// Serves one connection. `axum::serve` was not enough: it cannot close a connection without an answer, which is the
/// whole point of two of the tokens.
async fn serve(stream: TcpStream, router: Router, stop: CancellationToken) {
    let service = service_fn(move |request| {
        let router = router.clone();
        async move {
            let Ok(response) = router.oneshot(request).await;
            if response.extensions().get::<HangUp>().is_some() { Err(ClosedOnPurpose) } else { Ok(response) }
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(DRAIN_TIMEOUT, connection).await {
                Ok(ended) => ended,
                Err(_) => return tracing::debug!("a connection did not finish in time and was closed"),
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
