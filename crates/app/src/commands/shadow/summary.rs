//! What a shadow has found in all.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Instant;

use pangaea_contracts::Timestamp;
use pangaea_replay::{Compared, Shadow, StateVerdict};
use serde::Serialize;

use super::metrics::seconds_since;

#[derive(Serialize)]
pub(super) struct Summary {
    module: &'static str,
    /// The position of the first input that was run.
    from: u64,
    /// Rows that it began with; `None`: it began with empty tables.
    copied_rows: Option<u64>,
    /// Releases.
    handled_by: BTreeSet<String>,
    shadowed_by: &'static str,
    inputs: u64,
    outputs: u64,
    asked_unknown: u64,
    pub(super) differing: u64,
    first_difference: Option<First>,
    /// Inputs that the leader has handled and the shadow has not, at the end.
    lag: u64,
    /// The longest that an input has waited, as far as it was seen.
    lag_seconds_max: f64,
    unlike: Vec<String>,
    /// Of the tables at the end; `None`: not asked for.
    pub(super) state: Option<StateVerdict>,
    seconds: f64,
    #[serde(skip)]
    begun: Instant,
}

#[derive(Serialize)]
struct First {
    position: u64,
    subject: String,
    key: String,
    admitted_at: Timestamp,
    seen_after_s: f64,
}

// === impl Summary ===

impl Summary {
    pub(super) fn new(module: &'static str, shadow: &Shadow) -> Self {
        Self {
            module,
            from: shadow.first(),
            copied_rows: shadow.copied().map(|copied| copied.rows),
            handled_by: BTreeSet::new(),
            shadowed_by: env!("CARGO_PKG_VERSION"),
            inputs: 0,
            outputs: 0,
            asked_unknown: 0,
            differing: 0,
            first_difference: None,
            lag: 0,
            lag_seconds_max: 0.0,
            unlike: shadow.unlike().to_vec(),
            state: None,
            seconds: 0.0,
            begun: Instant::now(),
        }
    }

    pub(super) fn beginning(&self) -> String {
        let with = self.copied_rows.map_or("empty tables".to_owned(), |rows| format!("a copy of {rows} rows"));
        format!(
            "shadowing {} with {} from input {} on, beginning with {with}",
            self.module, self.shadowed_by, self.from
        )
    }

    pub(super) fn count(&mut self, compared: &Compared) {
        self.inputs += compared.inputs;
        self.outputs += compared.outputs;
        self.asked_unknown += compared.asked_unknown;
        self.differing += compared.differences.len() as u64;
        self.lag = compared.behind;
        self.handled_by.extend(compared.handled_by.clone());
        let lag_seconds = compared.waiting_since.map_or(0.0, seconds_since);
        self.lag_seconds_max = self.lag_seconds_max.max(lag_seconds);
        if let (None, Some(difference)) = (&self.first_difference, compared.differences.first()) {
            let input = difference.input.clone();
            self.first_difference = Some(First {
                position: input.position,
                seen_after_s: seconds_since(input.admitted_at),
                admitted_at: input.admitted_at,
                subject: input.subject,
                key: input.key,
            });
        }
    }

    pub(super) fn ends(&mut self) {
        self.seconds = self.begun.elapsed().as_secs_f64();
    }

    pub(super) fn is_clean(&self) -> bool {
        self.differing == 0 && !matches!(self.state, Some(StateVerdict::Differs(_)))
    }

    /// As lines for people.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let Self { module, from, inputs, outputs, differing, seconds, lag, lag_seconds_max, .. } = self;
        writeln!(text, "{module}: {inputs} inputs from {from} on, {outputs} messages, in {seconds:.1} s")?;
        let handled_by: Vec<_> = self.handled_by.iter().map(String::as_str).collect();
        let handled_by = if handled_by.is_empty() { "nobody".to_owned() } else { handled_by.join(", ") };
        writeln!(text, "  handled there by {handled_by}, here by {}", self.shadowed_by)?;
        writeln!(text, "  lag: {lag} inputs at the end; the oldest waited for {lag_seconds_max:.1} s at most")?;
        if self.asked_unknown > 0 {
            writeln!(text, "  timers and effects of {} inputs were not written down", self.asked_unknown)?;
        }
        for note in &self.unlike {
            writeln!(text, "  {note}")?;
        }
        if let Some(First { position, subject, key, admitted_at, seen_after_s }) = &self.first_difference {
            writeln!(
                text,
                "  first difference: input {position} {subject} {key} at {admitted_at}, seen after {seen_after_s:.1} s"
            )?;
            writeln!(text, "  later ones may follow from it: the state here is what was made of the inputs here")?;
        }
        match &self.state {
            None | Some(StateVerdict::Equal) => {}
            Some(StateVerdict::NotCompared(reason)) => writeln!(text, "  tables not compared at the end: {reason}")?,
            Some(StateVerdict::Differs(tables)) => {
                let names: Vec<_> = tables.iter().map(|table| table.table.as_str()).collect();
                writeln!(text, "  tables that differ at the end: {}", names.join(", "))?;
            }
        }
        match (*differing, self.is_clean()) {
            (0, true) => writeln!(text, "{inputs} inputs compared: nothing differs"),
            (0, false) => writeln!(text, "{inputs} inputs compared: the tables differ"),
            _ => writeln!(text, "{inputs} inputs compared: {differing} differ"),
        }
    }
}
