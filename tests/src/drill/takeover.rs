use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use pangaea_testkit::{Link, Placement, Store, eventually};

use super::{Drill, Record, close, open};
use crate::{Clients, Pace};

const PACE: Pace = Pace { clients: 4, rest: Duration::from_millis(100) };
const ORDERS_BETWEEN: usize = 3;
const MODULES: [&str; 4] = ["product", "order", "payment", "user"];
/// How long a module may be without a leader before the drill gives up.
const LED_MAX: Duration = Duration::from_secs(60);
/// Between two looks for the new leader: short against the bound.
const LOOK: Duration = Duration::from_millis(20);
/// How long a leader that comes back may take to see that it is none any more.
const STEPPED_DOWN_MAX: Duration = Duration::from_secs(15);

/// Takes the leader of one module after the other away, and measures how long it takes until another replica leads.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  \
    cargo xtask drill takeover\n  \
    cargo xtask drill takeover --count 120 --placement apart-replicas-3")]
pub struct Takeover {
    /// How many leaders are taken away, in turn by SIGKILL, SIGSTOP and a cut connection
    #[arg(long, default_value_t = 12)]
    pub count: u32,
    #[arg(long, default_value_t = Placement::ApartReplicas(2))]
    pub placement: Placement,
    /// How long a takeover may take
    #[arg(long, default_value_t = 2_000)]
    pub within_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Away {
    Killed,
    Stopped,
    Cut,
}

impl Drill for Takeover {
    async fn run(&self, record: &mut Record) -> Result<()> {
        record.set("placement", self.placement.name());
        ensure!(self.placement.replicas() > 1, "without a second replica nobody takes over: choose apart-replicas-2");
        let (mut shop, sku) = open(Store::builder(self.placement).with_proxies()).await?;
        let clients = Clients::start_at(&shop, &sku, PACE)?;
        let mut last_fault = Instant::now();
        for number in 0..self.count as usize {
            let module = MODULES[number % MODULES.len()];
            let away = [Away::Killed, Away::Stopped, Away::Cut][number % 3];
            clients.accept_more(ORDERS_BETWEEN).await.with_context(|| format!("before takeover {number}"))?;
            let took = take_over(&mut shop.store, module, away).await;
            let took = took.with_context(|| format!("takeover {number}: the leader of {module} is {away:?}"))?;
            last_fault = Instant::now();
            record.progress(format!("takeover {number} of {module}, {away:?}: {} ms", took.as_millis()));
            record.longest(&format!("takeover_ms_max_{}", format!("{away:?}").to_lowercase()), took);
            record.count("takeovers");
            if took > Duration::from_millis(self.within_ms) {
                record.count("takeovers_too_slow");
            }
        }
        clients.accept_more(ORDERS_BETWEEN).await?;
        close(&mut shop, &sku, clients, last_fault, record).await?;
        let late = record.counted("takeovers_too_slow");
        ensure!(late == 0, "{late} takeovers took longer than {} ms", self.within_ms);
        shop.store.stop().await
    }
}

/// How long it took until another replica led. The one that was away is a standby again afterwards.
async fn take_over(store: &mut Store, module: &str, away: Away) -> Result<Duration> {
    let leader = async || Ok(store.leader_of(module).await.map(str::to_owned));
    let leader = eventually("a leader", LED_MAX, leader).await?;
    let started = Instant::now();
    match away {
        Away::Killed => store.host_named(&leader)?.process().kill()?,
        Away::Stopped => store.host_named(&leader)?.process().signal("STOP")?,
        Away::Cut => store.proxies().one(Link::Postgres, &leader)?.shut(),
    }
    let took = until_another_leads(store, module, &leader, started).await?;
    match away {
        Away::Killed => store.host_named(&leader)?.restart().await?,
        Away::Stopped => store.host_named(&leader)?.process().signal("CONT")?,
        Away::Cut => store.proxies().heal(),
    }
    stepped_down(store, module, &leader).await?;
    Ok(took)
}

async fn until_another_leads(store: &mut Store, module: &str, leader: &str, started: Instant) -> Result<Duration> {
    while started.elapsed() < LED_MAX {
        for host in store.hosts_of(module).filter(|host| host.name() != leader) {
            if host.leads(module).await.unwrap_or(false) {
                return Ok(started.elapsed());
            }
        }
        tokio::time::sleep(LOOK).await;
    }
    anyhow::bail!("nobody else leads after {} s", LED_MAX.as_secs())
}

/// The former leader knows that it is none: it says so, or it has ended and is started again by its supervisor.
async fn stepped_down(store: &mut Store, module: &str, leader: &str) -> Result<()> {
    let host = store.host_named(leader)?;
    eventually("the former leader to step down", STEPPED_DOWN_MAX, async || {
        if !host.process().runs()? {
            host.process().start()?;
        }
        Ok(host.leads(module).await.is_ok_and(|leads| !leads).then_some(()))
    })
    .await?;
    host.wait_ready().await?;
    let leads = store.leader_of(module).await;
    ensure!(leads.is_some_and(|now| now != leader), "{leader} leads {module} again");
    Ok(())
}
