use std::collections::BTreeMap;

use serde::Serialize;

use crate::ledger::{EntryKind, LedgerEntry};

/// What a ledger says happened, for auditors: per intent, per reference, and what should never be there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LedgerSummary {
    /// By intent id.
    pub intents: BTreeMap<String, IntentSummary>,
    /// By the caller's reference.
    pub references: BTreeMap<String, ReferenceSummary>,
    /// By currency.
    pub totals: BTreeMap<String, Amounts>,
    /// Number of lines that declined a payment.
    pub declined: u64,
    /// Intents that hold the payer's money: authorized, neither captured nor voided.
    pub orphaned_authorizations: Vec<String>,
    /// References that were charged more than once.
    pub double_captures: Vec<DoubleCapture>,
    /// Intents with more captured than authorized, or more refunded than captured.
    pub overdrawn: Vec<String>,
}

/// One intent's lines, added up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct IntentSummary {
    pub reference: String,
    pub currency: String,
    pub amounts: Amounts,
    /// Number of capture lines; more than one is a double capture.
    pub captures: u32,
    /// Number of void lines.
    pub voids: u32,
}

/// One reference's intents, added up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReferenceSummary {
    /// In the order they first appear.
    pub intents: Vec<String>,
    /// Number of capture lines over all its intents.
    pub captures: u32,
    /// By currency.
    pub amounts: BTreeMap<String, Amounts>,
}

/// Sums in minor units. Wide enough that no ledger overflows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Amounts {
    pub authorized: i128,
    pub captured: i128,
    pub refunded: i128,
    pub voided: i128,
}

/// A reference with more than one capture, on one intent or on several. A capture that was refunded before the next
/// one counts too: the payer saw two charges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DoubleCapture {
    pub reference: String,
    pub captures: u32,
    /// The captured intents, in the order they first appear.
    pub intents: Vec<String>,
}

// === impl LedgerSummary ===

impl LedgerSummary {
    /// Adds up `entries`, which may be part of a ledger as long as no intent is cut in two.
    pub fn of(entries: &[LedgerEntry]) -> Self {
        let mut summary = Self::default();
        for entry in entries {
            summary.add(entry);
        }
        summary.find_faults();
        summary
    }

    fn add(&mut self, entry: &LedgerEntry) {
        match entry.kind {
            EntryKind::ActionRequired | EntryKind::Refused => return,
            EntryKind::Declined => {
                self.declined += 1;
                return;
            }
            EntryKind::Authorized | EntryKind::Captured | EntryKind::Voided | EntryKind::Refunded => {}
        }
        let intent = self.intents.entry(entry.intent.clone()).or_insert_with(|| IntentSummary {
            reference: entry.reference.clone(),
            currency: entry.currency.clone(),
            ..IntentSummary::default()
        });
        let reference = self.references.entry(entry.reference.clone()).or_default();
        if !reference.intents.contains(&entry.intent) {
            reference.intents.push(entry.intent.clone());
        }
        intent.amounts.add(entry);
        reference.amounts.entry(entry.currency.clone()).or_default().add(entry);
        self.totals.entry(entry.currency.clone()).or_default().add(entry);
        if entry.kind == EntryKind::Captured {
            intent.captures += 1;
            reference.captures += 1;
        }
        if entry.kind == EntryKind::Voided {
            intent.voids += 1;
        }
    }

    fn find_faults(&mut self) {
        for (id, intent) in &self.intents {
            let amounts = &intent.amounts;
            if amounts.authorized > 0 && intent.captures == 0 && intent.voids == 0 {
                self.orphaned_authorizations.push(id.clone());
            }
            if amounts.captured > amounts.authorized || amounts.refunded > amounts.captured {
                self.overdrawn.push(id.clone());
            }
        }
        for (name, reference) in &self.references {
            if reference.captures > 1 {
                let captured = |id: &&String| self.intents.get(*id).is_some_and(|intent| intent.captures > 0);
                self.double_captures.push(DoubleCapture {
                    reference: name.clone(),
                    captures: reference.captures,
                    intents: reference.intents.iter().filter(captured).cloned().collect(),
                });
            }
        }
    }
}

// === impl Amounts ===

impl Amounts {
    fn add(&mut self, entry: &LedgerEntry) {
        let amount = i128::from(entry.amount);
        match entry.kind {
            EntryKind::Authorized => self.authorized += amount,
            EntryKind::Captured => self.captured += amount,
            EntryKind::Refunded => self.refunded += amount,
            EntryKind::Voided => self.voided += amount,
            EntryKind::Declined | EntryKind::ActionRequired | EntryKind::Refused => {}
        }
    }
}
