//! What must be true of every module's journal, whatever the module does.

use anyhow::{Context, Result};
use pangaea_contracts::Timestamp;
use pangaea_journal::{CursorRow, Database, Extent, Extents};

use super::check::{Check, grouped};
use super::stores::{Store, Stores};

/// Effects late by less are about to have their result: a last try may run a little over the deadline.
const EFFECT_GRACE_MS: i64 = 60_000;
/// Overdue effects and dead letters that are named.
const NAMED_MAX: usize = 100;

/// Four checks for each module, and one on all cursors.
///
/// # Errors
/// When a database cannot be read.
pub(super) async fn look(stores: &Stores) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    let mut newest = Timestamp::default();
    for store in &stores.all {
        let extents = extents(&store.database).await?;
        newest = newest.max(extents.head.last_time);
        checks.push(dense(store, "outbox", extents.outbox, extents.head.outbox_end));
        checks.push(dense(store, "inbox", extents.inbox, extents.head.inbox_end));
    }
    checks.push(cursors(stores).await?);
    for store in &stores.all {
        checks.push(dead_letters(store, stores.allow_dead_letters).await?);
        checks.push(effects(store, newest).await?);
    }
    Ok(checks)
}

async fn extents(database: &Database) -> Result<Extents> {
    database.extents().await?.with_context(|| format!("the database of {} has lost its head row", database.module()))
}

fn dense(store: &Store, log: &str, extent: Extent, end: u64) -> Check {
    let mut check =
        Check::new(format!("{}: {log} is dense", store.module())).counted(format!("{} rows", grouped(extent.rows)));
    let Extent { rows, first, last } = extent;
    if rows != last || last != end || (rows > 0 && first != 1) {
        check.breach(format!("{rows} rows from position {first} to {last}, and the head says that it ends at {end}"));
    }
    check
}

/// No reader is ahead of what it reads, or reads another history.
async fn cursors(stores: &Stores) -> Result<Check> {
    let mut check = Check::new("cursors are at or below their source's end");
    let (mut looked_at, mut unknown) = (0_u64, 0_u64);
    for store in &stores.all {
        // Cursors first: the ends only grow, so a live store shows no reader ahead that is not.
        for cursor in store.database.cursors().await? {
            let Some(source) = stores.of(&cursor.source) else {
                unknown += 1;
                continue;
            };
            looked_at += 1;
            if let Some(breach) = cursor_breach(&cursor, source).await? {
                check.breach(format!("{} reading {}: {breach}", cursor.reader, cursor.source));
            }
        }
    }
    if unknown > 0 {
        check.set_note(format!("{unknown} of sources that are not looked at"));
    }
    Ok(check.counted(format!("{looked_at} cursors")))
}

async fn cursor_breach(cursor: &CursorRow, source: &Database) -> Result<Option<String>> {
    let head = extents(source).await?.head;
    if cursor.log_id != head.log_id {
        return Ok(Some(format!("it has read the log {}, the source has {}", cursor.log_id, head.log_id)));
    }
    if cursor.position > head.outbox_end {
        return Ok(Some(format!("it is at {}, the log ends at {}", cursor.position, head.outbox_end)));
    }
    if cursor.position == 0 || cursor.message_id.is_empty() {
        return Ok(None);
    }
    let found = source.outbox_after(&head.log_id, cursor.position - 1, 1).await?;
    let same =
        found.first().is_some_and(|message| message.id == cursor.message_id && message.position == cursor.position);
    Ok((!same).then(|| {
        format!("at {} the log has not the message {} that it read there", cursor.position, cursor.message_id)
    }))
}

async fn dead_letters(store: &Store, allowed: bool) -> Result<Check> {
    let counts = store.database.dead_letter_counts().await?;
    let counted = format!("{} dead, {} parked behind them", grouped(counts.dead), grouped(counts.parked));
    let mut check = Check::new(format!("{}: no dead letters", store.module())).counted(counted);
    if allowed {
        if counts.dead + counts.parked > 0 {
            check.set_note("allowed by --allow-dead-letters");
        }
        return Ok(check);
    }
    for letter in store.database.dead_letters(NAMED_MAX).await? {
        check.breach(format!("{} of {} ({}): {}", letter.subject, letter.key, letter.state.as_str(), letter.error));
    }
    if !check.is_ok() {
        check.set_note(format!(
            "see `pangaea dead-letters list --module {}`, then redrive or abandon them",
            store.module()
        ));
    }
    Ok(check)
}

/// Overdue by the stores' own newest time, not by the wall clock: in a stopped store nothing becomes late.
async fn effects(store: &Store, newest: Timestamp) -> Result<Check> {
    let pending = store.database.effects_pending_count().await?;
    let name = format!("{}: no effect is overdue", store.module());
    let mut check = Check::new(name).counted(format!("{} under way", grouped(pending)));
    for (id, subject, key) in store.database.effects_overdue(newest.plus_millis(-EFFECT_GRACE_MS), NAMED_MAX).await? {
        check.breach(format!("{subject} of {key} ({id}) is past its deadline without a result"));
    }
    Ok(check)
}
