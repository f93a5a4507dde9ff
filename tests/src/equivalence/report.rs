use std::fmt;

use serde_json::{Value, json};

use super::{Case, Run, Workload, run};

/// The workload in each of some placements, and whether the same came out.
#[derive(Debug)]
pub struct Report {
    workload: Workload,
    runs: Vec<Run>,
    /// What differs, or could not be run.
    faults: Vec<String>,
}

// === impl Report ===

impl Report {
    /// Runs the workload in each of `trials`, which are placements and the faults of each, one after the other, and compares each
    /// with the first; `say` is told how far it is. One that fails stops no other.
    pub async fn of(trials: &[(Case, Option<&str>)], workload: Workload, mut say: impl FnMut(String)) -> Self {
        let mut report = Self { workload, runs: Vec::new(), faults: Vec::new() };
        for (number, (case, faults)) in (1..).zip(trials) {
            say(format!("{number} of {}: {case}", trials.len()));
            match run(*case, workload, *faults).await {
                Ok(run) => {
                    say(format!("{}: {} in {:.1} s", run.name(), run.canonical.digest(), run.seconds));
                    report.runs.push(run);
                }
                Err(error) => report.fault(format!("{error:#}"), &mut say),
            }
        }
        for fault in report.differences() {
            report.fault(fault, &mut say);
        }
        report
    }

    fn differences(&self) -> Vec<String> {
        let Some((first, others)) = self.runs.split_first() else { return Vec::new() };
        others.iter().filter_map(|other| first.difference(other)).collect()
    }

    fn fault(&mut self, fault: String, say: &mut impl FnMut(String)) {
        say(format!("FAILED: {fault}"));
        self.faults.push(fault);
    }

    pub fn has_passed(&self) -> bool {
        self.faults.is_empty()
    }

    pub fn to_json(&self) -> Value {
        let placements = self.runs.iter().map(|run| {
            json!({
                "placement": run.case.to_string(), "faults": run.faults, "digest": run.canonical.digest(), "lines": run.canonical.lines().len(),
                "outcomes": run.outcomes, "seconds": (run.seconds * 10.0).round() / 10.0,
            })
        });
        json!({
            "rounds": self.workload.rounds, "buyers": self.workload.buyers, "placements": placements.collect::<Vec<_>>(),
            "result": if self.has_passed() { "equal" } else { "failed" }, "faults": self.faults,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<26} {:>9} {:>7}  digest", "placement", "seconds", "lines")?;
        for run in &self.runs {
            let (lines, digest) = (run.canonical.lines().len(), run.canonical.digest());
            writeln!(f, "{:<26} {:>9.1} {lines:>7}  {digest}", run.case, run.seconds)?;
        }
        if let Some(first) = self.runs.first() {
            writeln!(f, "contended orders, {} buyers: {:?}", self.workload.buyers, first.outcomes)?;
        }
        for fault in &self.faults {
            writeln!(f, "FAILED: {fault}")?;
        }
        match self.has_passed() {
            true => write!(f, "equal: {} placements hold and have said the same", self.runs.len()),
            false => write!(f, "not equal"),
        }
    }
}
