//! The figures as they stand in `docs/benchmarks.md`.

use super::saga::Figures;
use crate::commands::load::Report;

/// Of several runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) min: f64,
    pub(super) median: f64,
    pub(super) max: f64,
}

pub(super) fn spread(runs: &[Report]) -> Spread {
    Spread::of(runs.iter().map(|run| run.confirmed_per_s))
}

pub(super) fn markdown(figures: &Figures) -> String {
    let Figures {
        machine, orders, workers, journal_mode, synchronous, runs, half_rate, cold_start_ms, idle_mib, ..
    } = figures;
    let throughput = spread(runs);
    let cold = Spread::of(cold_start_ms.iter().copied());
    let warning = if figures.optimised { "" } else { "**A debug build: these figures mean nothing.**\n\n" };
    let rows = [
        (
            "machine",
            format!("{} cores, {}, {} MiB, Linux {}", machine.cores, machine.cpu, machine.memory_mib, machine.kernel),
        ),
        ("load before (1 min)", format!("{:.2}", machine.load_average)),
        (
            "file system",
            format!("{}; {:.0} durable 4 KiB appends a second, one at a time", machine.filesystem, machine.syncs_per_s),
        ),
        ("databases", format!("4 SQLite files, journal_mode={journal_mode}, synchronous={synchronous}")),
        (
            "**confirmed orders a second**",
            format!(
                "**{:.0}** (median of {}; min {:.0}, max {:.0}); {orders} orders of 1 to 3 lines, {workers} workers",
                throughput.median,
                runs.len(),
                throughput.min,
                throughput.max
            ),
        ),
        ("each run", runs.iter().map(|run| format!("{:.0}", run.confirmed_per_s)).collect::<Vec<_>>().join(", ")),
        ("accepting, full load, last run", runs.last().map(|run| run.accept.to_string()).unwrap_or_default()),
        (
            "rate halved",
            format!(
                "{} orders sent in {:.0} s, {} shed; {}",
                half_rate.sent, half_rate.sending_s, half_rate.shed, half_rate.mode
            ),
        ),
        ("**accepting at half the rate**", half_rate.accept.to_string()),
        ("placed to confirmed at half the rate", half_rate.confirm.to_string()),
        (
            "cold start to ready, existing databases",
            format!("{:.0} ms (median; min {:.0}, max {:.0})", cold.median, cold.min, cold.max),
        ),
        ("idle memory after a restart", format!("{idle_mib:.0} MiB resident")),
        ("`pangaea verify`", "green after every run, live and stopped".to_owned()),
    ];
    let mut text = format!("{warning}| what | figure |\n|---|---|\n");
    for (what, figure) in rows {
        text.push_str(&format!("| {what} | {} |\n", figure.replace('|', "/")));
    }
    text
}

// === impl Spread ===

impl Spread {
    pub(super) fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(0.0);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 { at(middle) } else { (at(middle.saturating_sub(1)) + at(middle)) / 2.0 };
        Self { min: at(0), median, max: at(values.len().saturating_sub(1)) }
    }
}
