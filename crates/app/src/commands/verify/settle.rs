//! Waiting until what was under way has arrived.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, sleep};

use super::stores::Stores;

const POLL: Duration = Duration::from_millis(200);

/// The end of each module's log.
pub(super) type Ends = BTreeMap<&'static str, u64>;

/// # Errors
/// When a database cannot be read.
pub(super) async fn ends(stores: &Stores) -> Result<Ends> {
    let mut ends = Ends::new();
    for store in &stores.all {
        if let Some(head) = store.database.head().await? {
            ends.insert(store.module(), head.outbox_end);
        }
    }
    Ok(ends)
}

/// Waits until every reader has passed `ends`, at most so long; whether they did.
///
/// # Errors
/// When a database cannot be read.
pub(super) async fn wait_for_readers(stores: &Stores, ends: &Ends, patience: Duration) -> Result<bool> {
    let begun = Instant::now();
    loop {
        if all_passed(stores, ends).await? {
            return Ok(true);
        }
        if begun.elapsed() + POLL > patience {
            return Ok(false);
        }
        sleep(POLL).await;
    }
}

async fn all_passed(stores: &Stores, ends: &Ends) -> Result<bool> {
    for store in &stores.all {
        for cursor in store.database.cursors().await? {
            if ends.get(cursor.source.as_str()).is_some_and(|end| cursor.position < *end) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}
