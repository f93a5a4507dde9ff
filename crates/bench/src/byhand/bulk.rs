//! What SQLite gives for a batch as a unit of work, with nothing of a saga in it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use tokio::time::Instant;

use super::batch::{Batch, Database, Written, now_ms};
use super::{BATCH_MAX, Facts, Said};

const DATABASES: usize = 4;
/// Through each.
const MESSAGES: usize = 10_240;
const TABLES: &str = "CREATE TABLE state (id TEXT PRIMARY KEY, version BIGINT NOT NULL, note TEXT NOT NULL);\
    CREATE TABLE entry (id TEXT PRIMARY KEY, note TEXT NOT NULL)";

/// How a batch travels.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Calls {
    /// 64 messages, a call of the driver for each of eight statements.
    Each,
    /// 256 messages, all that is written in one call: as the store and the hand-written program do.
    One,
}

/// What was reached.
pub(crate) struct Bulk {
    pub(crate) messages_per_s: f64,
    pub(crate) rows_per_s: f64,
    pub(crate) values_per_s: f64,
}

/// Messages through four databases at once: one read, one upsert, one insert, outbox, inbox,
/// cursor, head.
///
/// # Errors
/// When a database cannot be made.
pub(crate) async fn rate(folder: &Path, calls: Calls) -> Result<Bulk> {
    let (written, mut databases) = (Arc::new(Written::default()), Vec::new());
    for number in 0..DATABASES {
        let folder = folder.join(format!("bulk-{number}"));
        std::fs::create_dir_all(&folder)?;
        let database = Database::create(&folder, "bulk", TABLES, written.clone()).await?;
        databases.push(if calls == Calls::Each { database.one_by_one() } else { database });
    }
    let batch = if calls == Calls::Each { 64 } else { BATCH_MAX };
    let begun = Instant::now();
    let tasks: Vec<_> = databases.into_iter().map(|database| tokio::spawn(fill(database, batch))).collect();
    for task in tasks {
        task.await??;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let messages_per_s = (DATABASES * MESSAGES / batch * batch) as f64 / seconds;
    let per_s = |count: &AtomicU64| count.load(Ordering::Relaxed) as f64 / seconds;
    Ok(Bulk { messages_per_s, rows_per_s: per_s(&written.rows), values_per_s: per_s(&written.values) })
}

async fn fill(mut database: Database, size: usize) -> Result<()> {
    for number in 0..MESSAGES / size {
        let (now, mut batch) = (now_ms(), Batch::default());
        let said: Vec<Said> = (0..size).map(|index| said(number * size + index)).collect();
        database.begin().await?;
        let keys = said.iter().map(|said| said.facts.order_id.clone()).collect();
        database.read("SELECT id, version, note FROM state WHERE id", keys).await?;
        for one in &said {
            database.admit(&mut batch, one, Some("order"), None, now);
            database.say(&mut batch, one, "bulk.evt.done.v1", one.payload.clone());
        }
        let id = |said: &Said| said.facts.order_id.clone();
        let state = said.iter().map(|said| vec![id(said).into(), 1.into(), "noted".into()]).collect();
        batch.insert(
            "INSERT INTO state (id, version, note)",
            state,
            " ON CONFLICT (id) DO UPDATE SET version = excluded.version, note = excluded.note",
        );
        let entries = said.iter().map(|said| vec![id(said).into(), "entered".into()]).collect();
        batch.insert("INSERT INTO entry (id, note)", entries, "");
        database.commit(batch, now).await?;
    }
    Ok(())
}

fn said(number: usize) -> Said {
    let facts = Facts {
        order_id: format!("ord_{number:026}"),
        command_id: format!("cmd_{number:026}"),
        payment_id: String::new(),
        reference: String::new(),
        lines: Vec::new(),
        total: 0,
        placed_at: 0,
        trace: format!("00-{number:032x}-{number:016x}-01"),
    };
    let id = format!("msg_{number:026}");
    let payload = format!("{{\"order_id\":\"{}\",\"note\":\"{}\"}}", facts.order_id, "x".repeat(60));
    let position = i64::try_from(number).unwrap_or_default();
    Said { subject: "order.cmd.bulk.do.v1", facts: Arc::new(facts), causation: id.clone(), id, position, payload }
}
