//! The store on PostgreSQL, over a gate that the test opens and closes: a server that comes late or goes away is waited
//! for, and nothing is lost.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use pangaea_testkit::{Placement, Store, eventually};
use pangaea_tests::Shop;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const RECOVERED_MAX: Duration = Duration::from_secs(60);

/// A way to the PostgreSQL server that can be shut: connections end, and new ones get no further.
struct Gate {
    address: SocketAddr,
    open: watch::Sender<bool>,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_late_and_goes_away_is_waited_for() -> Result<()> {
    let (server, database) = database().await?;
    let gate = Gate::new(server).await?;
    let url = format!("postgres://postgres@{}/{database}", gate.address);
    let mut store = Store::builder(Placement::TogetherMemory).set("DATABASE__URL", &url).spawn().await?;
    let process = store.process("order")?;
    let complains = async || {
        process.must_run()?;
        Ok(process.log().contains("waiting for the database").then_some(()))
    };
    eventually("the store to say that its database is away", RECOVERED_MAX, complains).await?;

    gate.set_open(true);
    store.wait_ready().await?;
    let shop = Shop::of(store).await?;
    let sku = shop.new_sku(100, 100).await?;
    shop.confirmed(&sku, 1).await?;

    gate.set_open(false);
    let unready = async || {
        let readiness = shop.store.readiness("order").await?;
        Ok((readiness.status == 503).then_some(()))
    };
    eventually("the store to be unready without its database", RECOVERED_MAX, unready).await?;
    gate.set_open(true);
    let ready = async || Ok((shop.store.readiness("order").await?.status == 200).then_some(()));
    eventually("the store to be ready again", RECOVERED_MAX, ready).await?;
    for _ in 0..3 {
        shop.confirmed(&sku, 1).await?;
    }
    shop.stock_becomes(&sku, (96, 0)).await?;
    shop.close().await
}

/// A database of this test's own, and where its server is.
#[expect(clippy::disallowed_methods, reason = "where the test's servers are is said by the environment")]
async fn database() -> Result<(SocketAddr, String)> {
    let url = std::env::var("PANGAEA_TEST_POSTGRES_URL").context(
        "PANGAEA_TEST_POSTGRES_URL is not set; run this test by `cargo xtask test`, which starts PostgreSQL",
    )?;
    let mut connection = PgConnection::connect(&url).await.context("PANGAEA_TEST_POSTGRES_URL")?;
    let name = format!("store_{}", std::process::id());
    connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await?;
    connection.close().await?;
    let authority = url.split('@').nth(1).and_then(|rest| rest.split('/').next()).context("no host in the URL")?;
    Ok((authority.parse().context("the URL names an address and a port")?, name))
}

// === impl Gate ===

impl Gate {
    /// A closed gate to `server`.
    async fn new(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let open = watch::Sender::new(false);
        let opened = open.subscribe();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, server, opened.clone()));
            }
        });
        Ok(Self { address, open })
    }

    fn set_open(&self, open: bool) {
        self.open.send_replace(open);
    }
}

/// Carries bytes both ways until the gate closes; a closed gate ends the connection at once.
async fn pass(mut client: TcpStream, server: SocketAddr, mut open: watch::Receiver<bool>) {
    if !*open.borrow() {
        return;
    }
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => {}
        _ = open.wait_for(|open| !open) => {}
    }
}
