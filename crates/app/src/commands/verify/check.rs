use std::collections::HashSet;
use std::fmt;

use serde_json::{Value, json};

/// Breaches shown of one check.
const SHOWN_MAX: usize = 20;
/// Breaches kept of one check, so that two looks can be compared; the others are only counted.
const KEPT_MAX: usize = 10_000;

/// An invariant, what was looked at, and what breaks it.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    name: String,
    /// What was looked at, e.g. `1,204 orders`.
    counted: String,
    breaches: Vec<String>,
    breaches_total: usize,
    note: Option<String>,
}

// === impl Check ===

impl Check {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), counted: String::new(), breaches: Vec::new(), breaches_total: 0, note: None }
    }

    #[must_use]
    pub(crate) fn counted(mut self, counted: impl Into<String>) -> Self {
        self.counted = counted.into();
        self
    }

    #[must_use]
    pub(crate) fn with_note(mut self, note: Option<&str>) -> Self {
        if let Some(note) = note.filter(|_| self.breaches_total > 0) {
            self.note = Some(note.to_owned());
        }
        self
    }

    pub(crate) fn set_note(&mut self, note: impl Into<String>) {
        self.note = Some(note.into());
    }

    pub(crate) fn breach(&mut self, breach: impl Into<String>) {
        self.breaches_total += 1;
        if self.breaches.len() < KEPT_MAX {
            self.breaches.push(breach.into());
        }
    }

    pub(crate) fn is_ok(&self) -> bool {
        self.breaches_total == 0
    }

    /// Leaves the breaches that an earlier look had too. Where that one had more than it could keep, all of them stay.
    #[must_use]
    pub(crate) fn persisting_since(mut self, earlier: &Self) -> Self {
        if earlier.breaches_total > earlier.breaches.len() {
            return self;
        }
        let before: HashSet<String> = earlier.breaches.iter().map(|breach| identity(breach)).collect();
        let kept = self.breaches.len();
        self.breaches.retain(|breach| before.contains(&identity(breach)));
        self.breaches_total -= kept - self.breaches.len();
        self
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "name": self.name,
            "counted": self.counted,
            "ok": self.is_ok(),
            "breaches_total": self.breaches_total,
            "breaches": self.breaches.iter().take(SHOWN_MAX).collect::<Vec<_>>(),
            "note": self.note,
        })
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.is_ok() { "ok    " } else { "BREACH" };
        write!(f, "{verdict}  {}", self.name)?;
        if !self.counted.is_empty() {
            write!(f, ": {}", self.counted)?;
        }
        if let Some(note) = &self.note {
            write!(f, " ({note})")?;
        }
        writeln!(f)?;
        for breach in self.breaches.iter().take(SHOWN_MAX) {
            writeln!(f, "          {breach}")?;
        }
        if let Some(more @ 1..) = self.breaches_total.checked_sub(SHOWN_MAX) {
            writeln!(f, "          and {more} more")?;
        }
        Ok(())
    }
}

/// A breach without its figures: on a live store a SKU's sums move from look to look, and are wrong all the same.
fn identity(breach: &str) -> String {
    let is_figure = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit() || b"-,.;:()".contains(&byte));
    let words: Vec<&str> = breach.split_whitespace().map(|word| if is_figure(word) { "#" } else { word }).collect();
    words.join(" ")
}

/// 1234567 as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
