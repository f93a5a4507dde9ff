//! The series of a scrape, and whether a selector finds any among them.

use std::collections::{BTreeMap, BTreeSet};

use super::promql::{Matcher, Selector};

/// What Prometheus adds to every series, here or there.
const ADDED: [&str; 6] = ["job", "instance", "namespace", "pod", "container", "endpoint"];
/// Labels whose values depend on what clients do: that they are there is looked at, their values are not.
const BY_CLIENTS: [&str; 1] = ["http_response_status_code"];

/// Names, each with the labels of its series.
#[derive(Debug, Default)]
pub(crate) struct Series(BTreeMap<String, Vec<BTreeMap<String, String>>>);

// === impl Series ===

impl Series {
    /// Adds what a text in Prometheus' format shows.
    pub(crate) fn read(&mut self, text: &str) {
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((key, _)) = line.rsplit_once(' ') else { continue };
            // A series in a text is written as a selector is in an expression.
            if let Some(Selector { name, matchers }) = super::promql::selectors(key).pop() {
                let labels = matchers.into_iter().map(|matcher| (matcher.label, matcher.value)).collect();
                self.0.entry(name).or_default().push(labels);
            }
        }
    }

    pub(crate) fn names(&self) -> BTreeSet<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    /// Why the selector finds nothing; `None` when it finds something.
    pub(crate) fn complaint(&self, selector: &Selector) -> Option<String> {
        let Some(all) = self.0.get(&selector.name) else {
            return Some("no process of the store shows it".to_owned());
        };
        let looked_at: Vec<_> =
            selector.matchers.iter().filter(|matcher| !ADDED.contains(&matcher.label.as_str())).collect();
        if all.iter().any(|labels| looked_at.iter().all(|matcher| fits(labels, matcher))) {
            return None;
        }
        let wanted: Vec<_> = looked_at.iter().map(|m| format!("{}{}{:?}", m.label, m.operator, m.value)).collect();
        Some(format!("none of its {} series has {}", all.len(), wanted.join(", ")))
    }
}

/// Only what is equal can be compared without regular expressions; for the rest the label has to be there.
fn fits(labels: &BTreeMap<String, String>, matcher: &Matcher) -> bool {
    let Some(value) = labels.get(&matcher.label) else { return false };
    let is_open = matcher.value.contains('$') || BY_CLIENTS.contains(&matcher.label.as_str());
    match matcher.operator.as_str() {
        "=" if !is_open => *value == matcher.value,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::super::promql::selectors;
    use super::*;

    #[test]
    fn a_selector_finds_a_series_with_all_its_labels() {
        let mut series = Series::default();
        series.read("# TYPE x counter\nx{module=\"order\",path=\"/v1/{id}\",le=\"0.5\"} 3\ny 1.5e3\n");
        let finds = |text: &str| series.complaint(&selectors(text)[0]).is_none();
        for found in ["x", "y", "x{module=\"order\", namespace=~\"$n\"}", "x{module=~\"$m\"}", "x{path=\"/v1/{id}\"}"] {
            assert!(finds(found), "{found}");
        }
        for not_found in ["z", "y{module=\"order\"}", "x{module=\"user\"}", "x{modul=~\"order\"}"] {
            assert!(!finds(not_found), "{not_found}");
        }
    }
}
