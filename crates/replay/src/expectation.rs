//! How a recording is expected to differ: what was reviewed once, and must stay so.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::compare::Difference;
use crate::report::{Report, StateVerdict};

/// A reviewed report, without what is of the moment. It lies beside its recording as `<name>.expected`, JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// Why it differs, by who has reviewed it.
    pub because: String,
    /// Rules of [`Ignore`](crate::Ignore): what differs everywhere.
    #[serde(default)]
    pub ignore: Vec<String>,
    /// What differs apart from that, by module. One that is not named does not differ.
    #[serde(default)]
    pub modules: BTreeMap<String, ModuleExpectation>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleExpectation {
    pub differing: u64,
    pub differences: Vec<Difference>,
    pub state: StateVerdict,
}

// === impl Expectation ===

impl Expectation {
    /// What a report says, to be reviewed.
    pub fn of(report: &Report, because: String, ignore: Vec<String>) -> Self {
        let differing = report.modules.iter().filter(|module| !module.is_clean());
        let modules = differing.map(|module| {
            let expected = ModuleExpectation {
                differing: module.differing,
                differences: module.differences.clone(),
                state: module.state.clone(),
            };
            (module.module.clone(), expected)
        });
        Self { because, ignore, modules: modules.collect() }
    }

    /// Whether a report, made with [`Expectation::ignore`], says exactly this.
    pub fn is_met(&self, report: &Report) -> bool {
        self.modules == Self::of(report, String::new(), Vec::new()).modules
    }
}
