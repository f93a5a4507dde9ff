//! Named steps, what each took and how it ended.

use std::time::Instant;

use anyhow::Result;

/// The steps of one run, in order.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    done: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    name: String,
    seconds: f64,
    ended: Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Well,
    Badly,
    Skipped,
}

// === impl Steps ===

impl Steps {
    /// Runs and times a step. A failure is printed and remembered, and the next step may still run: one run shows all
    /// that is wrong.
    pub(crate) fn run<T>(&mut self, name: &str, step: impl FnOnce() -> Result<T>) -> Option<T> {
        println!("\n== {name}");
        let started = Instant::now();
        let result = step();
        let seconds = started.elapsed().as_secs_f64();
        let ended = if result.is_ok() { Ended::Well } else { Ended::Badly };
        println!("== {name}: {} in {seconds:.1} s", ended.word());
        self.done.push(Step { name: name.to_owned(), seconds, ended });
        result.inspect_err(|error| println!("{name}: {error:#}")).ok()
    }

    /// Notes a step that did not run.
    pub(crate) fn skip(&mut self, name: &str, reason: &str) {
        println!("\n== {name}: skipped: {reason}");
        self.done.push(Step { name: name.to_owned(), seconds: 0.0, ended: Ended::Skipped });
    }

    /// The number of steps that failed.
    pub(crate) fn failed(&self) -> u64 {
        self.done.iter().map(|step| u64::from(step.ended == Ended::Badly)).sum()
    }

    /// One line per step: seconds, how it ended.
    pub(crate) fn table(&self) -> String {
        let width = self.done.iter().map(|step| step.name.len()).max().unwrap_or(0).max("step".len());
        let mut table = format!("\n{:width$}  seconds  result\n", "step");
        for Step { name, seconds, ended } in &self.done {
            table += &format!("{name:width$}  {seconds:>7.1}  {}\n", ended.word());
        }
        table
    }
}

// === impl Ended ===

impl Ended {
    fn word(self) -> &'static str {
        match self {
            Self::Well => "ok",
            Self::Badly => "FAILED",
            Self::Skipped => "skipped",
        }
    }
}
