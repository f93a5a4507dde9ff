use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use tokio::time::Instant;

use super::drive::Driven;
use super::histogram::Quantiles;
use super::plan::{Mode, Plan};
use super::settle::Settled;

/// What came of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub mode: String,
    pub seed: u64,
    pub sent: u64,
    pub accepted: u64,
    /// Of those, answered as an earlier run's orders.
    pub replayed: u64,
    pub refused: u64,
    pub shed: u64,
    /// The shortest and the longest time after which those were told to come again, in seconds.
    pub retry_after_s: Option<(u32, u32)>,
    pub errors: u64,
    pub not_sent: u64,
    pub confirmed: u64,
    pub states: BTreeMap<String, u64>,
    /// Of orders that were not confirmed, by code.
    pub reasons: BTreeMap<String, u64>,
    /// Refusals, sheds and errors by what was said.
    pub answers: BTreeMap<String, u64>,
    /// Accepted orders that no list has.
    pub missing: u64,
    /// Whether every accepted order was settled in time.
    pub all_settled: bool,
    /// From the first moment to the last answer.
    pub sending_s: f64,
    /// From the first moment until all were seen settled.
    pub settled_s: f64,
    pub confirmed_per_s: f64,
    /// From the intended moment of sending to the answer.
    pub accept: Quantiles,
    /// From placed to confirmed by the orders' own timelines, of a sample.
    pub confirm: Quantiles,
}

// === impl Report ===

impl Report {
    pub(super) fn new(plan: &Plan, begun: Instant, driven: Driven, settled: Settled) -> Self {
        let seconds = settled.at.unwrap_or_else(Instant::now).duration_since(begun).as_secs_f64();
        let confirmed = settled.states.get("confirmed").copied().unwrap_or(0);
        let mode = match plan.mode {
            Mode::Open { rate, fixed, .. } => {
                format!("open, {rate:.1} a second, {}", if fixed { "fixed" } else { "exponential" })
            }
            Mode::Closed { workers } => format!("closed, {workers} workers"),
        };
        Self {
            mode,
            seed: plan.seed,
            sent: driven.sent,
            accepted: driven.accepted.len() as u64,
            replayed: driven.replayed,
            refused: driven.refused,
            shed: driven.shed,
            retry_after_s: driven.retry_after_s,
            errors: driven.errors,
            not_sent: driven.not_sent,
            confirmed,
            states: settled.states,
            reasons: settled.reasons,
            answers: driven.kinds,
            missing: settled.missing,
            all_settled: settled.at.is_some(),
            sending_s: driven.sending.as_secs_f64(),
            settled_s: seconds,
            confirmed_per_s: confirmed as f64 / seconds.max(0.001),
            accept: driven.accept.quantiles(),
            confirm: settled.confirm.quantiles(),
        }
    }

    /// Whether every accepted order is there and settled.
    pub fn is_ok(&self) -> bool {
        self.missing == 0 && self.all_settled
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} (seed {})", self.mode, self.seed)?;
        write!(f, "  sent        {}: {} accepted", self.sent, self.accepted)?;
        if self.replayed > 0 {
            write!(f, " ({} of an earlier run with this seed)", self.replayed)?;
        }
        write!(f, ", {} refused, {} shed", self.refused, self.shed)?;
        if let Some((least, most)) = self.retry_after_s {
            write!(f, " (told to come again after {least} to {most} s)")?;
        }
        writeln!(f, ", {} errors; {} not sent", self.errors, self.not_sent)?;
        writeln!(
            f,
            "  confirmed   {} in {:.2} s: {:.1} a second",
            self.confirmed, self.settled_s, self.confirmed_per_s
        )?;
        for (name, counts) in [("ended", &self.states), ("reasons", &self.reasons), ("answers", &self.answers)] {
            if !counts.is_empty() {
                let counts: Vec<String> = counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
                writeln!(f, "  {name:<11} {}", counts.join(", "))?;
            }
        }
        writeln!(f, "  accepting   {}", self.accept)?;
        writeln!(f, "  confirming  {}", self.confirm)?;
        if self.missing > 0 {
            writeln!(f, "  MISSING     {} accepted orders are in no list", self.missing)?;
        }
        if !self.all_settled {
            writeln!(f, "  UNSETTLED   not every accepted order was settled in time")?;
        }
        Ok(())
    }
}

impl fmt::Display for Quantiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.count == 0 {
            return write!(f, "no orders");
        }
        let Self { count, p50_ms, p90_ms, p99_ms, max_ms } = self;
        write!(f, "p50 {p50_ms:.1} ms, p90 {p90_ms:.1} ms, p99 {p99_ms:.1} ms, max {max_ms:.1} ms ({count} orders)")
    }
}
