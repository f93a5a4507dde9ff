//! What people read of dead letters.

use comfy_table::{CellAlignment, Table, presets};
use serde_json::Value;

/// Characters of an error in a table.
const ERROR_MAX: usize = 70;

pub(super) fn table(letters: &[Value], more: bool) -> String {
    if letters.is_empty() {
        return "no dead letters\n".to_owned();
    }
    let mut table = Table::new();
    let columns = ["module", "id", "state", "key", "subject", "attempts", "died_at", "fingerprint", "error"];
    table.load_style(presets::UTF8_BORDERS_ONLY).set_header(columns.map(|column| column.replace('_', " ")));
    for letter in letters {
        table.add_row(columns.map(|column| match column {
            "error" => shortened(&text(letter, column)),
            _ => text(letter, column),
        }));
    }
    if let Some(attempts) = table.column_mut(5) {
        attempts.set_cell_alignment(CellAlignment::Right);
    }
    let rest = if more { "; there are more, see --limit" } else { "" };
    format!("{table}\n{} dead letters{rest}\n", letters.len())
}

/// One letter, a line for each of its fields.
pub(super) fn whole(letter: &Value) -> String {
    let mut lines = String::new();
    let input = &letter["input"];
    for (of, fields) in [
        (letter, &["module", "id", "state", "key", "subject", "attempts", "died_at", "fingerprint", "error"][..]),
        (input, &["kind", "actor", "causation_id", "correlation_id", "traceparent", "unreadable"][..]),
    ] {
        for field in fields.iter().filter(|field| !of[**field].is_null()) {
            lines.push_str(&format!("{:16}{}\n", field.replace('_', " "), text(of, field)));
        }
    }
    match &input["payload"] {
        Value::Null => {}
        Value::String(payload) => lines.push_str(&format!("{:16}{payload}\n", "payload")),
        payload => lines.push_str(&format!("payload\n{payload:#}\n")),
    }
    lines
}

/// A line of progress, in words.
pub(super) fn progress(line: &Value) -> String {
    if let Some(letter) = line.get("letter") {
        let detail = letter["detail"].as_str().map(|detail| format!(": {detail}")).unwrap_or_default();
        let outcome = text(letter, "outcome").replace('_', " ");
        return format!(
            "{outcome:14}{} {} of {}{detail}\n",
            text(letter, "module"),
            text(letter, "id"),
            text(letter, "key")
        );
    }
    if let Some(problem) = line.get("problem") {
        return format!("stopped: {}: {}\n", text(problem, "title"), text(problem, "detail"));
    }
    let outcomes = line["done"]["outcomes"].as_object();
    let counts: Vec<String> = outcomes
        .into_iter()
        .flatten()
        .map(|(outcome, count)| format!("{count} {}", outcome.replace('_', " ")))
        .collect();
    let counts = if counts.is_empty() { "no such dead letters".to_owned() } else { counts.join(", ") };
    let more = if line["done"]["more"] == true { "; there are more, run the same command again" } else { "" };
    format!("{counts}{more}\n")
}

/// Whether this line says that a chosen letter is still there for a reason.
pub(super) fn is_left(line: &Value) -> bool {
    let outcome = line["letter"]["outcome"].as_str().unwrap_or_default();
    line.get("problem").is_some()
        || line["done"]["more"] == true
        || ["failed_again", "behind", "unfit"].contains(&outcome)
}

fn text(of: &Value, field: &str) -> String {
    match &of[field] {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn shortened(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    match line.char_indices().nth(ERROR_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_left_is_told_from_what_is_gone() {
        let letter = |outcome: &str| json!({ "letter": { "outcome": outcome } });
        for gone in ["redriven", "abandoned", "not_found", "would_redrive"] {
            assert!(!is_left(&letter(gone)), "{gone}");
        }
        for left in ["failed_again", "behind", "unfit"] {
            assert!(is_left(&letter(left)), "{left}");
        }
        assert!(is_left(&json!({ "done": { "outcomes": {}, "more": true } })));
        assert!(!is_left(&json!({ "done": { "outcomes": {}, "more": false } })));
        assert!(is_left(&json!({ "problem": { "title": "no" } })));
    }

    #[test]
    fn long_errors_are_cut_between_characters() {
        assert_eq!(shortened("short\nand more"), "short");
        assert_eq!(shortened(&"ü".repeat(100)).chars().count(), ERROR_MAX + 1);
    }
}
