use std::time::Duration;

use anyhow::{Context, Result};
use pangaea_auditor::{Audit, Nats};

use crate::Shop;

/// How long a store may take to become quiet: what is given back may still be on its way when an order has ended.
const QUIET_MAX: Duration = Duration::from_secs(60);

// === impl Shop: auditing ===

impl Shop {
    /// The auditor, pointed at everything of this store. What clients wrote down is looked at where they did.
    ///
    /// # Errors
    /// When the store has no database, which cannot be.
    pub fn audit(&self) -> Result<Audit> {
        let nats = self.store.broker_url().zip(self.store.env("BUS__NAMESPACE"));
        let written = |name: &str| Some(self.store.folder().path().join(name)).filter(|file| file.is_file());
        Ok(Audit {
            database: self.store.env("DATABASE__URL").context("a store without a database")?.to_owned(),
            nats: nats.map(|(url, namespace)| Nats { url, namespace: namespace.to_owned() }),
            accepted: written(crate::clients::ACCEPTED_FILE),
            ledger: Some(self.store.ledger_file()),
            replies: written(crate::replies::FILE),
            ..Audit::default()
        })
    }

    /// Once all is quiet, the auditor must find nothing wrong.
    ///
    /// # Errors
    /// All that it found.
    pub async fn pass_audit(&self) -> Result<()> {
        let audit = Audit { settled: true, ..self.audit()? };
        audit.judge_within(QUIET_MAX).await?.ensure_sound()
    }
}
