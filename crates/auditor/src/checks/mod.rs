//! What must be true. Each check looks at what was read and nothing else.

mod effects;
mod idempotency;
mod logs;
mod money;
mod orders;
mod readers;
mod secrets;
mod steps;
mod stock;
mod streams;

use std::collections::{BTreeMap, HashSet};

use crate::evidence::Reply;
use crate::journal::Journal;
use crate::provider::Line;
use crate::report::Report;
use crate::stream::Stored;
use crate::tables::{Order, Tables};

/// All that was read of a store, and how strictly it is judged.
#[derive(Debug, Default)]
pub(crate) struct Case {
    pub(crate) accepted: Option<Vec<String>>,
    pub(crate) ledger: Option<Vec<Line>>,
    pub(crate) replies: Option<Vec<Reply>>,
    pub(crate) canaries: Vec<String>,
    pub(crate) settled: bool,
    pub(crate) dead_letters_allowed: bool,
    pub(crate) abandoned: Vec<String>,
    pub(crate) journals: Vec<Journal>,
    pub(crate) tables: Tables,
    pub(crate) streams: Option<BTreeMap<&'static str, Stored>>,
}

// === impl Case ===

impl Case {
    pub(crate) fn judge(&self) -> Report {
        let checks = vec![
            orders::accepted(self),
            orders::ends(self),
            steps::timelines(self),
            steps::said(self),
            steps::committed_before_captured(self),
            money::charges(self),
            money::agreement(self),
            money::whole(self),
            stock::conserved(self),
            stock::sold(self),
            logs::dense(self),
            logs::inputs(self),
            logs::times(self),
            streams::equal(self),
            readers::cursors(self),
            readers::once(self),
            effects::operations(self),
            effects::timers(self),
            effects::letters(self),
            idempotency::scopes(self),
            secrets::absent(self),
        ];
        Report { checks }
    }

    fn journal(&self, module: &str) -> Option<&Journal> {
        self.journals.iter().find(|journal| journal.module == module)
    }

    /// Keys behind a dead letter: what is about them waits for an operator.
    fn stuck(&self) -> HashSet<&str> {
        self.journals.iter().flat_map(|journal| &journal.letters).map(|letter| letter.key.as_str()).collect()
    }

    /// Orders whose payment may still be at work although the order has ended.
    fn paying(&self) -> HashSet<&str> {
        let rows = self.tables.payments.iter().filter(|(_, payment)| payment.under_way).map(|(id, _)| id.as_str());
        let journal = self.journal("payment").into_iter();
        let pending = journal.flat_map(|journal| journal.timers.iter().chain(&journal.effects));
        rows.chain(pending.map(|pending| pending.key.as_str())).collect()
    }
}

// === impl Order ===

impl Order {
    fn is_paid(&self) -> bool {
        matches!(self.state.as_str(), "confirmed" | "refunded")
    }

    /// Confirmed or later, cancelled, or left to people.
    fn is_settled(&self) -> bool {
        self.is_paid() || matches!(self.state.as_str(), "cancelled" | "manual_review")
    }
}
