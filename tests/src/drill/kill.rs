use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use pangaea_contracts::Timestamp;
use pangaea_testkit::{Api, Placement, Store};
use serde_json::Value;

use super::{Dice, Drill, Record, close, open};
use crate::{Accepted, Clients, Pace, Shop};

/// Orders that must be accepted between two kills, so that each one hits a store at work.
const ORDERS_BETWEEN_KILLS: usize = 3;
const PACE: Pace = Pace { clients: 6, rest: Duration::from_millis(100) };
/// A kill comes after an order was asked for, within so many times what the quickest answer took: on a fast machine as on a
/// slow one it finds work in flight, in another phase each time. A pause in milliseconds found the store idle in two of ten.
const AIM: f64 = 3.0;
/// How many of the newest orders are looked at to see whether a kill landed with one of them in flight.
const NEWEST: usize = 12;
/// Most of the kills must have landed with work in flight; the others came between two orders.
const LANDED_SHARE_MIN: f64 = 0.9;

/// SIGKILL for each process in turn while orders flow: nothing accepted is lost, nothing is done twice.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  \
    cargo xtask drill kill\n  \
    cargo xtask drill kill --count 300 --placement apart-postgres")]
pub struct Kill {
    /// How many kills
    #[arg(long, default_value_t = 20)]
    pub count: u32,
    #[arg(long, default_value_t = Placement::ApartPostgres)]
    pub placement: Placement,
    /// What decides who is killed when
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// A process of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Victim {
    Host(String),
    Broker,
    Postgres,
}

/// A kill, and the orders that were the newest then.
struct Landing {
    at: Instant,
    wall_clock: Timestamp,
    newest: Vec<Accepted>,
}

impl Drill for Kill {
    async fn run(&self, record: &mut Record) -> Result<()> {
        record.set("placement", self.placement.name());
        let mut builder = Store::builder(self.placement);
        if self.placement.has_postgres() {
            builder = builder.own_postgres();
        }
        let (mut shop, sku) = open(builder).await?;
        let (victims, mut dice) = (victims(&mut shop.store), Dice::new(self.seed));
        let clients = Clients::start_at(&shop, &sku, PACE)?;
        let (mut landings, mut last_fault) = (Vec::new(), Instant::now());
        for number in 0..self.count {
            // Each in turn, so that none is left out.
            let victim = &victims[number as usize % victims.len()];
            let before = || format!("before kill {number} ({victim:?})");
            clients.accept_more(ORDERS_BETWEEN_KILLS).await.with_context(before)?;
            clients.next_ask().await.with_context(before)?;
            tokio::time::sleep(quickest_answer(&clients).mul_f64(dice.share() * AIM)).await;
            let (at, wall_clock) = (Instant::now(), wall_clock());
            victim.kill(&mut shop.store)?;
            last_fault = Instant::now();
            landings.push(Landing { at, wall_clock, newest: newest(&clients) });
            record.count("kills");
            // Some come back at once, some are missed for a while.
            tokio::time::sleep(Duration::from_millis(dice.below(500))).await;
            let restarted = victim.restart(&mut shop.store).await;
            restarted.with_context(|| format!("after kill {number} ({victim:?})"))?;
            record.longest("down_ms_max", at.elapsed());
            if (number + 1) % 10 == 0 {
                record.progress(format!("{} kills, {} orders", number + 1, clients.accepted().len()));
            }
        }
        clients.accept_more(ORDERS_BETWEEN_KILLS).await?;
        let accepted = clients.accepted();
        close(&mut shop, &sku, clients, last_fault, record).await?;
        let landed = landed(&shop, &landings, &accepted).await?;
        record.set("kills_with_work_in_flight", landed);
        let least = (f64::from(self.count) * LANDED_SHARE_MIN) as usize;
        ensure!(landed >= least, "only {landed} of {} kills landed with work in flight", self.count);
        shop.store.stop().await
    }
}

/// All processes but the edge and the provider, which are not ours in a real store.
fn victims(store: &mut Store) -> Vec<Victim> {
    let hosts = store.part_names().into_iter().map(Victim::Host);
    let broker = store.placement().has_broker().then_some(Victim::Broker);
    let postgres = store.placement().has_postgres().then_some(Victim::Postgres);
    hosts.chain(broker).chain(postgres).collect()
}

fn quickest_answer(clients: &Clients) -> Duration {
    let answers = clients.accepted().into_iter().map(|order| order.accepted_at - order.asked_at);
    answers.min().unwrap_or_default()
}

fn newest(clients: &Clients) -> Vec<Accepted> {
    let accepted = clients.accepted();
    accepted[accepted.len().saturating_sub(NEWEST)..].to_vec()
}

#[expect(clippy::disallowed_methods, reason = "the timelines of orders are in wall-clock time")]
fn wall_clock() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// How many of the kills found work in flight: a request that was answered later, or an accepted order that settled later.
async fn landed(shop: &Shop, landings: &[Landing], accepted: &[Accepted]) -> Result<usize> {
    let (mut landed, mut ends) = (0, BTreeMap::new());
    for landing in landings {
        let is_asked = |order: &Accepted| order.asked_at < landing.at && order.accepted_at > landing.at;
        if accepted.iter().any(is_asked) || had_order_in_flight(&shop.staff, landing, &mut ends).await? {
            landed += 1;
        }
    }
    Ok(landed)
}

async fn had_order_in_flight(api: &Api, landing: &Landing, ends: &mut BTreeMap<String, Timestamp>) -> Result<bool> {
    for order in &landing.newest {
        if !ends.contains_key(&order.id) {
            ends.insert(order.id.clone(), settled_at(api, &order.id).await?);
        }
        if order.accepted_at < landing.at && ends[&order.id] > landing.wall_clock {
            return Ok(true);
        }
    }
    Ok(false)
}

/// When the last entry of an order's timeline was made.
async fn settled_at(api: &Api, id: &str) -> Result<Timestamp> {
    let page = api.get(&format!("/v1/orders/{id}/timeline")).send().await?.expect(200)?.body;
    let last = page["items"].as_array().and_then(|items| items.last()).context("an order without a timeline")?;
    serde_json::from_value::<Timestamp>(Value::clone(&last["at"])).context("a time in a timeline")
}

// === impl Victim ===

impl Victim {
    fn kill(&self, store: &mut Store) -> Result<()> {
        match self {
            Self::Host(name) => store.host_named(name)?.process().kill(),
            Self::Broker => store.broker().kill(),
            Self::Postgres => store.postgres().kill(),
        }
    }

    async fn restart(&self, store: &mut Store) -> Result<()> {
        match self {
            Self::Host(name) => store.host_named(name)?.restart().await,
            Self::Broker => store.broker().start().await,
            Self::Postgres => store.postgres().start().await,
        }
    }
}
