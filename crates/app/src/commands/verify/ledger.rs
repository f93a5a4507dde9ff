//! The provider's own books, read from its ledger file.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use pangaea_payment::OrderTotals;
use pangaea_simulator::{Ledger, LedgerSummary};

use super::check::{Check, grouped};

/// What the provider did for each payment, and what nobody has claimed yet.
pub(super) struct ProviderBooks {
    /// By our reference, which is the order's id. What a payment claims is taken out.
    unclaimed: BTreeMap<String, Booked>,
    once: Check,
    orphans: Check,
    agreement: Check,
}

/// Minor units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Booked {
    captured: i128,
    refunded: i128,
    /// Intents that hold the payer's money.
    holding: u32,
}

/// Reads the ledger, if there is one.
///
/// # Errors
/// When it cannot be read.
pub(super) async fn read(path: Option<&Path>) -> Result<Option<ProviderBooks>> {
    let Some(path) = path else { return Ok(None) };
    let path = path.to_owned();
    let books = tokio::task::spawn_blocking(move || {
        let entries = Ledger::read(&path)?;
        let summary = LedgerSummary::of(&entries);
        Ok::<_, anyhow::Error>(ProviderBooks::of(summary, entries.len() as u64))
    });
    Ok(Some(books.await.context("reading the ledger failed")??))
}

// === impl ProviderBooks ===

impl ProviderBooks {
    fn of(summary: LedgerSummary, lines: u64) -> Self {
        let counted = format!("{} ledger lines, {} payments", grouped(lines), grouped(summary.references.len() as u64));
        let mut once =
            Check::new("provider: each payment is captured once, and never over what was held").counted(counted);
        for double in &summary.double_captures {
            once.breach(format!(
                "{} was captured {} times ({})",
                double.reference,
                double.captures,
                double.intents.join(", ")
            ));
        }
        for intent in &summary.overdrawn {
            once.breach(format!("{intent} is captured over what was authorized, or refunded over what was captured"));
        }
        let mut unclaimed: BTreeMap<String, Booked> = BTreeMap::new();
        for (name, reference) in &summary.references {
            let mut booked = Booked::default();
            for amounts in reference.amounts.values() {
                booked.captured += amounts.captured;
                booked.refunded += amounts.refunded;
            }
            unclaimed.insert(name.clone(), booked);
        }
        for id in &summary.orphaned_authorizations {
            let reference = summary.intents.get(id).map(|intent| intent.reference.as_str()).unwrap_or_default();
            unclaimed.entry(reference.to_owned()).or_default().holding += 1;
        }
        let orphans = Check::new("provider: no authorization is orphaned")
            .counted(format!("{} held", grouped(summary.orphaned_authorizations.len() as u64)));
        let agreement = Check::new("provider and payments agree on captured and refunded")
            .counted(format!("{} payments", grouped(summary.references.len() as u64)));
        Self { unclaimed, once, orphans, agreement }
    }

    /// Whether [`ProviderBooks::claim`] would find a breach, were the payment at rest.
    pub(super) fn differs(&self, payment: &OrderTotals, open: bool) -> bool {
        let booked = self.unclaimed.get(payment.order_id.as_str()).copied().unwrap_or_default();
        (booked.holding > 0 && !open) || !booked.agrees(payment)
    }

    /// Compares a payment with the books. `open` says that its order is not settled or a person has to decide; `moving`
    /// that the payment itself has something to do still.
    pub(super) fn claim(&mut self, payment: &OrderTotals, open: bool, moving: bool) {
        let booked = self.unclaimed.remove(payment.order_id.as_str()).unwrap_or_default();
        let Booked { captured, refunded, holding } = booked;
        if moving {
            return;
        }
        let name = format!("{} of {}", payment.payment_id, payment.order_id);
        if holding > 0 && !open {
            self.orphans
                .breach(format!("{name}: {holding} held, though its order is settled and nothing is left to do"));
        }
        if !booked.agrees(payment) {
            self.agreement.breach(format!(
                "{name}: the provider has captured {captured} and refunded {refunded}, payment {} and {}",
                payment.captured, payment.refunded
            ));
        }
    }

    /// What no payment has claimed is nobody's.
    pub(super) fn checks(mut self) -> [Check; 3] {
        for (name, booked) in &self.unclaimed {
            let Booked { captured, refunded, holding } = *booked;
            if holding > 0 {
                self.orphans.breach(format!("{name}: held for an order without a payment"));
            }
            if captured != 0 || refunded != 0 {
                let moved = format!("captured {captured}, refunded {refunded}");
                self.agreement.breach(format!("{name}: {moved} for an order without a payment"));
            }
        }
        [self.once, self.orphans, self.agreement]
    }
}

// === impl Booked ===

impl Booked {
    /// A refund that is under way has happened at the provider or has not.
    fn agrees(&self, payment: &OrderTotals) -> bool {
        let refunded = i128::from(payment.refunded);
        let may_be = refunded..=refunded + i128::from(payment.refund_pending);
        self.captured == i128::from(payment.captured) && may_be.contains(&self.refunded)
    }
}
