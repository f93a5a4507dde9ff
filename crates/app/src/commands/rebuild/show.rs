use std::fmt::Write;

use pangaea_kernel::{RebuildFacts, RebuildPhase, RebuildReport};

/// How far a rebuild is.
pub(super) fn progress(facts: &RebuildFacts) -> String {
    let RebuildFacts { inputs, inputs_total, rows, .. } = facts;
    let doing = match facts.phase {
        RebuildPhase::Running => "running inputs again",
        RebuildPhase::Comparing => "comparing tables",
        RebuildPhase::Copying => "filling shadow tables",
        RebuildPhase::Swapping => "swapping",
    };
    format!("{doing}: {inputs} of {inputs_total} inputs, {rows} rows in shadow tables")
}

pub(super) fn text(report: &RebuildReport) -> String {
    let mut text = String::new();
    let what = report.projection.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
    let said = match (&report.first_difference, report.differing) {
        (None, _) => "each says what was said".to_owned(),
        (Some(first), count) => format!(
            "{count} say something else; the first is at {} ({} {}, handled by release {}): {}",
            first.position, first.subject, first.id, first.handled_by, first.what
        ),
    };
    let _ = writeln!(text, "{}{what}: {} inputs run again, {said}", report.module, report.inputs);
    let width = report.tables.iter().map(|one| one.table.len()).max().unwrap_or_default().max("table".len());
    let mut line = |cells: [String; 6]| {
        let [table, before, after, changed, added, removed] = cells;
        let _ = writeln!(text, "  {table:width$} {before:>9} {after:>9} {changed:>9} {added:>9} {removed:>9}");
    };
    line(["table", "before", "after", "changed", "added", "removed"].map(str::to_owned));
    for one in &report.tables {
        let counts = [one.rows_before, one.rows_after, one.changed, one.added, one.removed].map(|n| n.to_string());
        let [before, after, changed, added, removed] = counts;
        line([one.table.clone(), before, after, changed, added, removed]);
    }
    let end = match (report.dry_run, report.is_clean()) {
        (true, true) => "nothing to do",
        (true, false) => "nothing was changed (--dry-run)",
        (false, _) => "rebuilt",
    };
    let _ = writeln!(text, "{end}");
    text
}

#[cfg(test)]
mod tests {
    use pangaea_journal::TableChange;

    use super::*;

    #[test]
    fn a_report_says_what_has_changed_and_whether_it_was_done() {
        let table =
            TableChange { table: "timeline".into(), rows_before: 11, rows_after: 12, changed: 3, added: 2, removed: 1 };
        let report = RebuildReport {
            module: "order".into(),
            projection: Some("timeline".into()),
            dry_run: true,
            inputs: 40,
            differing: 0,
            first_difference: None,
            tables: vec![table],
        };
        let said = text(&report);
        assert!(said.starts_with("order timeline: 40 inputs run again, each says what was said\n"), "{said}");
        let row: Vec<&str> = said.lines().nth(2).unwrap_or_default().split_whitespace().collect();
        assert_eq!(row, ["timeline", "11", "12", "3", "2", "1"]);
        assert!(said.ends_with("nothing was changed (--dry-run)\n"), "{said}");
        assert!(text(&RebuildReport { dry_run: false, ..report }).ends_with("rebuilt\n"));
    }
}
