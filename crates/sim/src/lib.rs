//! The whole store in one thread, driven by a seed.
//!
//! All four modules run as they are shipped, each an [`Executor`](pangaea_kernel::Executor) over a database of its own.
//! What is otherwise left to tasks, sockets and clocks is chosen by one generator: which work goes into a batch, how much
//! of a log is delivered, when, and how often, when time passes, when a call reaches the provider and when its answer
//! comes back; and what fails: a process dies at a failpoint, a commit's answer is lost, the broker loses the end of a
//! stream, the provider is away. Then nothing fails any more, time passes until everything is at rest, and an auditor
//! looks at all that is there.
//!
//! The same seed gives the same run, which its hash shows: every step, and at the end every row of every table.
//!
//! | file | subject |
//! |---|---|
//! | `world`, `host` | what there is: modules, broker, provider, clients, time |
//! | `scheduler`, `crash` | the rough time: what may happen next, and what fails |
//! | `batch`, `broker`, `effects` | the writer, the relay and the readers, the calls |
//! | `clients`, `provider` | the world outside |
//! | `settle`, `judge`, `books` | the end: rest, and what must be true then |
//! | `template`, `many` | copies of a store to begin with; many seeds at once |

mod batch;
mod books;
mod broker;
mod clients;
mod crash;
mod effects;
mod host;
mod judge;
mod many;
mod provider;
mod random;
mod scheduler;
mod settle;
mod template;
mod trace;
mod world;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::Path;

use anyhow::{Context, Result, bail};
use futures_util::FutureExt;
use pangaea_faults::Plant;

pub use crash::FaultCounts;
pub use many::{Seeds, Summary};
pub use provider::ProviderCounts;

use template::{Folder, Template};
use world::World;

/// Where [`Simulation::run_and_keep`] leaves the provider's ledger.
pub const LEDGER_FILE: &str = "provider-ledger.jsonl";
/// Where it leaves the ids of the orders that clients were told are accepted, one a line.
pub const ACCEPTED_FILE: &str = "accepted.txt";

/// What every run begins with. Shared by all threads that simulate.
pub struct Simulation {
    template: Template,
    plant: Option<Plant>,
}

/// How a run is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Every step goes to standard output.
    pub printed: bool,
    /// A bug of the simulated runtime, to show that the auditor finds it.
    pub sabotage: Option<Sabotage>,
}

/// Bugs of a writer, relay or effect runner, each with the guard beneath it taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// The relay leaves a row out, and readers do not ask for it.
    RelaySkipsARow,
    /// A batch of deliveries counts as done before it has run, and then does not run.
    AckBeforeCommit,
    /// Every try of an effect has an idempotency key of its own.
    EffectRetriedUnderANewKey,
}

/// A run that has ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub seed: u64,
    pub steps: u64,
    /// Of every step, and of all that the store held at the end.
    pub hash: String,
    pub counts: Counts,
    /// What was wrong.
    pub failure: Option<String>,
}

/// What happened in one run or in many.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub faults: FaultCounts,
    pub provider: ProviderCounts,
    /// By the state in which they ended.
    pub orders: BTreeMap<&'static str, u64>,
    /// Refunds that succeeded.
    pub refunds: u64,
    /// Processes that died while work waited for their writer.
    pub deaths_with_work: u64,
    /// Requests whose connection was cut by a death.
    pub requests_cut: u64,
    /// Answers given again under a key.
    pub repeats: u64,
    /// Messages that came again.
    pub duplicates: u64,
    /// Deliveries refused because something before them was missing.
    pub gaps: u64,
    /// Messages that the broker lost, and the outbox gave it again.
    pub messages_lost: u64,
    pub timers: u64,
    /// Drained stops.
    pub restarts: u64,
    /// Orders that a person had to end.
    pub reviews: u64,
    /// Looks at the invariants in the middle of a run.
    pub looks: u64,
}

// === impl Simulation ===

impl Simulation {
    /// Makes the store that every run begins with.
    ///
    /// # Errors
    /// When it cannot be made, or this build has no failpoints.
    pub fn prepare() -> Result<Self> {
        Self::with(None)
    }

    /// A store with a known bug in it, and the guard beneath it taken away.
    ///
    /// # Errors
    /// As [`Simulation::prepare`].
    pub fn planted(plant: Plant) -> Result<Self> {
        Self::with(Some(plant))
    }

    fn with(plant: Option<Plant>) -> Result<Self> {
        {
            let _hook = pangaea_faults::with_hook(|_| None);
            if !pangaea_faults::is_active() {
                bail!("this build has no failpoints: simulate in a build with debug assertions, e.g. the dev profile");
            }
        }
        let _planted = plant.map(|plant| pangaea_faults::with_plant(plant, false));
        let template = runtime()?.block_on(Template::make())?;
        Ok(Self { template, plant })
    }

    /// One run, in this thread.
    ///
    /// # Errors
    /// When there is no room for its files: what the run itself finds is its outcome.
    pub fn run(&self, seed: u64, options: Options) -> Result<Outcome> {
        self.run_in(&self.template.copy()?, seed, options, None)
    }

    /// One run whose store is left in `folder`, for another auditor: a database per module, the provider's ledger in
    /// [`LEDGER_FILE`] and the accepted orders in [`ACCEPTED_FILE`].
    ///
    /// # Errors
    /// As [`Simulation::run`].
    pub fn run_and_keep(&self, seed: u64, options: Options, folder: &Path) -> Result<Outcome> {
        let copy = self.template.copy()?;
        let outcome = self.run_in(&copy, seed, options, Some(folder))?;
        copy.copy_databases(folder)?;
        Ok(outcome)
    }

    fn run_in(&self, folder: &Folder, seed: u64, options: Options, keep: Option<&Path>) -> Result<Outcome> {
        let runtime = runtime()?;
        let _planted = self.plant.map(|plant| pangaea_faults::with_plant(plant, false));
        let mut world = World::new(folder.path(), seed, options.printed, options.sabotage);
        let failure = match runtime.block_on(AssertUnwindSafe(world.live()).catch_unwind()) {
            Ok(lived) => lived.err(),
            Err(panic) => Some(format!("panicked: {}", panic_text(&*panic))),
        };
        if let Some(keep) = keep {
            std::fs::write(keep.join(LEDGER_FILE), lines(world.till.entries().iter().map(serde_json::to_string))?)?;
            let accepted = world.clients.accepted().into_keys().map(|id| Ok(id.to_string()));
            std::fs::write(keep.join(ACCEPTED_FILE), lines(accepted)?)?;
        }
        let (steps, hash, counts) = runtime.block_on(world.end());
        Ok(Outcome { seed, steps, hash, counts, failure })
    }
}

fn lines(all: impl Iterator<Item = serde_json::Result<String>>) -> serde_json::Result<String> {
    all.map(|line| line.map(|line| line + "\n")).collect()
}

// === impl World: a run ===

impl World {
    async fn live(&mut self) -> Result<(), String> {
        self.begin().await?;
        self.rough_time().await?;
        if self.random.chance(50) {
            self.set_calm(true);
            self.come_to_rest().await?;
            self.orders += self.random.index(3);
            self.rough_time().await?;
        }
        self.settle().await?;
        self.judge().await?;
        self.take_in_everything().await.map_err(|error| error.to_string())
    }

    /// Stops what still runs, and gives the run's figures.
    async fn end(mut self) -> (u64, String, Counts) {
        for host in &mut self.hosts {
            // A run that has found something may have left a transaction open; the folder goes anyway.
            let _ = host.stop().await;
        }
        let mut counts = self.counts;
        counts.provider = self.till.counts();
        counts.repeats = self.clients.repeats;
        (self.trace.steps(), self.trace.finish(), counts)
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("a runtime")
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}
