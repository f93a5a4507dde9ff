//! One workload in every placement: the same is said and held, whatever runs where.
//!
//! The scripted part has no contention and runs on a clock that the driver moves, by the [`Driver`]'s rules: nothing begins
//! before all is quiet, and time goes from timer to timer. So every placement must come to one canonical digest, and where one
//! does not, the first difference is told. The contended part lets many buyers order at once; who comes first is chance there,
//! how many of them get what they asked for is not.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, Result};
use pangaea_contracts::Timestamp;
use pangaea_replay::Canonical;
use pangaea_testkit::{Store, StoreBuilder};

mod case;
mod contended;
mod difference;
mod driver;
mod people;
mod report;
mod script;

pub use case::Case;
pub use driver::Driver;
pub use report::Report;

use difference::only_in_one;
use people::{ADMIN_EMAIL, PASSWORD};

/// Monday, 5 January 2026, nine o'clock. Any moment would do; that it is long past shows that nobody looks at another clock.
const START: Timestamp = Timestamp::from_millis(1_767_603_600_000);
/// For a payer who does not act. No multiple of the pause below, so that no two timers are due at once.
const ACTION_TIMEOUT_MS: i64 = 60_000;
/// Between two looks whether a payer has acted.
const ACTION_POLL_MS: i64 = 25_000;
/// 32 bytes that are the same in every store: the hashes of e-mail addresses are made with them.
const SEALING_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// How much is done in each placement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Times that the script is run through, each with people and goods of its own.
    pub rounds: u32,
    /// Buyers at once in the contended part.
    pub buyers: u32,
}

/// What came of the workload in one placement.
#[derive(Clone, Debug)]
pub struct Run {
    pub case: Case,
    /// What its processes were told besides.
    pub faults: Option<String>,
    /// What the store held and had said after the script.
    pub canonical: Canonical,
    /// How many of the contended orders ended in which way.
    pub outcomes: BTreeMap<String, u64>,
    pub seconds: f64,
}

/// Runs the workload in a store of its own, whose processes have these `faults` besides; judges the store and stops it.
///
/// # Errors
/// When the store does not do what the script expects, or `pangaea verify` finds something.
pub async fn run(case: Case, workload: Workload, faults: Option<&str>) -> Result<Run> {
    let started = Instant::now();
    let ran = async {
        let mut driver = Driver::of(builder(case, faults).start().await?).await?;
        for round in 0..workload.rounds {
            script::run(&mut driver, round).await.with_context(|| format!("the script, round {round}"))?;
        }
        let canonical = driver.canonical().await?;
        let outcomes = contended::run(&mut driver, workload.buyers).await.context("the contended part")?;
        driver.close().await?;
        anyhow::Ok((canonical, outcomes))
    };
    let (canonical, outcomes) = ran.await.with_context(|| case.to_string())?;
    let (faults, seconds) = (faults.map(str::to_owned), started.elapsed().as_secs_f64());
    Ok(Run { case, faults, canonical, outcomes, seconds })
}

fn builder(case: Case, faults: Option<&str>) -> StoreBuilder {
    let mut builder = Store::builder(case.placement)
        .clock_from(START)
        // Each process that hosts user would open a session for the token that it shows at its start.
        .set("MODULES__USER__OPTIONS__DEMO_ACCOUNTS", "false")
        .set("MODULES__USER__OPTIONS__FIRST_ADMIN_EMAIL", ADMIN_EMAIL)
        .set("MODULES__USER__OPTIONS__FIRST_ADMIN_PASSWORD", PASSWORD)
        .set("MODULES__USER__OPTIONS__SEALING_KEY", SEALING_KEY)
        .set("MODULES__ORDER__SETTINGS__ACTION_TIMEOUT_MS", &ACTION_TIMEOUT_MS.to_string())
        .set("MODULES__PAYMENT__SETTINGS__ACTION_POLL_MS", &ACTION_POLL_MS.to_string());
    if case.on_postgres {
        builder = builder.on_postgres();
    }
    match faults {
        Some(faults) => builder.variable("PANGAEA_FAULTS", faults),
        None => builder,
    }
}

// === impl Run ===

impl Run {
    /// The placement, and the faults that it had.
    pub fn name(&self) -> String {
        match &self.faults {
            Some(faults) => format!("{} with {faults}", self.case),
            None => self.case.to_string(),
        }
    }

    /// What came out otherwise than in `self`, with the first line that differs; nothing when all is the same.
    pub fn difference(&self, other: &Self) -> Option<String> {
        if let Some(first) = self.canonical.difference(&other.canonical) {
            let digests = (self.canonical.digest(), other.canonical.digest());
            let only = only_in_one(self.canonical.lines(), other.canonical.lines());
            let first = match only {
                Some((mine, theirs)) => {
                    format!("what only one of them has:\n  {}: {mine}\n  {}: {theirs}", self.name(), other.name())
                }
                None => first,
            };
            return Some(format!(
                "{} has the digest {}, {} has {}; the first difference, in this order, is {first}",
                self.name(),
                digests.0,
                other.name(),
                digests.1
            ));
        }
        (self.outcomes != other.outcomes).then(|| {
            let (mine, theirs) = (&self.outcomes, &other.outcomes);
            format!("contended orders end as {mine:?} in {} and as {theirs:?} in {}", self.name(), other.name())
        })
    }
}
