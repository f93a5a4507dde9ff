use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use pangaea_testkit::{Flow, Link, Placement, Proxy, Store};

use super::{Dice, Drill, Record, close, open, settle};
use crate::{Clients, Pace, Session, Shop};

/// Slow, because the catch-up is to show how soon the store goes on, and not how fast an unoptimised build works off what
/// has piled up in a minute.
const PACE: Pace = Pace { clients: 3, rest: Duration::from_millis(400) };
const ORDERS_BETWEEN: usize = 3;
const LINKS: [Link; 3] = Link::ALL;

/// Disturbs the connections to NATS, PostgreSQL and the provider while orders flow. What was accepted before a
/// connection heals is settled soon afterwards.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  \
    cargo xtask drill outage\n  \
    cargo xtask drill outage --count 300 --longest-ms 60000")]
pub struct Outage {
    /// How many outages
    #[arg(long, default_value_t = 20)]
    pub count: u32,
    #[arg(long, default_value_t = Placement::ApartPostgres)]
    pub placement: Placement,
    /// The shortest outage
    #[arg(long, default_value_t = 100)]
    pub shortest_ms: u32,
    /// The longest outage; short ones come as often as long ones
    #[arg(long, default_value_t = 2_000)]
    pub longest_ms: u32,
    /// How long after an outage all orders that were accepted before its end may take to settle
    #[arg(long, default_value_t = 10_000)]
    pub catch_up_max_ms: u64,
    /// What decides who is cut off and for how long
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// What is done to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disturbance {
    /// Cut, and refused until it heals.
    Shut,
    /// Cut once; the next one is let through.
    Cut,
    /// Bytes vanish in both directions, in one, in the other.
    HalfOpen,
    HalfOpenToServer,
    HalfOpenToClient,
    /// Bytes come when it heals.
    Held,
    Delayed,
    Throttled,
}

impl Drill for Outage {
    async fn run(&self, record: &mut Record) -> Result<()> {
        record.set("placement", self.placement.name());
        let links: Vec<Link> = LINKS.into_iter().filter(|link| has_link(self.placement, *link)).collect();
        let (mut shop, sku) = open(Store::builder(self.placement).with_proxies()).await?;
        let (clients, session) = (Clients::start_at(&shop, &sku, PACE)?, Session::of_staff(&shop));
        let (mut dice, mut settled, mut last_fault) = (Dice::new(self.seed), 0, Instant::now());
        for number in 0..self.count as usize {
            let (link, kind) = (links[number % links.len()], Disturbance::ALL[number % Disturbance::ALL.len()]);
            let seconds = dice.log_uniform(f64::from(self.shortest_ms), f64::from(self.longest_ms)) / 1e3;
            let who = pick(&mut shop, link, &mut dice);
            let what = format!("outage {number}: {kind:?} between {who:?} and {} for {seconds:.1} s", link.name());
            record.progress(&what);
            clients.accept_more(ORDERS_BETWEEN).await.with_context(|| format!("before {what}"))?;
            for process in &who {
                kind.begin(shop.store.proxies().one(link, process)?);
            }
            tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
            shop.store.proxies().heal();
            last_fault = Instant::now();
            record.count(&format!("outages_of_{}", link.name()));
            let accepted = clients.accepted();
            let until = last_fault + Duration::from_millis(self.catch_up_max_ms);
            let waiting = accepted[settled..].iter().map(|order| order.id.clone());
            settle(&session, waiting, until).await.with_context(|| what.clone())?;
            settled = accepted.len();
            record.longest("catch_up_ms_max", last_fault.elapsed());
            running(&mut shop).with_context(|| what)?;
        }
        clients.accept_more(ORDERS_BETWEEN).await?;
        close(&mut shop, &sku, clients, last_fault, record).await?;
        shop.store.stop().await
    }
}

fn has_link(placement: Placement, link: Link) -> bool {
    match link {
        Link::Nats => placement.has_broker(),
        Link::Postgres => placement.has_postgres(),
        Link::Provider => true,
    }
}

/// All processes, or one of them; the one that matters where only one uses the link.
fn pick(shop: &mut Shop, link: Link, dice: &mut Dice) -> Vec<String> {
    let names = shop.store.part_names();
    if link == Link::Provider || dice.below(2) == 0 {
        return names;
    }
    let one = usize::try_from(dice.below(names.len() as u64)).unwrap_or(0);
    vec![names[one].clone()]
}

/// Nobody gives up for want of a connection.
fn running(shop: &mut Shop) -> Result<()> {
    for host in shop.store.hosts() {
        host.process().must_run()?;
    }
    ensure!(shop.store.provider().ended()?.is_none(), "the provider has ended");
    Ok(())
}

// === impl Disturbance ===

impl Disturbance {
    const ALL: [Self; 8] = [
        Self::Shut,
        Self::Cut,
        Self::HalfOpen,
        Self::HalfOpenToServer,
        Self::HalfOpenToClient,
        Self::Held,
        Self::Delayed,
        Self::Throttled,
    ];

    fn begin(self, proxy: &Proxy) {
        match self {
            Self::Shut => proxy.shut(),
            Self::Cut => proxy.cut(),
            Self::HalfOpen => proxy.set_flow(Flow::Swallowed),
            Self::HalfOpenToServer => proxy.set_flows(Flow::Swallowed, Flow::Free),
            Self::HalfOpenToClient => proxy.set_flows(Flow::Free, Flow::Swallowed),
            Self::Held => proxy.set_flow(Flow::Held),
            Self::Delayed => proxy.set_flow(Flow::Delayed(Duration::from_millis(100))),
            Self::Throttled => proxy.set_flow(Flow::Throttled(20_000)),
        }
    }
}
