use std::collections::BTreeMap;
use std::sync::Arc;

use crate::intent::Intent;
use crate::ledger::LedgerEntry;

/// What the newest ledger entries did: their lines by key, and the intents that they changed.
///
/// Ordered maps, because keys that are derived in time order then stay close together in memory.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    entries: BTreeMap<String, Arc<LedgerEntry>>,
    positions: BTreeMap<String, u64>,
    /// By position in the order of creation.
    intents: BTreeMap<u64, Changed>,
}

#[derive(Debug)]
struct Changed {
    /// Position of the last entry about it.
    seq: u64,
    intent: Intent,
}

// === impl Recent ===

impl Recent {
    pub(crate) fn entry(&self, key: &str) -> Option<&Arc<LedgerEntry>> {
        self.entries.get(key)
    }

    pub(crate) fn position(&self, id: &str) -> Option<u64> {
        self.positions.get(id).copied()
    }

    pub(crate) fn intent(&self, position: u64) -> Option<&Intent> {
        self.intents.get(&position).map(|changed| &changed.intent)
    }

    /// Takes an entry in, and the intent as it is after it.
    pub(crate) fn put(&mut self, entry: Arc<LedgerEntry>, position: u64, intent: Intent) {
        self.positions.insert(intent.id.clone(), position);
        self.intents.insert(position, Changed { seq: entry.seq, intent });
        self.entries.insert(entry.key.clone(), entry);
    }

    /// Drops the entries up to `seq`, and the intents that no later one changed.
    pub(crate) fn forget(&mut self, seq: u64) {
        self.entries.retain(|_, entry| entry.seq > seq);
        self.intents.retain(|_, changed| changed.seq > seq);
        let intents = &self.intents;
        self.positions.retain(|_, position| intents.contains_key(position));
    }
}
