use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::{Map, Value, json};

/// What a drill notes while it runs.
#[derive(Debug)]
pub struct Record {
    started: Instant,
    /// In the order in which they first came.
    figures: Vec<(String, Value)>,
}

/// A drill that has ended.
#[derive(Clone, Debug)]
pub struct Report {
    command: String,
    figures: Vec<(String, Value)>,
    duration: Duration,
    fault: Option<String>,
}

// === impl Record ===

impl Default for Record {
    fn default() -> Self {
        Self { started: Instant::now(), figures: Vec::new() }
    }
}

impl Record {
    /// Sets a figure of the report. Its unit is in its name.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        let value = value.into();
        match self.figures.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => self.figures.push((name.to_owned(), value)),
        }
    }

    /// Counts one more.
    pub fn count(&mut self, name: &str) {
        self.set(name, self.counted(name) + 1);
    }

    pub fn counted(&self, name: &str) -> u64 {
        let found = self.figures.iter().find(|(known, _)| known == name);
        found.and_then(|(_, value)| value.as_u64()).unwrap_or(0)
    }

    /// Keeps the largest of these times, in milliseconds.
    pub fn longest(&mut self, name: &str, took: Duration) {
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.set(name, self.counted(name).max(millis));
    }

    /// Says how far it is, on standard error, so that standard output has the report alone.
    pub fn progress(&self, text: impl fmt::Display) {
        eprintln!("[{:>7.1} s] {text}", self.started.elapsed().as_secs_f64());
    }
}

// === impl Report ===

impl Report {
    pub(super) fn new(command: &str, record: Record, duration: Duration, fault: Option<String>) -> Self {
        Self { command: command.to_owned(), figures: record.figures, duration, fault }
    }

    pub fn has_passed(&self) -> bool {
        self.fault.is_none()
    }

    pub fn to_json(&self) -> Value {
        let figures: Map<String, Value> = self.figures.iter().cloned().collect();
        let duration_s = (self.duration.as_secs_f64() * 10.0).round() / 10.0;
        let result = if self.has_passed() { "passed" } else { "failed" };
        json!({
            "command": self.command, "figures": figures, "duration_s": duration_s, "result": result, "fault": self.fault,
        })
    }

    /// # Errors
    /// What did not hold, with the figures.
    pub fn into_result(self) -> Result<()> {
        if self.has_passed() {
            return Ok(());
        }
        bail!("{self}")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.command)?;
        for (name, value) in &self.figures {
            writeln!(f, "  {name:<36} {value}")?;
        }
        writeln!(f, "  {:<36} {:.1}", "duration_s", self.duration.as_secs_f64())?;
        match &self.fault {
            None => write!(f, "passed"),
            Some(fault) => write!(f, "FAILED: {fault}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_keep_their_order_and_a_fault_is_a_failure() {
        let mut record = Record::default();
        record.set("placement", "apart");
        record.count("kills");
        record.count("kills");
        record.longest("catch_up_ms_max", Duration::from_millis(7));
        record.longest("catch_up_ms_max", Duration::from_millis(3));
        let report = Report::new("drill kill", record, Duration::from_secs(2), Some("an order is lost".to_owned()));
        assert_eq!(
            report.to_json(),
            json!({
                "command": "drill kill",
                "figures": { "placement": "apart", "kills": 2, "catch_up_ms_max": 7 },
                "duration_s": 2.0, "result": "failed", "fault": "an order is lost",
            })
        );
        let text = report.to_string();
        assert!(text.find("placement").unwrap() < text.find("kills").unwrap(), "{text}");
        assert!(report.into_result().unwrap_err().to_string().contains("an order is lost"));
    }
}
