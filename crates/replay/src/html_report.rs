//! A report as one HTML file that needs nothing else.

use std::fmt::Write;

use crate::compare::{Change, Difference, Utterance};
use crate::report::{ModuleReport, Report, StateVerdict};
use crate::text_report::{more_of, name};

const STYLE: &str = include_str!("report.css");

// === impl Report ===

impl Report {
    /// As one page: no script, nothing loaded. Values are those of the recording, redacted or not.
    pub fn html(&self) -> String {
        let verdict = if self.is_clean() { "Nothing differs" } else { "It differs" };
        let facts = &self.recording;
        let mut page = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{verdict}: replay of {file}</title>\n<style>{STYLE}</style></head><body><main>\n\
             <h1 class=\"{class}\">{verdict}</h1>\n\
             <p>Recording <code>{file}</code> ({id}), made {made_at} by release {made_by}; replayed by release {by}.</p>\n",
            file = escaped(&facts.file),
            id = escaped(&facts.id),
            made_at = facts.made_at,
            made_by = escaped(&facts.made_by),
            by = escaped(&self.replayed_by),
            class = if self.is_clean() { "clean" } else { "differs" },
        );
        page.push_str(
            "<table><thead><tr><th scope=\"col\">Module<th scope=\"col\">Inputs<th scope=\"col\">Messages\
             <th scope=\"col\">Inputs that differ<th scope=\"col\">Tables</thead><tbody>\n",
        );
        for module in &self.modules {
            let state = match &module.state {
                StateVerdict::Equal => "equal".to_owned(),
                StateVerdict::Differs(tables) => {
                    let names: Vec<_> = tables.iter().map(|table| escaped(&table.table)).collect();
                    format!("<strong>differ: {}</strong>", names.join(", "))
                }
                StateVerdict::NotCompared(reason) => format!("not compared: {}", escaped(reason)),
            };
            let (name, inputs, outputs) = (escaped(&module.module), module.inputs, module.outputs);
            let _ = writeln!(
                page,
                "<tr><td><a href=\"#{name}\">{name}</a><td>{inputs}<td>{outputs}<td>{}<td>{state}",
                module.differing
            );
        }
        page.push_str("</tbody></table>\n");
        self.modules.iter().filter(|module| !module.is_clean()).for_each(|one| module(&mut page, one));
        page.push_str("</main></body></html>\n");
        page
    }
}

fn module(page: &mut String, module: &ModuleReport) {
    let name = escaped(&module.module);
    let _ = writeln!(page, "<section id=\"{name}\"><h2>{name}</h2>");
    module.differences.iter().for_each(|one| difference(page, one));
    let more = module.differing.saturating_sub(module.differences.len() as u64);
    if more > 0 {
        let _ = writeln!(page, "<p>… and {}.</p>", more_of(more));
    }
    page.push_str("</section>\n");
}

fn difference(page: &mut String, difference: &Difference) {
    let input = &difference.input;
    let payload = serde_json::to_string_pretty(&input.payload).unwrap_or_default();
    let _ = writeln!(
        page,
        "<article><h3>Input {}: <code>{}</code> <code>{}</code></h3><p>admitted {}, id <code>{}</code></p>\
         <details><summary>What it was</summary><pre>{}</pre></details>",
        input.position,
        escaped(&input.subject),
        escaped(&input.key),
        input.admitted_at,
        escaped(&input.id),
        escaped(&payload)
    );
    difference.changes.iter().for_each(|one| change(page, one));
    page.push_str("</article>\n");
}

fn change(page: &mut String, change: &Change) {
    match change {
        Change::Missing(one) => utterance(page, "was", "No longer said", one),
        Change::Added(one) => utterance(page, "is", "Said now", one),
        Change::Failed { reason } => {
            let _ = writeln!(page, "<p class=\"is\">It can no longer be handled: {}</p>", escaped(reason));
        }
        Change::Changed { kind, subject, key, fields } => {
            let _ = writeln!(
                page,
                "<p>Said otherwise: <code>{}</code></p><table><thead><tr><th scope=\"col\">Field\
                 <th scope=\"col\">Recorded<th scope=\"col\">Now</thead><tbody>",
                escaped(&name(*kind, subject, key))
            );
            for field in fields {
                let value = |value: &Option<serde_json::Value>| {
                    value.as_ref().map_or_else(|| "<em>not there</em>".to_owned(), |value| escaped(&value.to_string()))
                };
                let _ = writeln!(
                    page,
                    "<tr><td><code>{}</code><td class=\"was\">{}<td class=\"is\">{}",
                    escaped(&field.path),
                    value(&field.recorded),
                    value(&field.replayed)
                );
            }
            page.push_str("</tbody></table>\n");
        }
    }
}

fn utterance(page: &mut String, class: &str, what: &str, one: &Utterance) {
    let payload = serde_json::to_string_pretty(&one.payload).unwrap_or_default();
    let name = name(one.kind, &one.subject, &one.key);
    let _ = writeln!(
        page,
        "<p class=\"{class}\">{what}: <code>{}</code></p><pre class=\"{class}\">{}</pre>",
        escaped(&name),
        escaped(&payload)
    );
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}
