//! Drills: faults on purpose while orders flow, and the proof afterwards that nothing was lost or doubled.
//!
//! A drill is a file here with a type that is both the arguments of its command (`cargo xtask drill <name> …`) and, with
//! small counts, its short form in `tests/drills_*.rs`; and a line in [`AnyDrill`]. It opens a store by [`open`], runs
//! [`Clients`](crate::Clients) against it, does its worst, and closes by [`close`], which judges.

use std::time::Instant;

use anyhow::Result;
use clap::Subcommand;

pub mod failpoints;
pub mod kill;
pub mod outage;
pub mod redelivery;
pub mod refill;
pub mod rolling;
pub mod takeover;

mod close;
mod dice;
mod record;
mod settle;

pub use close::close;
pub use dice::Dice;
pub use record::{Record, Report};
pub use settle::settle;

use pangaea_testkit::StoreBuilder;

use crate::{Shop, Sku};

/// What orders of a drill cost, in pence, and how many units there are.
pub const PRICE_PENCE: i64 = 199;
pub const UNITS: i64 = 1_000_000;

/// Something that is done to a store, and what must hold afterwards.
#[expect(async_fn_in_trait, reason = "a drill is the program's or the test's own task, and never spawned")]
pub trait Drill {
    /// Does it, and notes what happened.
    ///
    /// # Errors
    /// What does not hold.
    async fn run(&self, record: &mut Record) -> Result<()>;
}

macro_rules! drills {
    ($($(#[$doc:meta])* $variant:ident($type:ty),)*) => {
        /// A drill by its name on the command line.
        #[derive(Clone, Debug, Subcommand)]
        pub enum AnyDrill { $($(#[$doc])* $variant($type),)* }

        impl Drill for AnyDrill {
            async fn run(&self, record: &mut Record) -> Result<()> {
                match self { $(Self::$variant(drill) => drill.run(record).await,)* }
            }
        }
    };
}

drills! {
    /// SIGKILL for modules, nats-server and PostgreSQL while orders flow
    Kill(kill::Kill),
    /// Crash, hang and fail at every boundary of the runtime
    Failpoints(failpoints::Failpoints),
    /// Cut, refuse, hold, swallow and slow down connections to NATS, PostgreSQL and the provider
    Outage(outage::Outage),
    /// Delete streams of the broker and swap its store for an older copy
    Refill(refill::Refill),
    /// Hand on every message three times, start relays again, and compare the outcome with a plain run
    Redelivery(redelivery::Redelivery),
    /// Take the leader of a module away: SIGKILL, SIGSTOP, a cut connection
    Takeover(takeover::Takeover),
    /// Restart every process in turn, two replicas each, under load
    Rolling(rolling::Rolling),
}

/// Runs a drill. `command` is what runs it again.
pub async fn perform(drill: &impl Drill, command: &str) -> Report {
    let (mut record, started) = (Record::default(), Instant::now());
    let result = drill.run(&mut record).await;
    Report::new(command, record, started.elapsed(), result.err().map(|error| format!("{error:#}")))
}

/// Runs a drill in a test.
///
/// # Errors
/// When something does not hold, with the whole report.
pub async fn must_pass(drill: &impl Drill) -> Result<()> {
    let report = perform(drill, "a test").await;
    println!("{report}");
    report.into_result()
}

/// Starts a store with a SKU to sell. Its deadlines are short, so that what a fault cut off is tried again soon, and it is
/// tried for long enough.
///
/// # Errors
/// When the store does not start.
pub async fn open(builder: StoreBuilder) -> Result<(Shop, Sku)> {
    let builder = builder
        .set("MODULES__ORDER__SETTINGS__ANSWER_TIMEOUT_MS", "3000")
        .set("MODULES__ORDER__SETTINGS__ANSWER_TRIES_MAX", "100")
        .set("MODULES__ORDER__SETTINGS__CAPTURE_RETRY_MS", "500")
        .set("MODULES__ORDER__SETTINGS__CAPTURE_RETRY_MAX_MS", "2000")
        .set("MODULES__ORDER__SETTINGS__COMPENSATION_RETRY_MS", "1000")
        .set("MODULES__ORDER__SETTINGS__COMPENSATION_RETRY_MAX_MS", "4000")
        .set("MODULES__PAYMENT__SETTINGS__ACTION_POLL_MS", "100")
        .set("MODULES__PAYMENT__SETTINGS__RECONCILE_MS", "500")
        .set("MODULES__PAYMENT__SETTINGS__RETRY_MS", "500")
        .set("MODULES__PAYMENT__SETTINGS__PAUSE_MS_MAX", "2000")
        .set("EFFECTS__BACKOFF_MAX_MS", "1000")
        .set("EFFECTS__BREAKER_OPEN_MS", "500")
        .set("RUNTIME__DRAIN_TIMEOUT_MS", "5000");
    let shop = Shop::open_with(builder).await?;
    let sku = shop.new_sku(UNITS, PRICE_PENCE).await?;
    Ok((shop, sku))
}
