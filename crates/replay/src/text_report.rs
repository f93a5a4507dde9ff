//! A report for a terminal.

use std::fmt::Write;

use serde_json::Value;

use crate::compare::{Change, Difference, FieldChange, Utterance, UtteranceKind};
use crate::report::{ModuleReport, Report, StateVerdict, TableDifference};
use crate::shrink::Found;

/// Characters of one value that are shown.
const VALUE_CHARS_MAX: usize = 160;

#[derive(Clone, Copy)]
enum Tone {
    Was,
    Is,
    Strong,
    Dim,
}

/// Writes lines, coloured or not.
struct Page {
    text: String,
    has_colours: bool,
}

// === impl Report ===

impl Report {
    /// As lines for people: `-` is what was recorded, `+` what this program does.
    pub fn text(&self, has_colours: bool) -> String {
        let mut page = Page { text: String::new(), has_colours };
        for module in &self.modules {
            page.module(module);
        }
        let differing: Vec<_> = self.modules.iter().filter(|module| !module.is_clean()).collect();
        let inputs: u64 = self.modules.iter().map(|module| module.inputs).sum();
        match differing.as_slice() {
            [] => page.line("", Tone::Strong, &format!("{inputs} inputs replayed: nothing differs")),
            modules => {
                let names: Vec<_> = modules.iter().map(|module| module.module.as_str()).collect();
                let differ = if names.len() == 1 { "differs" } else { "differ" };
                page.line("", Tone::Strong, &format!("{inputs} inputs replayed: {} {differ}", names.join(", ")));
            }
        }
        page.text
    }
}

// === impl Found ===

impl Found {
    /// As [`Report::text`] tells of it.
    pub fn text(&self, has_colours: bool) -> String {
        let mut page = Page { text: String::new(), has_colours };
        match self {
            Self::Said(difference) => page.difference(difference),
            Self::Tables(tables) => tables.iter().for_each(|table| page.table(table)),
        }
        page.text
    }
}

// === impl Difference ===

impl Difference {
    /// As lines for people, as [`Report::text`] has them.
    pub fn text(&self, has_colours: bool) -> String {
        let mut page = Page { text: String::new(), has_colours };
        page.difference(self);
        page.text
    }
}

// === impl Page ===

impl Page {
    fn module(&mut self, module: &ModuleReport) {
        let rate = module.inputs_per_second();
        let head = format!(
            "{}: {} inputs, {} messages in {:.1} s ({rate:.0} inputs/s)",
            module.module, module.inputs, module.outputs, module.seconds
        );
        self.line("", Tone::Strong, &head);
        if module.asked_unknown > 0 {
            let text = format!("timers and effects of {} inputs were not written down", module.asked_unknown);
            self.line("  ", Tone::Dim, &text);
        }
        for difference in &module.differences {
            self.difference(difference);
        }
        let more = module.differing.saturating_sub(module.differences.len() as u64);
        if more > 0 {
            self.line("  ", Tone::Dim, &format!("… and {} (--keep)", more_of(more)));
        }
        match &module.state {
            StateVerdict::Equal => {}
            StateVerdict::NotCompared(reason) => self.line("  ", Tone::Dim, &format!("tables not compared: {reason}")),
            StateVerdict::Differs(tables) => tables.iter().for_each(|table| self.table(table)),
        }
    }

    fn table(&mut self, table: &TableDifference) {
        self.line("  ", Tone::Strong, &format!("table {}", table.table));
        for (tone, sign, digest) in [(Tone::Was, '-', &table.recorded), (Tone::Is, '+', &table.replayed)] {
            let text = match digest {
                Some(digest) => format!("{} rows, digest {}", digest.rows, &digest.digest[..16]),
                None => "no such table".to_owned(),
            };
            self.line("    ", tone, &format!("{sign} {text}"));
        }
    }

    fn difference(&mut self, difference: &Difference) {
        let input = &difference.input;
        let head = format!("input {} {} {} at {}", input.position, input.subject, input.key, input.admitted_at);
        self.line("  ", Tone::Strong, &head);
        self.line("    ", Tone::Dim, &shortened(&input.payload));
        for change in &difference.changes {
            self.change(change);
        }
    }

    fn change(&mut self, change: &Change) {
        match change {
            Change::Missing(one) => self.utterance(Tone::Was, '-', one),
            Change::Added(one) => self.utterance(Tone::Is, '+', one),
            Change::Failed { reason } => self.line("    ", Tone::Is, &format!("! cannot be handled: {reason}")),
            Change::Changed { kind, subject, key, fields } => {
                self.line("    ", Tone::Strong, &format!("~ {}", name(*kind, subject, key)));
                fields.iter().for_each(|field| self.field(field));
            }
        }
    }

    fn utterance(&mut self, tone: Tone, sign: char, one: &Utterance) {
        let name = name(one.kind, &one.subject, &one.key);
        self.line("    ", tone, &format!("{sign} {name} {}", shortened(&one.payload)));
    }

    fn field(&mut self, field: &FieldChange) {
        for (tone, sign, value) in [(Tone::Was, '-', &field.recorded), (Tone::Is, '+', &field.replayed)] {
            if let Some(value) = value {
                self.line("      ", tone, &format!("{sign} {} {}", field.path, shortened(value)));
            }
        }
    }

    fn line(&mut self, indent: &str, tone: Tone, text: &str) {
        let code = match tone {
            Tone::Was => "31",
            Tone::Is => "32",
            Tone::Strong => "1",
            Tone::Dim => "2",
        };
        let _ = match self.has_colours {
            true => writeln!(self.text, "{indent}\x1b[{code}m{text}\x1b[0m"),
            false => writeln!(self.text, "{indent}{text}"),
        };
    }
}

pub(crate) fn name(kind: UtteranceKind, subject: &str, key: &str) -> String {
    match kind {
        UtteranceKind::Message => format!("{subject} {key}"),
        UtteranceKind::Timer => format!("timer {subject} {key}"),
        UtteranceKind::Cancel => format!("timer taken back: {subject} {key}"),
        UtteranceKind::Effect => format!("effect {subject} {key}"),
        UtteranceKind::Answer => "answer".to_owned(),
    }
}

/// What is counted and not told.
pub(crate) fn more_of(more: u64) -> String {
    if more == 1 { "1 more that differs".to_owned() } else { format!("{more} more that differ") }
}

pub(crate) fn shortened(value: &Value) -> String {
    let text = value.to_string();
    // Control characters of a foreign payload must not reach a terminal; JSON escapes them.
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
