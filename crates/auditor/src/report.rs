use std::fmt;

use anyhow::{Result, bail};
use serde::Serialize;

/// Breaches of one check that are told in words; the rest is counted.
const TOLD_MAX: usize = 50;

/// What an audit found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub checks: Vec<Check>,
}

/// One claim, and what stands against it.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// Stable, snake case.
    pub name: &'static str,
    /// What must be true.
    pub claim: &'static str,
    /// How many things were looked at. A claim about nothing is easily true.
    pub looked_at: u64,
    /// Sentences, at most fifty.
    pub breaches: Vec<String>,
    /// All of them, the untold ones too.
    pub breached: u64,
}

// === impl Report ===

impl Report {
    pub fn is_sound(&self) -> bool {
        self.checks.iter().all(|check| check.breached == 0)
    }

    /// # Errors
    /// When any claim does not hold: all that was found.
    pub fn ensure_sound(&self) -> Result<()> {
        if self.is_sound() { Ok(()) } else { bail!("the auditor found breaches:\n{self}") }
    }

    /// The check of this name.
    pub fn check(&self, name: &str) -> Option<&Check> {
        self.checks.iter().find(|check| check.name == name)
    }

    /// The names of the checks that do not hold.
    pub fn breached(&self) -> Vec<&'static str> {
        self.checks.iter().filter(|check| check.breached > 0).map(|check| check.name).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in &self.checks {
            let mark = if check.breached == 0 { "holds   " } else { "BREACHED" };
            writeln!(f, "{mark}  {:<22} {} ({} looked at)", check.name, check.claim, check.looked_at)?;
            for breach in &check.breaches {
                writeln!(f, "          - {breach}")?;
            }
            let untold = check.breached - check.breaches.len() as u64;
            if untold > 0 {
                writeln!(f, "          - and {untold} more")?;
            }
        }
        Ok(())
    }
}

// === impl Check ===

impl Check {
    pub(crate) fn new(name: &'static str, claim: &'static str) -> Self {
        Self { name, claim, looked_at: 0, breaches: Vec::new(), breached: 0 }
    }

    pub(crate) fn look(&mut self) {
        self.looked_at += 1;
    }

    pub(crate) fn breach(&mut self, sentence: String) {
        self.breached += 1;
        if self.breaches.len() < TOLD_MAX {
            self.breaches.push(sentence);
        }
    }

    /// Looks at one thing that must be true.
    pub(crate) fn must(&mut self, holds: bool, sentence: impl FnOnce() -> String) {
        self.look();
        if !holds {
            self.breach(sentence());
        }
    }
}
