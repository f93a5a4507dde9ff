//! An input and what it did, for people.

use std::fmt::Write;

use pangaea_contracts::Timestamp;
use pangaea_replay::{Change, EntryKind, FieldChange, Happened, RowHistory, Utterance, UtteranceKind};
use serde_json::Value;

use crate::commands::trace::style::{Style, Tone};

/// Writes inputs one below the other.
pub(super) struct Page {
    pub(super) text: String,
    style: Style,
    /// Characters of one value that are shown.
    value_chars_max: usize,
}

// === impl Page ===

impl Page {
    pub(super) fn new(style: Style, value_chars_max: usize) -> Self {
        Self { text: String::new(), style, value_chars_max }
    }

    /// `since`: when what is told began.
    pub(super) fn input(&mut self, happened: &Happened, since: Timestamp) {
        let Happened { module, input, kind, actor, causation_id, .. } = happened;
        let after = (input.admitted_at.as_millis() - since.as_millis()) as f64 / 1_000.0;
        let head = format!(
            "{} (+{after:.3} s)  {module} {}  {}  {}",
            input.admitted_at, input.position, input.subject, input.key
        );
        self.line("", Tone::Strong, &head);
        let from = match kind {
            EntryKind::Command => format!("command of {actor}"),
            EntryKind::Delivery { source, position } => format!("message {position} of {source}"),
            EntryKind::Timer => "timer".to_owned(),
            EntryKind::EffectResult => "result of an effect".to_owned(),
            EntryKind::Settings => "settings".to_owned(),
        };
        self.line("    ", Tone::Dim, &format!("{} {from}, of {causation_id}", input.id));
        let payload = self.shortened(&input.payload);
        self.line("    ", Tone::Dim, &payload);
        happened.said.iter().for_each(|one| self.said(one));
        happened.rows.iter().for_each(|row| self.row(row));
        if !happened.is_as_recorded() {
            self.line("    ", Tone::Bad, "! it was recorded otherwise (- recorded, + now):");
            happened.changes.iter().for_each(|change| self.change(change));
        }
    }

    pub(super) fn line(&mut self, indent: &str, tone: Tone, text: &str) {
        let _ = writeln!(self.text, "{indent}{}", self.style.paint(tone, &printable(text)));
    }

    fn said(&mut self, one: &Utterance) {
        let payload = self.shortened(&one.payload);
        let about = |name: &str| one.about.get(name).map(plain).unwrap_or_default();
        let text = match one.kind {
            UtteranceKind::Message => format!("says    {} {} {payload}", one.subject, one.key),
            UtteranceKind::Timer => format!("timer   {} {} due {}", one.subject, one.key, about("@due_at")),
            UtteranceKind::Cancel => format!("timer   {} {} taken back", one.subject, one.key),
            UtteranceKind::Effect => format!("effect  {} {} {payload}", one.subject, one.key),
            UtteranceKind::Answer => format!("answer  {} {payload}", about("@status")),
        };
        self.line("    ", Tone::Good, &text);
    }

    fn row(&mut self, row: &RowHistory) {
        let key: Vec<_> = row.key.values().map(plain).collect();
        let what = match (&row.before, &row.after) {
            (None, Some(_)) => ", new",
            (Some(_), None) => ", removed",
            _ => "",
        };
        self.line("    ", Tone::Waiting, &format!("row     {} {}{what}", row.table, key.join(",")));
        for (column, before, after) in row.changed().filter(|(column, ..)| !row.key.contains_key(*column)) {
            let (before, after) = (before.map(|value| self.shortened(value)), after.map(|value| self.shortened(value)));
            let text = match (before, after) {
                (Some(before), Some(after)) => format!("{column}: {before} → {after}"),
                (before, after) => format!("{column}: {}", before.or(after).unwrap_or_default()),
            };
            self.line("              ", Tone::Dim, &text);
        }
    }

    fn change(&mut self, change: &Change) {
        match change {
            Change::Missing(one) => self.utterance("-", one),
            Change::Added(one) => self.utterance("+", one),
            Change::Failed { reason } => self.line("      ", Tone::Bad, &format!("+ cannot be handled: {reason}")),
            Change::Changed { kind, subject, key, fields } => {
                self.line("      ", Tone::Bad, &format!("~ {} {subject} {key}", kind_name(*kind)));
                fields.iter().for_each(|field| self.field(field));
            }
        }
    }

    fn utterance(&mut self, sign: &str, one: &Utterance) {
        let text =
            format!("{sign} {} {} {} {}", kind_name(one.kind), one.subject, one.key, self.shortened(&one.payload));
        self.line("      ", Tone::Bad, &text);
    }

    fn field(&mut self, field: &FieldChange) {
        for (sign, value) in [("-", &field.recorded), ("+", &field.replayed)] {
            if let Some(value) = value {
                let text = format!("{sign} {} {}", field.path, self.shortened(value));
                self.line("        ", Tone::Bad, &text);
            }
        }
    }

    fn shortened(&self, value: &Value) -> String {
        shortened(&value.to_string(), self.value_chars_max)
    }
}

fn kind_name(kind: UtteranceKind) -> &'static str {
    match kind {
        UtteranceKind::Message => "message",
        UtteranceKind::Timer => "timer",
        UtteranceKind::Cancel => "timer taken back",
        UtteranceKind::Effect => "effect",
        UtteranceKind::Answer => "answer",
    }
}

/// A text without its quotation marks, any other value as JSON.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

pub(super) fn shortened(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// What a foreign text holds must not move a terminal's cursor.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}
