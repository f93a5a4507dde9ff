use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use pangaea_journal::{Database, DatabaseOptions};
use pangaea_testkit::{Placement, Store, eventually};

use super::{Dice, Drill, Record, close, open, settle};
use crate::{Clients, Pace, Session, Shop};

const PACE: Pace = Pace { clients: 4, rest: Duration::from_millis(50) };
const ORDERS_BETWEEN: usize = 3;
/// What an older copy of the broker's store lacks.
const ORDERS_LACKING: usize = 10;
const MODULES: [&str; 4] = ["product", "order", "payment", "user"];
const REFILLED_MAX: Duration = Duration::from_secs(30);

/// Takes from the broker what it stores, while orders flow: every accepted order settles, and in the end each stream holds
/// what its outbox holds.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  \
    cargo xtask drill refill\n  \
    cargo xtask drill refill --count 50")]
pub struct Refill {
    /// How many losses
    #[arg(long, default_value_t = 4)]
    pub count: u32,
    #[arg(long, default_value_t = Placement::Apart)]
    pub placement: Placement,
    /// How long after a loss all orders that were accepted before its end may take to settle
    #[arg(long, default_value_t = 10_000)]
    pub catch_up_max_ms: u64,
    /// What decides when, and which stream
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// What the broker loses.
#[derive(Clone, Copy, Debug)]
enum Loss {
    /// One stream is deleted.
    Stream,
    /// The store is swapped for an older copy.
    Newest,
    /// All streams are deleted.
    Streams,
    /// The store is swapped for an empty one.
    Everything,
}

impl Drill for Refill {
    async fn run(&self, record: &mut Record) -> Result<()> {
        record.set("placement", self.placement.name());
        let (mut shop, sku) = open(Store::builder(self.placement)).await?;
        let (clients, session) = (Clients::start_at(&shop, &sku, PACE)?, Session::of_staff(&shop));
        let (mut dice, mut settled, mut last_fault) = (Dice::new(self.seed), 0, Instant::now());
        for number in 0..self.count as usize {
            let loss = [Loss::Stream, Loss::Newest, Loss::Streams, Loss::Everything][number % 4];
            let what = format!("loss {number}: {loss:?}");
            record.progress(&what);
            clients.accept_more(ORDERS_BETWEEN).await.with_context(|| format!("before {what}"))?;
            tokio::time::sleep(Duration::from_millis(dice.below(100))).await;
            loss.happens(&mut shop, &clients, &mut dice).await.with_context(|| what.clone())?;
            shop.store.provision().await?;
            last_fault = Instant::now();
            record.count(&format!("losses_of_{}", format!("{loss:?}").to_lowercase()));
            let accepted = clients.accepted();
            let until = last_fault + Duration::from_millis(self.catch_up_max_ms);
            let waiting = accepted[settled..].iter().map(|order| order.id.clone());
            settle(&session, waiting, until).await.with_context(|| what)?;
            settled = accepted.len();
            record.longest("catch_up_ms_max", last_fault.elapsed());
        }
        clients.accept_more(ORDERS_BETWEEN).await?;
        close(&mut shop, &sku, clients, last_fault, record).await?;
        for module in MODULES {
            let rows = is_refilled(&shop, module).await.with_context(|| format!("the stream of {module}"))?;
            record.set(&format!("messages_of_{module}"), rows);
        }
        shop.store.stop().await
    }
}

// === impl Loss ===

impl Loss {
    async fn happens(self, shop: &mut Shop, clients: &Clients, dice: &mut Dice) -> Result<()> {
        let (store, kept) = (shop.store.folder().path().join("nats"), shop.store.folder().path().join("nats-older"));
        match self {
            Self::Stream => {
                let one = usize::try_from(dice.below(MODULES.len() as u64)).unwrap_or(0);
                delete_stream(shop, MODULES[one]).await
            }
            Self::Streams => {
                for module in MODULES {
                    delete_stream(shop, module).await?;
                }
                Ok(())
            }
            Self::Everything => {
                shop.store.broker().kill()?;
                std::fs::remove_dir_all(store)?;
                shop.store.broker().start().await
            }
            Self::Newest => {
                shop.store.broker().kill()?;
                copy(&store, &kept)?;
                shop.store.broker().start().await?;
                clients.accept_more(ORDERS_LACKING).await?;
                shop.store.broker().kill()?;
                std::fs::remove_dir_all(&store)?;
                std::fs::rename(kept, store)?;
                shop.store.broker().start().await
            }
        }
    }
}

async fn streams(shop: &Shop) -> Result<async_nats::jetstream::Context> {
    let url = shop.store.broker_url().context("no broker")?;
    Ok(async_nats::jetstream::new(pangaea_auditor::connect(&url).await?))
}

fn stream_name(shop: &Shop, module: &str) -> Result<String> {
    let namespace = shop.store.env("BUS__NAMESPACE").context("no namespace")?;
    Ok(format!("{namespace}_{module}").to_uppercase())
}

async fn delete_stream(shop: &Shop, module: &str) -> Result<()> {
    streams(shop).await?.delete_stream(stream_name(shop, module)?).await?;
    Ok(())
}

/// Waits until the stream holds the outbox, message by message; how many there are.
async fn is_refilled(shop: &Shop, module: &str) -> Result<u64> {
    let url = shop.store.env("DATABASE__URL").context("no database")?.to_owned();
    let options = DatabaseOptions { url, read_connections_max: 1, synchronous_full: true };
    let database = Database::open(module, &options).await?;
    let (streams, name) = (streams(shop).await?, stream_name(shop, module)?);
    let rows = eventually("as many messages as rows", REFILLED_MAX, async || {
        let end = database.head().await?.context("no head")?.outbox_end;
        let state = streams.get_stream(&name).await?.cached_info().state.clone();
        Ok((state.messages == end && state.last_sequence == end).then_some(end))
    })
    .await?;
    let stream = streams.get_stream(&name).await?;
    for row in database.outbox_after("", 0, usize::try_from(rows)?).await? {
        let stored = stream.get_raw_message(row.position).await?;
        let id = stored.headers.get("ce-id").map(|id| id.as_str().to_owned());
        ensure!(id.as_deref() == Some(row.id.as_str()), "position {} is {id:?} instead of {}", row.position, row.id);
        ensure!(stored.payload == row.payload.as_bytes(), "position {} has another payload", row.position);
    }
    database.close().await;
    Ok(rows)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
