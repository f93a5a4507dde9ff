//! What a shadow begins with: nothing, or a copy of the leader's tables.

use std::sync::Arc;

use pangaea_journal::{Database, Migration, Snapshot, TablePlace, TableShape, Writer};
use pangaea_kernel::{Definition, History, Replayer};

use crate::ReplayError;
use crate::scratch::{IN_MEMORY, load_values, made_by, shapes};

/// Rows copied at once.
const PAGE: usize = 2_000;

pub(super) struct Start {
    /// At rest.
    pub(super) snapshot: Snapshot,
    pub(super) replayer: Replayer,
    pub(super) history: History,
    /// The position of the first input to run.
    pub(super) first: u64,
    pub(super) copied: Option<Copied>,
    /// Of the leader's database.
    pub(super) migrations: Vec<String>,
    /// How the tables here are made otherwise than the leader's.
    pub(super) unlike: Vec<String>,
}

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    pub tables: u64,
    pub rows: u64,
}

/// Begins with the first input of all.
pub(super) async fn at_first(database: &Database, definition: &Arc<Definition>) -> Result<Start, ReplayError> {
    let journal = ReplayError::journal(definition.name());
    let begun = async {
        let mut snapshot = database.snapshot().await?;
        let migrations = snapshot.migrations().await?;
        snapshot.rest().await?;
        Ok((snapshot, migrations))
    };
    let (snapshot, migrations) = begun.await.map_err(journal)?;
    let (_, writer) = made_by(definition, IN_MEMORY, definition.all_migrations()).await?;
    let unlike = unlike(&missing(definition, &migrations));
    let replayer = replayer(writer, definition).await?;
    Ok(Start { snapshot, replayer, history: History::default(), first: 1, copied: None, migrations, unlike })
}

/// Copies the leader's tables as of one moment, and begins with what comes after it.
///
/// The copy is made as an upgrade would find the tables: with the leader's migrations, and those that this program has beside
/// them are run on the rows.
pub(super) async fn from_copy(database: &Database, definition: &Arc<Definition>) -> Result<Start, ReplayError> {
    let module = definition.name();
    let mut snapshot = database.snapshot().await.map_err(ReplayError::journal(module))?;
    let migrations = snapshot.migrations().await.map_err(ReplayError::journal(module))?;
    let missing = missing(definition, &migrations);
    let is_known = |one: &&Migration| !missing.contains(&one.name);
    let known: Vec<Migration> = definition.all_migrations().iter().filter(is_known).copied().collect();
    let (scratch, mut writer) = made_by(definition, IN_MEMORY, &known).await?;
    let mut unlike = unlike(&missing);
    let copied = copy(&mut snapshot, &scratch, &mut writer, &mut unlike).await?;
    let (first, after) = (snapshot.head().inbox_end + 1, snapshot.head().outbox_end);
    snapshot.rest().await.map_err(ReplayError::journal(module))?;
    if !missing.is_empty() {
        writer.stop().await.map_err(ReplayError::journal(module))?;
        let migrated = scratch.writer(definition.all_migrations(), env!("CARGO_PKG_VERSION")).await;
        writer = migrated.map_err(ReplayError::journal(module))?;
    }
    let replayer = replayer(writer, definition).await?;
    Ok(Start {
        snapshot,
        replayer,
        history: History::after(first - 1, after),
        first,
        copied: Some(copied),
        migrations,
        unlike,
    })
}

async fn replayer(writer: Writer, definition: &Arc<Definition>) -> Result<Replayer, ReplayError> {
    Replayer::new(writer, definition.clone()).await.map_err(ReplayError::journal(definition.name()))
}

/// Migrations of this program that the leader's database has not seen.
fn missing(definition: &Definition, applied: &[String]) -> Vec<&'static str> {
    let names = definition.all_migrations().iter().map(|migration| migration.name);
    names.filter(|name| !applied.iter().any(|known| known == name)).collect()
}

fn unlike(missing: &[&str]) -> Vec<String> {
    match missing {
        [] => Vec::new(),
        names => {
            vec![format!("the leader's tables have not seen this program's migrations {}: run here", names.join(", "))]
        }
    }
}

/// Every table and column of the leader's that is known here.
async fn copy(
    snapshot: &mut Snapshot,
    scratch: &Database,
    writer: &mut Writer,
    unlike: &mut Vec<String>,
) -> Result<Copied, ReplayError> {
    let module = scratch.module();
    let ours = shapes(scratch).await?;
    let mut copied = Copied::default();
    for theirs in snapshot.tables().await.map_err(ReplayError::journal(module))? {
        let Some(ours) = ours.iter().find(|ours| ours.table == theirs.table) else {
            unlike.push(format!("the leader's table {} is none of this program's: left out", theirs.table));
            continue;
        };
        let (kept, left): (Vec<usize>, Vec<usize>) =
            (0..theirs.columns.len()).partition(|column| ours.columns.contains(&theirs.columns[*column]));
        if !left.is_empty() {
            let names: Vec<_> = left.iter().map(|column| theirs.columns[*column].as_str()).collect();
            let names = names.join(", ");
            unlike.push(format!("this program's table {} does not have {names}: left out", theirs.table));
        }
        copied.tables += 1;
        copied.rows += copy_rows(snapshot, &theirs, ours, &kept, writer).await?;
    }
    Ok(copied)
}

async fn copy_rows(
    snapshot: &mut Snapshot,
    theirs: &TableShape,
    ours: &TableShape,
    kept: &[usize],
    writer: &mut Writer,
) -> Result<u64, ReplayError> {
    let columns: Vec<String> = kept.iter().map(|column| theirs.columns[*column].clone()).collect();
    let (mut place, mut copied) = (TablePlace::default(), 0);
    loop {
        let page = snapshot.rows(theirs, &mut place, PAGE).await;
        let page = page.map_err(ReplayError::journal(writer.database().module()))?;
        if page.is_empty() {
            return Ok(copied);
        }
        copied += page.len() as u64;
        let rows = page.into_iter().map(|row| kept.iter().map(|column| row[*column].clone()).collect()).collect();
        load_values(writer, ours, &columns, rows).await?;
    }
}
