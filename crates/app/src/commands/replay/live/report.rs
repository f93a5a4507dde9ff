//! What was sent and how it was answered.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use super::Speed;
use super::plan::Command;
use crate::commands::load::histogram::{Histogram, Quantiles};
use crate::commands::replay::shown::printable;
use crate::retail::answer::{Raw, Replay};

/// Answers that differ told one by one; the others are counted.
const DIFFERING_MAX: usize = 20;

#[derive(Default, Serialize)]
pub(super) struct Report {
    url: String,
    pub(super) run: String,
    /// What was sent in place of the recorded tokens.
    payment_token: Option<String>,
    speed: String,
    sent: u64,
    sent_by_subject: BTreeMap<String, u64>,
    /// With the recorded status.
    answered_as_recorded: u64,
    answered_otherwise: u64,
    /// Of those, with a status of another class, e.g. 4xx for 2xx.
    other_class: u64,
    /// As in `202 → 409`.
    otherwise: BTreeMap<String, u64>,
    /// The first of them.
    differing: Vec<Differing>,
    statuses: BTreeMap<u16, u64>,
    /// Answered as an earlier run under the same name.
    repeats: u64,
    /// Tries more, where the recording accepted and the store did not yet.
    pub(super) asked_again: u64,
    pub(super) skipped: BTreeMap<String, u64>,
    /// Recorded inputs that a store makes by itself.
    pub(super) not_commands: u64,
    /// Behind the recorded moment, at this speed; `None` at full speed.
    lateness: Option<Quantiles>,
    #[serde(skip)]
    late: Histogram,
    seconds: f64,
    requests_per_second: f64,
    /// Ids whose other names were forgotten, because there were too many.
    ids_forgotten: u64,
    /// Why not everything was sent.
    pub(super) broken_off: Option<String>,
}

#[derive(Serialize)]
struct Differing {
    subject: String,
    position: u64,
    input_id: String,
    recorded: u16,
    answered: u16,
    problem: String,
}

/// The parts of an answer that are counted.
pub(super) struct Answered {
    status: u16,
    is_repeat: bool,
    problem: String,
}

// === impl Report ===

impl Report {
    pub(super) fn of_run(self, url: &str, run: String, payment_token: Option<String>) -> Self {
        Self { url: url.to_owned(), run, payment_token, ..self }
    }

    /// Whether every answer has a status of the recorded class.
    pub(super) fn is_as_recorded(&self) -> bool {
        self.other_class == 0
    }

    pub(super) fn sent(&mut self, subject: &str, late: Option<Duration>) {
        self.sent += 1;
        *self.sent_by_subject.entry(subject.to_owned()).or_default() += 1;
        if let Some(late) = late {
            self.late.record_us(u64::try_from(late.as_micros()).unwrap_or(u64::MAX));
        }
    }

    pub(super) fn answered(&mut self, command: &Command, answered: &Answered) {
        let status = answered.status;
        *self.statuses.entry(status).or_default() += 1;
        self.repeats += u64::from(answered.is_repeat);
        // What an older release did not write down is taken for done.
        let recorded = command.answer.as_ref().map_or(200, |answer| answer.status);
        let is_known = command.answer.is_some();
        if recorded == status || !is_known && status / 100 == 2 {
            self.answered_as_recorded += 1;
            return;
        }
        self.answered_otherwise += 1;
        *self.otherwise.entry(format!("{recorded} → {status}")).or_default() += 1;
        if recorded / 100 == status / 100 {
            return;
        }
        self.other_class += 1;
        if self.differing.len() < DIFFERING_MAX {
            self.differing.push(Differing {
                subject: command.subject.clone(),
                position: command.spot.position,
                input_id: command.input_id.clone(),
                recorded,
                answered: status,
                problem: answered.problem.clone(),
            });
        }
    }

    pub(super) fn end(&mut self, speed: Speed, took: Duration, ids_forgotten: u64) {
        self.speed = match speed {
            Speed::Max => "max".to_owned(),
            Speed::Times(times) => times.to_string(),
        };
        self.lateness = (speed != Speed::Max).then(|| self.late.quantiles());
        self.seconds = took.as_secs_f64();
        self.requests_per_second = self.sent as f64 / self.seconds.max(0.001);
        self.ids_forgotten = ids_forgotten;
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let rate = self.requests_per_second;
        let _ = writeln!(
            text,
            "{} commands sent to {} as run {} in {:.1} s ({rate:.0}/s, speed {})",
            self.sent, self.url, self.run, self.seconds, self.speed
        );
        for (subject, count) in &self.sent_by_subject {
            let _ = writeln!(text, "  {count:>8}  {subject}");
        }
        if let Some(token) = &self.payment_token {
            let _ = writeln!(text, "paid with {token:?} in place of the recorded tokens (--payment-token)");
        }
        let _ = writeln!(
            text,
            "answered with the recorded status {}, with another {}{}",
            self.answered_as_recorded,
            self.answered_otherwise,
            if self.answered_otherwise > 0 {
                format!(", of another class {}", self.other_class)
            } else {
                String::new()
            }
        );
        for (change, count) in &self.otherwise {
            let _ = writeln!(text, "  {count:>8}  {change}");
        }
        for one in &self.differing {
            let line = format!(
                "input {} {} ({}): {} recorded, {} answered: {}",
                one.position, one.subject, one.input_id, one.recorded, one.answered, one.problem
            );
            let _ = writeln!(text, "  {}", printable(&line));
        }
        let statuses: Vec<_> = self.statuses.iter().map(|(status, count)| format!("{status}: {count}")).collect();
        let _ = writeln!(text, "statuses {}", statuses.join(", "));
        self.rest(&mut text);
        text
    }

    fn rest(&self, text: &mut String) {
        for (what, count) in [
            ("answered as in an earlier run of this name", self.repeats),
            ("tries more where the recording accepted and the store did not yet", self.asked_again),
            ("ids forgotten, because there were too many", self.ids_forgotten),
        ] {
            if count > 0 {
                let _ = writeln!(text, "{what}: {count}");
            }
        }
        for (reason, count) in &self.skipped {
            let _ = writeln!(text, "not sent: {count} of {reason}");
        }
        if let Some(late) = &self.lateness {
            let _ = writeln!(
                text,
                "behind the recorded pace: half within {:.1} ms, 99 % within {:.1} ms, at most {:.1} ms",
                late.p50_ms, late.p99_ms, late.max_ms
            );
        }
    }
}

// === impl Answered ===

impl Answered {
    pub(super) fn of(raw: &Raw) -> Self {
        let problem = if raw.status.is_success() { String::new() } else { raw.problem() };
        Self { status: raw.status.as_u16(), is_repeat: raw.replay() == Replay::EarlierRun, problem }
    }

    /// Too busy on every try.
    pub(super) fn busy(status: u16) -> Self {
        Self { status, is_repeat: false, problem: "too busy, on every try".to_owned() }
    }
}
