use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use pangaea_testkit::{Placement, Store};

use super::{Drill, Record, close, open};
use crate::{Clients, Pace};

const PACE: Pace = Pace { clients: 6, rest: Duration::from_millis(50) };
const ORDERS_BETWEEN: usize = 5;

/// Restarts every replica of every module, one after the other, by SIGTERM, while orders flow. No request may fail.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  \
    cargo xtask drill rolling\n  \
    cargo xtask drill rolling --rounds 10 --placement apart-replicas-3")]
pub struct Rolling {
    /// How often everything is restarted
    #[arg(long, default_value_t = 1)]
    pub rounds: u32,
    #[arg(long, default_value_t = Placement::ApartReplicas(2))]
    pub placement: Placement,
}

impl Drill for Rolling {
    async fn run(&self, record: &mut Record) -> Result<()> {
        record.set("placement", self.placement.name());
        ensure!(self.placement.replicas() > 1, "a module with one replica is away meanwhile: choose apart-replicas-2");
        let (mut shop, sku) = open(Store::builder(self.placement)).await?;
        let clients = Clients::start_at(&shop, &sku, PACE)?;
        let names = shop.store.part_names();
        for round in 0..self.rounds {
            for name in &names {
                let before = || format!("round {round}, before the restart of {name}");
                clients.accept_more(ORDERS_BETWEEN).await.with_context(before)?;
                let host = shop.store.host_named(name)?;
                host.stop().await?;
                host.restart().await?;
                record.count("restarts");
                let failed = clients.unanswered();
                ensure!(failed == 0, "{failed} requests failed up to the restart of {name} in round {round}");
            }
            record.progress(format!("round {}: {} restarts", round + 1, record.counted("restarts")));
        }
        clients.accept_more(ORDERS_BETWEEN).await?;
        let failed = clients.unanswered();
        record.set("failed_requests", failed);
        close(&mut shop, &sku, clients, Instant::now(), record).await?;
        ensure!(failed == 0, "{failed} requests failed");
        shop.store.stop().await
    }
}
