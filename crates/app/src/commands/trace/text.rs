//! A report for people: what it is about, the steps, and what waits.

use std::fmt::Write as _;

use pangaea_contracts::Timestamp;

use super::fact::Outcome;
use super::report::{OrderView, Report, Step};
use super::style::{Style, Tone};
use super::waterfall::{duration, waterfall};

/// Trace and correlation ids that are named.
const IDS_MAX: usize = 5;
/// Characters of an error.
const ERROR_MAX: usize = 160;

/// The whole report; `now` tells how long things have been waiting.
pub(super) fn text(report: &Report, style: Style, now: Timestamp) -> String {
    let mut text = heading(report, style);
    text.push_str(&timeline(report, style));
    text.push_str(&open(report, style, now));
    text.push_str(&waterfall(report, style));
    text.push_str(&payloads(report));
    if report.is_cut {
        let _ = writeln!(text, "\ncut off at {} steps: there are more, see --limit", report.limit);
    }
    text
}

fn heading(report: &Report, style: Style) -> String {
    let mut text = report.order.as_ref().map(|order| order_lines(order, style)).unwrap_or_default();
    if let (None, Some(id)) = (&report.order, &report.query.order_id) {
        let _ = writeln!(text, "order        {id}: its state is in order's database, which was not read");
    }
    for (name, ids) in [("trace", &report.trace_ids), ("correlation", &report.correlation_ids)] {
        let shown: Vec<&str> = ids.iter().take(IDS_MAX).map(String::as_str).collect();
        let more = if ids.len() > IDS_MAX { format!(" and {} more", ids.len() - IDS_MAX) } else { String::new() };
        let _ = writeln!(text, "{name:12} {}{more}", shown.join(", "));
    }
    let Report { started_at, duration_ms, steps, .. } = report;
    let _ = writeln!(text, "{:12} {started_at}, {} steps in {}", "start", steps.len(), duration(*duration_ms));
    text
}

fn order_lines(order: &OrderView, style: Style) -> String {
    let OrderView { id, state, state_since, reason, total, captured, refunded, refund_pending, .. } = order;
    let reason = reason.as_ref().map(|code| format!(" ({code})")).unwrap_or_default();
    let state = style.paint(Tone::Strong, state);
    let mut text = format!("order        {id}: {state}{reason} since {state_since}\n");
    let _ = write!(text, "money        total {total}, captured {captured}, refunded {refunded}");
    if refund_pending.amount != 0 {
        let _ = write!(text, ", being refunded {refund_pending}");
    }
    text.push('\n');
    text
}

fn timeline(report: &Report, style: Style) -> String {
    let rows: Vec<[String; 9]> = report.steps.iter().map(row).collect();
    let names = ["#", "by", "time (UTC)", "ms", "module", "kind", "subject", "outcome", "wait"].map(str::to_owned);
    let mut widths = names.clone().map(|name| name.chars().count());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::from("\n");
    text.push_str(&line(&names, &widths, |cell, _| style.paint(Tone::Dim, cell)));
    for (row, step) in rows.iter().zip(&report.steps) {
        let tone = tone(&step.outcome);
        text.push_str(&line(
            row,
            &widths,
            |cell, column| {
                if column == 7 { style.paint(tone, cell) } else { cell.to_owned() }
            },
        ));
    }
    text
}

fn line(cells: &[String; 9], widths: &[usize; 9], paint: impl Fn(&str, usize) -> String) -> String {
    let padded = cells.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
        let is_number = matches!(column, 0 | 1 | 3 | 8);
        let cell = if is_number { format!("{cell:>width$}") } else { format!("{cell:width$}") };
        paint(&cell, column)
    });
    format!("{}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
}

fn row(step: &Step) -> [String; 9] {
    [
        step.number.to_string(),
        step.cause.map(|cause| cause.to_string()).unwrap_or_default(),
        step.handled_at.or(step.published_at).map(|moment| moment.to_string()).unwrap_or_default(),
        format!("+{}", step.since_start_ms),
        step.module.clone(),
        step.kind.as_str().to_owned(),
        step.subject.clone(),
        outcome(&step.outcome),
        step.wait_ms.map(duration).unwrap_or_default(),
    ]
}

fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Answered { status } => format!("answered {status}"),
        Outcome::Refused { status, problem: None } => format!("refused {status}"),
        Outcome::Refused { status, problem: Some(code) } => format!("refused {status} {code}"),
        Outcome::Handled => "handled".to_owned(),
        Outcome::Performed { result, reason: None } => result.clone(),
        Outcome::Performed { result, reason: Some(code) } => format!("{result}: {code}"),
        Outcome::Dead { attempts, .. } => format!("dead letter after {attempts} attempts"),
        Outcome::Parked => "parked".to_owned(),
        Outcome::Waiting { attempts: None } => "waits".to_owned(),
        Outcome::Waiting { attempts: Some(attempts) } => format!("waits, {attempts} attempts"),
        Outcome::Due { .. } => "timer set".to_owned(),
        Outcome::UnderWay { tries, .. } => format!("under way, try {tries}"),
        Outcome::Unread => "read by nobody".to_owned(),
        Outcome::NotLookedAt => "not looked at".to_owned(),
        Outcome::PassedOver => "abandoned".to_owned(),
    }
}

pub(super) fn tone(outcome: &Outcome) -> Tone {
    match outcome {
        Outcome::Answered { .. } | Outcome::Handled => Tone::Good,
        Outcome::Performed { result, .. } if result == "done" => Tone::Good,
        Outcome::Refused { .. } | Outcome::Performed { .. } => Tone::Waiting,
        Outcome::Waiting { .. } | Outcome::Due { .. } | Outcome::UnderWay { .. } | Outcome::Parked => Tone::Waiting,
        Outcome::Dead { .. } | Outcome::PassedOver => Tone::Bad,
        Outcome::Unread | Outcome::NotLookedAt => Tone::Dim,
    }
}

/// What waits now, a line each, and what it waits for.
fn open(report: &Report, style: Style, now: Timestamp) -> String {
    if report.open.is_empty() {
        return "\nnothing waits\n".to_owned();
    }
    let mut text = format!("\n{}\n", style.paint(Tone::Strong, "waits now"));
    for number in &report.open {
        let Some(step) = number.checked_sub(1).and_then(|index| report.steps.get(index)) else { continue };
        let what = format!("#{number} {} {}", step.module, step.subject);
        let _ = writeln!(text, "  {}: {}", style.paint(tone(&step.outcome), &what), waits_for(step, now));
    }
    text
}

fn waits_for(step: &Step, now: Timestamp) -> String {
    let since = step.published_at.map(|moment| format!(" for {}", duration(now.millis_since(moment))));
    let since = since.unwrap_or_default();
    match &step.outcome {
        Outcome::Dead { attempts, error, fingerprint } => {
            let short: String = error.chars().take(ERROR_MAX).collect();
            format!(
                "dead letter after {attempts} attempts: {short} (fingerprint {fingerprint}; `pangaea dead-letters show --id \
                 {}`)",
                step.id
            )
        }
        Outcome::Parked => format!("parked behind a dead letter of {}", step.key),
        Outcome::Waiting { .. } => format!("published, and not handled{since}"),
        Outcome::Due { at } if *at <= now => format!("a timer that was due at {at}"),
        Outcome::Due { at } => format!("a timer, due in {} at {at}", duration(at.millis_since(now))),
        Outcome::UnderWay { tries, newest_try_at, try_expires_at, deadline_at } => {
            let is_trying =
                if *try_expires_at > now { "running" } else { "over: backing off, or the module is not running" };
            format!(
                "an effect without a result{since}: {tries} tries, the newest begun at {newest_try_at} and {is_trying}; no \
                 try starts after {deadline_at}"
            )
        }
        _ => String::new(),
    }
}

fn payloads(report: &Report) -> String {
    let mut text = String::new();
    for step in &report.steps {
        if let Some(payload) = &step.payload {
            let heading = if text.is_empty() { "\npayloads, without what is secret or personal\n" } else { "" };
            let _ = writeln!(text, "{heading}  #{} {} {payload}", step.number, step.subject);
        }
    }
    text
}
