//! A TCP proxy that does to a connection what networks do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// What is read before it is passed on; a delay holds for each.
const CHUNK_BYTES: usize = 16 * 1024;
/// Before the next try to accept after one that failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A way to one server that can be disturbed, on an address of its own. Everything ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    conditions: watch::Sender<Conditions>,
    counts: Arc<Counts>,
    acceptor: AbortHandle,
}

/// What happens to the bytes of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flow {
    #[default]
    Free,
    /// Each chunk of up to 16 KiB waits so long.
    Delayed(Duration),
    /// At most so many bytes in a second.
    Throttled(u32),
    /// Held back until the flow is another one, as by a partition that ends before TCP gives up.
    Held,
    /// Taken, and never delivered: the other side seems to be there and is not. A connection that has lost bytes ends
    /// when the flow is another one.
    Swallowed,
}

#[derive(Clone, Copy, Debug, Default)]
struct Conditions {
    refuses: bool,
    /// Connections that began under a lower number end.
    generation: u64,
    to_server: Flow,
    to_client: Flow,
}

#[derive(Debug, Default)]
struct Counts {
    accepted: AtomicU64,
    open: AtomicU64,
}

/// One direction of one connection.
struct Pump {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    flow: fn(&Conditions) -> Flow,
    conditions: watch::Receiver<Conditions>,
    has_lost: Arc<AtomicBool>,
}

// === impl Proxy ===

impl Proxy {
    /// A free way to `server`, which need not be there yet.
    ///
    /// # Errors
    /// When the system gives no port.
    pub async fn start(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("a port for a proxy")?;
        let address = listener.local_addr()?;
        let conditions = watch::Sender::new(Conditions::default());
        let counts = Arc::new(Counts::default());
        let acceptor = tokio::spawn(accept(listener, server, conditions.subscribe(), counts.clone())).abort_handle();
        Ok(Self { address, conditions, counts, acceptor })
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all connections. New ones are let through.
    pub fn cut(&self) {
        self.conditions.send_modify(|conditions| conditions.generation += 1);
    }

    /// Resets new connections, until it is healed. Those that are there go on.
    pub fn refuse(&self) {
        self.conditions.send_modify(|conditions| conditions.refuses = true);
    }

    /// Ends all connections and resets new ones, until it is healed: a server that is gone.
    pub fn shut(&self) {
        self.refuse();
        self.cut();
    }

    /// The flow in both directions, of new connections too.
    pub fn set_flow(&self, flow: Flow) {
        self.set_flows(flow, flow);
    }

    /// The flow towards the server, and towards the client.
    pub fn set_flows(&self, to_server: Flow, to_client: Flow) {
        self.conditions.send_modify(|conditions| {
            conditions.to_server = to_server;
            conditions.to_client = to_client;
        });
    }

    /// Lets everything through again. Connections that have lost bytes end.
    pub fn heal(&self) {
        self.conditions.send_modify(|conditions| {
            *conditions = Conditions { generation: conditions.generation, ..Conditions::default() };
        });
    }

    /// Connections that clients have made so far, those that were reset not counted.
    pub fn accepted(&self) -> u64 {
        self.counts.accepted.load(Ordering::Relaxed)
    }

    /// Connections that are up now.
    pub fn open(&self) -> u64 {
        self.counts.open.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

/// Its connections end with it: a [`JoinSet`] aborts what it holds.
async fn accept(
    listener: TcpListener,
    server: SocketAddr,
    conditions: watch::Receiver<Conditions>,
    counts: Arc<Counts>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // Out of descriptors, for example: others are closed meanwhile.
                let Ok((client, _)) = accepted else {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                };
                if conditions.borrow().refuses {
                    let _ = client.set_zero_linger();
                    continue;
                }
                connections.spawn(carry(client, server, conditions.clone(), counts.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn carry(
    client: TcpStream,
    server: SocketAddr,
    mut conditions: watch::Receiver<Conditions>,
    counts: Arc<Counts>,
) {
    let generation = conditions.borrow().generation;
    let Ok(server) = TcpStream::connect(server).await else {
        // As a server that is not there: a reset, and not an orderly end.
        let _ = client.set_zero_linger();
        return;
    };
    let _open = Open::count(counts);
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let has_lost = Arc::new(AtomicBool::new(false));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let pump = |from, to, flow| Pump { from, to, flow, conditions: conditions.clone(), has_lost: has_lost.clone() };
    let requests = pump(from_client, to_server, |conditions: &Conditions| conditions.to_server);
    let answers = pump(from_server, to_client, |conditions: &Conditions| conditions.to_client);
    tokio::select! {
        _ = async { tokio::join!(requests.run(), answers.run()) } => {}
        // An error means that the proxy itself is gone.
        _ = conditions.wait_for(|now| now.generation > generation) => {}
    }
}

// === impl Pump ===

impl Pump {
    /// Until the sender has finished, or the connection is of no use any more.
    async fn run(mut self) {
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let read = tokio::select! {
                read = self.from.read(&mut buffer) => read,
                () = Self::hole_has_closed(self.flow, self.conditions.clone(), &self.has_lost) => break,
            };
            let Ok(length @ 1..) = read else { break };
            if !self.pass(&buffer[..length]).await {
                break;
            }
        }
        // A hole takes the end of a connection too.
        let flow = self.flow;
        let _ = self.conditions.wait_for(|now| !matches!(flow(now), Flow::Held | Flow::Swallowed)).await;
        let _ = self.to.shutdown().await;
    }

    /// Whether the connection is still good.
    async fn pass(&mut self, bytes: &[u8]) -> bool {
        let flow = (self.flow)(&self.conditions.borrow_and_update());
        match flow {
            Flow::Free => {}
            Flow::Delayed(delay) => tokio::time::sleep(delay).await,
            Flow::Throttled(bytes_per_s) => {
                let seconds = bytes.len() as f64 / f64::from(bytes_per_s.max(1));
                tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
            }
            Flow::Held => {
                let flow = self.flow;
                if self.conditions.wait_for(|now| flow(now) != Flow::Held).await.is_err() {
                    return false;
                }
            }
            Flow::Swallowed => {
                self.has_lost.store(true, Ordering::Relaxed);
                return true;
            }
        }
        // Bytes before these are missing: nothing that comes now makes sense to the other side.
        !self.has_lost.load(Ordering::Relaxed) && self.to.write_all(bytes).await.is_ok()
    }

    /// Waits until bytes have been lost and no more would be. It ends both directions, each by itself.
    async fn hole_has_closed(
        flow: fn(&Conditions) -> Flow,
        mut conditions: watch::Receiver<Conditions>,
        has_lost: &AtomicBool,
    ) {
        loop {
            let now = flow(&conditions.borrow_and_update());
            if now != Flow::Swallowed && has_lost.load(Ordering::Relaxed) {
                return;
            }
            if conditions.changed().await.is_err() {
                return;
            }
        }
    }
}

/// A connection that is counted for as long as this lives.
struct Open(Arc<Counts>);

impl Open {
    fn count(counts: Arc<Counts>) -> Self {
        counts.accepted.fetch_add(1, Ordering::Relaxed);
        counts.open.fetch_add(1, Ordering::Relaxed);
        Self(counts)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
