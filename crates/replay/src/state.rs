//! The exact digest: what a module's tables hold, by primary key, in one canonical form on every database.

use std::collections::BTreeMap;

use pangaea_journal::{JournalError, Snapshot, TablePlace, TableShape, Value};
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

/// Rows read at once.
const PAGE: usize = 1_000;

/// One table's part of the exact digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableDigest {
    pub rows: u64,
    /// 64 hexadecimal digits: a SHA-256 over the names of the columns and the rows by primary key. A value is its type (0: null,
    /// 1: integer, 2: text), then eight bytes big endian, or a length and the bytes.
    pub digest: String,
}

/// The exact digest of every table of a module's own, by name.
///
/// # Errors
/// When the database cannot be read.
pub async fn exact_digest(snapshot: &mut Snapshot) -> Result<BTreeMap<String, TableDigest>, JournalError> {
    let mut digests = BTreeMap::new();
    for shape in snapshot.tables().await? {
        let digest = digest_of(snapshot, &shape).await?;
        digests.insert(shape.table, digest);
    }
    Ok(digests)
}

async fn digest_of(snapshot: &mut Snapshot, shape: &TableShape) -> Result<TableDigest, JournalError> {
    let mut context = Context::new(&SHA256);
    for column in &shape.columns {
        text(&mut context, column);
    }
    let (mut place, mut rows) = (TablePlace::default(), 0);
    loop {
        let page = snapshot.rows(shape, &mut place, PAGE).await?;
        if page.is_empty() {
            break;
        }
        rows += page.len() as u64;
        page.iter().flatten().for_each(|one| value(&mut context, one));
    }
    let digest = context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(TableDigest { rows, digest })
}

fn value(context: &mut Context, value: &Value) {
    match value {
        // SQLite does not say of which type a null is.
        Value::Int(None) | Value::Text(None) => context.update(&[0]),
        Value::Int(Some(number)) => {
            context.update(&[1]);
            context.update(&number.to_be_bytes());
        }
        Value::Text(Some(one)) => {
            context.update(&[2]);
            text(context, one);
        }
    }
}

fn text(context: &mut Context, text: &str) {
    context.update(&(text.len() as u64).to_be_bytes());
    context.update(text.as_bytes());
}
