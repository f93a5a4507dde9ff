//! Figures, as they stand in `docs/benchmarks.md`.

use std::fmt;
use std::io::Write;

use anyhow::Result;
use serde::Serialize;

use crate::machine::Machine;

/// Everything that one benchmark has found.
#[derive(Debug, Serialize)]
pub(crate) struct Sheet {
    bench: &'static str,
    /// Whether the figures mean anything.
    optimised: bool,
    machine: Machine,
    /// What the store was told, and what was read back from its databases.
    settings: Vec<(String, String)>,
    figures: Vec<Figure>,
}

/// One thing measured, once a run.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    what: String,
    unit: &'static str,
    runs: Vec<f64>,
    spread: Spread,
    binding: Option<Bound>,
    aim: Option<Bound>,
}

/// Where a figure has to be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// Of several runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

// === impl Sheet ===

impl Sheet {
    pub(crate) fn new(bench: &'static str, machine: Machine) -> Self {
        Self { bench, optimised: !cfg!(debug_assertions), machine, settings: Vec::new(), figures: Vec::new() }
    }

    pub(crate) fn setting(&mut self, name: &str, value: impl fmt::Display) {
        self.settings.push((name.to_owned(), value.to_string()));
    }

    pub(crate) fn settings(&mut self, settings: Vec<(String, String)>) {
        self.settings.extend(settings);
    }

    pub(crate) fn figure(&mut self, what: impl Into<String>, unit: &'static str, runs: &[f64]) -> &mut Figure {
        let spread = Spread::of(runs);
        let figure = Figure { what: what.into(), unit, runs: runs.to_vec(), spread, binding: None, aim: None };
        self.figures.push(figure);
        let last = self.figures.len() - 1;
        &mut self.figures[last]
    }

    pub(crate) fn print(&self, as_json: bool) -> Result<()> {
        let mut out = std::io::stdout().lock();
        match as_json {
            true => writeln!(out, "{}", serde_json::to_string_pretty(self)?)?,
            false => write!(out, "{self}")?,
        }
        Ok(())
    }
}

impl fmt::Display for Sheet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { cores, cpu, memory_mib, kernel, filesystem, syncs_per_s, load_average } = &self.machine;
        if !self.optimised {
            writeln!(f, "**A debug build: these figures mean nothing.**\n")?;
        }
        writeln!(f, "`cargo xtask bench {}`\n", self.bench)?;
        writeln!(
            f,
            "- machine: {cores} cores, {cpu}, {memory_mib} MiB, Linux {kernel}; load before (1 min) {load_average:.2}"
        )?;
        writeln!(
            f,
            "- file system: {filesystem}; {} durable 4 KiB appends a second, one at a time",
            shown(*syncs_per_s)
        )?;
        for (name, value) in &self.settings {
            writeln!(f, "- {name}: {value}")?;
        }
        writeln!(f, "\n| what | median | min to max | runs | binding | aim |\n|---|---|---|---|---|---|")?;
        self.figures.iter().try_for_each(|figure| writeln!(f, "{figure}"))
    }
}

// === impl Figure ===

impl Figure {
    pub(crate) fn must(&mut self, binding: Bound, aim: Bound) {
        (self.binding, self.aim) = (Some(binding), Some(aim));
    }

    fn verdict(&self, bound: Option<Bound>) -> String {
        bound.map_or(String::new(), |bound| {
            let word = if bound.holds(self.spread.median) { "met" } else { "**missed**" };
            format!("{bound}: {word}")
        })
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Spread { min, median, max } = self.spread;
        let (what, unit) = (self.what.replace('|', "/"), self.unit);
        let runs: Vec<String> = self.runs.iter().map(|run| shown(*run)).collect();
        let (binding, aim) = (self.verdict(self.binding), self.verdict(self.aim));
        let runs = if runs.len() > 1 { runs.join(", ") } else { String::new() };
        write!(
            f,
            "| {what} | **{}** {unit} | {} to {} | {runs} | {binding} | {aim} |",
            shown(median),
            shown(min),
            shown(max)
        )
    }
}

/// Three digits that mean something.
fn shown(value: f64) -> String {
    let decimals = match value.abs() {
        0.0..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    let text = format!("{value:.decimals$}");
    let (whole, fraction) =
        text.split_once('.').map_or((text.as_str(), None), |(whole, fraction)| (whole, Some(fraction)));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        let left = whole.len() - index;
        if index > 0 && left.is_multiple_of(3) && digit.is_ascii_digit() && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    fraction.map_or(grouped.clone(), |fraction| format!("{grouped}.{fraction}"))
}

// === impl Bound ===

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(f, "≥ {}", shown(*bound)),
            Self::AtMost(bound) => write!(f, "≤ {}", shown(*bound)),
        }
    }
}

// === impl Spread ===

impl Spread {
    pub(crate) fn of(values: &[f64]) -> Self {
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(0.0);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 { at(middle) } else { (at(middle.saturating_sub(1)) + at(middle)) / 2.0 };
        Self { min: at(0), median, max: at(values.len().saturating_sub(1)) }
    }
}
