//! A trace as Jaeger's query API tells it.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::deploy::objects::{list, text};

#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) id: String,
    pub(crate) spans: Vec<Span>,
}

#[derive(Debug)]
pub(crate) struct Span {
    id: String,
    /// The trace that it says it is of.
    trace: String,
    parent: Option<String>,
    pub(crate) service: String,
    pub(crate) operation: String,
}

// === impl Trace ===

impl Trace {
    /// All that an answer holds.
    ///
    /// # Errors
    /// When a span lacks its id, or is of a process that the answer does not name.
    pub(crate) fn all(answer: &Value) -> Result<Vec<Self>> {
        list(answer, "/data").iter().map(Self::read).collect()
    }

    fn read(trace: &Value) -> Result<Self> {
        let spans = list(trace, "/spans").iter().map(|span| Span::read(span, &trace["processes"]));
        Ok(Self { id: text(trace, "/traceID").to_owned(), spans: spans.collect::<Result<_>>()? })
    }

    pub(crate) fn services(&self) -> BTreeSet<&str> {
        self.spans.iter().map(|span| span.service.as_str()).collect()
    }

    /// # Errors
    /// When a span is of another trace or names a parent that is not there, or there is not exactly one first span.
    pub(crate) fn check_parents(&self) -> Result<()> {
        let ids: BTreeSet<&str> = self.spans.iter().map(|span| span.id.as_str()).collect();
        let shown = |span: &Span| format!("{} of {}", span.operation, span.service);
        let strangers: Vec<_> = self.spans.iter().filter(|span| span.trace != self.id).map(shown).collect();
        ensure!(strangers.is_empty(), "{}: spans of other traces: {strangers:?}", self.id);
        let is_lost = |span: &&Span| span.parent.as_ref().is_some_and(|parent| !ids.contains(parent.as_str()));
        let orphans: Vec<_> = self.spans.iter().filter(is_lost).map(shown).collect();
        ensure!(orphans.is_empty(), "{}: spans without their parents: {orphans:?}", self.id);
        let first: Vec<_> = self.spans.iter().filter(|span| span.parent.is_none()).map(shown).collect();
        ensure!(first.len() == 1, "{}: a trace begins once, not with {first:?}", self.id);
        Ok(())
    }
}

// === impl Span ===

impl Span {
    fn read(span: &Value, processes: &Value) -> Result<Self> {
        let process = text(span, "/processID");
        let service = processes[process]["serviceName"].as_str();
        let service = service.with_context(|| format!("a span of the process {process:?}, which is not named"))?;
        // Links to other spans are references, too.
        let parent = list(span, "/references").iter().find(|one| text(one, "/refType") == "CHILD_OF");
        let id = text(span, "/spanID");
        ensure!(!id.is_empty(), "a span without an id: {span}");
        Ok(Self {
            id: id.to_owned(),
            trace: text(span, "/traceID").to_owned(),
            parent: parent.map(|one| text(one, "/spanID").to_owned()),
            service: service.to_owned(),
            operation: text(span, "/operationName").to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn span(id: &str, parent: Option<&str>, process: &str) -> Value {
        let references = parent.map(|parent| json!({ "refType": "CHILD_OF", "traceID": "t", "spanID": parent }));
        json!({
            "traceID": "t", "spanID": id, "operationName": format!("does {id}"), "processID": process,
            "references": references.into_iter().collect::<Vec<_>>(),
        })
    }

    fn trace(spans: &[Value]) -> Trace {
        let processes = json!({ "p1": { "serviceName": "order" }, "p2": { "serviceName": "payment" } });
        let answer = json!({ "data": [{ "traceID": "t", "spans": spans, "processes": processes }] });
        Trace::all(&answer).unwrap().pop().unwrap()
    }

    #[test]
    fn every_span_but_the_first_has_its_parent() {
        let whole = trace(&[span("a", None, "p1"), span("b", Some("a"), "p2"), span("c", Some("b"), "p1")]);
        whole.check_parents().unwrap();
        assert_eq!(whole.services(), BTreeSet::from(["order", "payment"]));
    }

    #[test]
    fn a_trace_with_a_hole_is_told() {
        let mut stranger = span("b", Some("a"), "p2");
        stranger["traceID"] = "u".into();
        for (spans, told) in [
            (vec![span("a", None, "p1"), span("c", Some("b"), "p2")], "without their parents: [\"does c of payment\"]"),
            (vec![span("a", None, "p1"), span("b", None, "p1")], "begins once"),
            (vec![], "begins once"),
            (vec![span("a", None, "p1"), stranger], "of other traces: [\"does b of payment\"]"),
        ] {
            let error = trace(&spans).check_parents().unwrap_err().to_string();
            assert!(error.contains(told), "{told}: {error}");
        }
        let answer = json!({ "data": [{ "traceID": "t", "spans": [span("a", None, "p9")], "processes": {} }] });
        assert!(Trace::all(&answer).is_err());
    }
}
