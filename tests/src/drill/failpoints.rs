use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use pangaea_faults::{Action, Failpoint, VARIABLE};
use pangaea_testkit::{Placement, Store, eventually};

use super::{Dice, Drill, Record, close, open};
use crate::{Clients, Pace, Shop, Sku, ask_to_place};

const PACE: Pace = Pace { clients: 4, rest: Duration::from_millis(50) };
const HANG: Action = Action::Hang { millis: 700 };
/// How long a process may take to come to the boundary. Its start is in it.
const REACHED_MAX: Duration = Duration::from_secs(60);
/// How long the store may take to go on afterwards.
const RECOVERED_MAX: Duration = Duration::from_secs(60);
/// Which of the first times a boundary fails where it is passed all the time.
const TIMES: u64 = 6;

/// Crash, hang and fail at every boundary, each in a process of a store at work that is started with this fault.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  \
    cargo xtask drill failpoints --rounds 10\n  \
    cargo xtask drill failpoints --placement apart-postgres --only commit.before --only commit.after")]
pub struct Failpoints {
    /// How often each boundary does each of the three
    #[arg(long, default_value_t = 1)]
    pub rounds: u32,
    /// With PostgreSQL there is a boundary more: the lease
    #[arg(long, default_value_t = Placement::ApartPostgres)]
    pub placement: Placement,
    /// Only this boundary; may be given several times
    #[arg(long, value_name = "BOUNDARY")]
    pub only: Vec<Failpoint>,
    /// What decides at which time a boundary fails
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// One fault in one process.
struct Strike {
    point: Failpoint,
    action: Action,
    module: &'static str,
    /// The value of `PANGAEA_FAULTS`.
    faults: String,
}

impl Drill for Failpoints {
    async fn run(&self, record: &mut Record) -> Result<()> {
        record.set("placement", self.placement.name());
        ensure!(self.placement.has_broker(), "every boundary of the relay needs a broker: choose another placement");
        let (mut shop, sku) = open(Store::builder(self.placement)).await?;
        let clients = Clients::start_at(&shop, &sku, PACE)?;
        let (points, mut dice) = (self.points(), Dice::new(self.seed));
        for round in 0..self.rounds {
            for point in &points {
                for action in [Action::Crash, HANG, Action::Fail] {
                    let strike = Strike::new(*point, action, round, &mut dice);
                    let struck = strike.run(&mut shop, &sku, &clients, record).await;
                    struck.with_context(|| format!("{VARIABLE}={:?} for {}", strike.faults, strike.module))?;
                    record.count("reached");
                }
            }
            record.progress(format!("round {}: {} faults reached", round + 1, record.counted("reached")));
        }
        record.set("boundaries", points.len());
        close(&mut shop, &sku, clients, Instant::now(), record).await?;
        shop.store.stop().await
    }
}

// === impl Failpoints ===

impl Failpoints {
    fn points(&self) -> Vec<Failpoint> {
        let is_there = |point: &Failpoint| self.placement.has_postgres() || !is_lease(*point);
        let is_wanted = |point: &Failpoint| self.only.is_empty() || self.only.contains(point);
        Failpoint::ALL.iter().copied().filter(is_there).filter(is_wanted).collect()
    }
}

fn is_lease(point: Failpoint) -> bool {
    matches!(point, Failpoint::LeaseBefore | Failpoint::LeaseAfter)
}

fn is_timer(point: Failpoint) -> bool {
    matches!(point, Failpoint::TimerBefore | Failpoint::TimerAfter)
}

// === impl Strike ===

impl Strike {
    fn new(point: Failpoint, action: Action, round: u32, dice: &mut Dice) -> Self {
        use Failpoint as At;
        let busy = ["order", "payment", "product"][round as usize % 3];
        let (module, first, also) = match point {
            At::LeaseBefore | At::LeaseAfter => (busy, 1, ""),
            // The timer is the look at a payment whose payer has something to do.
            At::TimerBefore | At::TimerAfter => ("payment", 1, ""),
            At::ProviderCallBefore | At::ProviderCallAfter | At::ProviderReplyBefore | At::ProviderReplyAfter => {
                ("payment", 1 + dice.below(TIMES), "")
            }
            // Only another try is recorded before its call, so that one has to fail.
            At::TryBefore | At::TryAfter => ("payment", 1, " provider_reply.before=fail"),
            _ => (busy, 1 + dice.below(TIMES), ""),
        };
        let done = match action {
            Action::Crash => "crash".to_owned(),
            Action::Hang { millis } => format!("hang:{millis}"),
            Action::Fail => "fail".to_owned(),
        };
        Self { point, action, module, faults: format!("{point}={done}@{first}{also}") }
    }

    /// Starts the process again with the fault, sees it struck, and the store go on.
    async fn run(&self, shop: &mut Shop, sku: &Sku, clients: &Clients, record: &mut Record) -> Result<()> {
        let host = shop.store.hosts_of(self.module).next().context("no such module")?;
        host.stop().await?;
        let process = host.process();
        let from = process.log_bytes();
        process.set_variable(VARIABLE, Some(&self.faults)).start()?;
        process.set_variable(VARIABLE, None);
        let order = if is_timer(self.point) { Some(order_with_timer(shop, sku).await?) } else { None };
        self.reached(shop, from).await?;
        self.recovered(shop, clients, record).await?;
        if let Some(order) = order {
            // Without its payer it would wait for ten minutes.
            cancel(shop, &order).await?;
        }
        Ok(())
    }

    /// The process itself says so on its standard error.
    async fn reached(&self, shop: &mut Shop, from: u64) -> Result<()> {
        let said = format!("{VARIABLE}: {:?} at {}", self.action, self.point);
        let process = shop.store.process(self.module)?;
        eventually(&said, REACHED_MAX, async || {
            // Read after the look at the process: one that has ended has said all.
            let runs = process.runs()?;
            if process.log_from(from).contains(&said) {
                return Ok(Some(()));
            }
            ensure!(runs, "it ended before that; its log ends:\n{}", process.log_tail());
            Ok(None)
        })
        .await
    }

    /// One that has ended is started again, as its supervisor does; then orders are accepted again.
    async fn recovered(&self, shop: &mut Shop, clients: &Clients, record: &mut Record) -> Result<()> {
        let goal = clients.accepted().len() + 2;
        let host = shop.store.hosts_of(self.module).next().context("no such module")?;
        if self.action == Action::Crash {
            let crashed = async || Ok((!host.process().runs()?).then_some(()));
            eventually("the crash", RECOVERED_MAX, crashed).await?;
            return host.restart().await;
        }
        let recovered = eventually("orders to be accepted again", RECOVERED_MAX, async || {
            if !host.process().runs()? {
                record.count("ended_by_themselves");
                host.process().start()?;
            }
            let is_ready = host.readiness().await.is_ok_and(|answer| answer.status == 200);
            Ok((is_ready && clients.accepted().len() >= goal).then_some(()))
        });
        recovered.await.with_context(|| format!("its log ends:\n{}", host.process().log_tail()))
    }
}

async fn order_with_timer(shop: &Shop, sku: &Sku) -> Result<String> {
    let placed = ask_to_place(&shop.store.staff().await?, &[(&sku.code, 1)], "tok_action_required");
    Ok(placed.send().await?.expect(202)?.text_at("id")?.to_owned())
}

async fn cancel(shop: &Shop, id: &str) -> Result<()> {
    let staff = shop.store.staff().await?;
    eventually("the order to be cancelled", RECOVERED_MAX, async || {
        let answer = staff.post(&format!("/v1/orders/{id}/cancel"), serde_json::json!({})).send().await?;
        Ok([200, 202].contains(&answer.status).then_some(()))
    })
    .await
}
