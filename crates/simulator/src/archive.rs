//! What the provider did longer ago: an index of the ledger file, on disk.
//!
//! The ledger is the truth and the only place of answers; the index says on which line a key's answer stands, and how each
//! intent stood after the last line that was taken in. It can be made again from the ledger at any time, and is whenever it
//! is missing, damaged, or of another ledger: it remembers the digest of all bytes that it stands for.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, DatabaseError, ReadOnlyTable, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use crate::error::SimulatorError;
use crate::intent::{Intent, IntentStatus};
use crate::ledger::{LedgerEntry, Line, Reached};
use crate::token::Token;

/// Pages of the index that this process keeps; the system keeps more of them while nothing else needs its memory.
const CACHE_BYTES: usize = 2 << 20;
/// Of what the tables hold. Another one is not read but made again.
const FORMAT: u32 = 1;

const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");
/// A key's line in the ledger: where it begins, and its length.
const OPERATIONS: TableDefinition<'static, &str, (u64, u32)> = TableDefinition::new("operations");
/// An intent's place in the order of creation, by its id.
const POSITIONS: TableDefinition<'static, &str, u64> = TableDefinition::new("positions");
const INTENTS: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("intents");

/// The index, to be written. One at a time has it, as the ledger.
#[derive(Debug)]
pub(crate) struct Archive {
    db: Database,
    path: PathBuf,
    // After the database, so that whoever gets the ledger's lock finds the index closed.
    ledger: Arc<File>,
    mark: Mark,
}

/// The index as it was at one moment; later changes do not show.
pub(crate) struct Shelf {
    operations: ReadOnlyTable<&'static str, (u64, u32)>,
    positions: ReadOnlyTable<&'static str, u64>,
    intents: ReadOnlyTable<u64, &'static [u8]>,
    ledger: Arc<File>,
}

/// How far the index stands for its ledger.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Mark {
    format: u32,
    /// Position of the last entry in it; 0 is none.
    pub(crate) seq: u64,
    /// Intents in it.
    pub(crate) created: u64,
    pub(crate) reached: Reached,
}

/// All of an [`Intent`], whose own encoding is the API's and lacks the token.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Intent")]
struct Stored {
    id: String,
    status: IntentStatus,
    amount: i64,
    currency: String,
    amount_captured: i64,
    amount_refunded: i64,
    reference: String,
    token: Token,
}

type Fault = Box<dyn std::error::Error + Send + Sync>;

// === impl Archive ===

impl Archive {
    /// Opens the index of a ledger that is locked; an empty one if there is none that can be used.
    pub(crate) fn open(ledger_path: &Path, ledger: Arc<File>) -> Result<Self, SimulatorError> {
        let mut path = ledger_path.as_os_str().to_owned();
        path.push(".index");
        let path = PathBuf::from(path);
        let (db, mark) = match open_sound(&path) {
            Ok(found) => found,
            Err(Unusable::InUse(reason)) => return Err(SimulatorError::Index { path, reason }),
            Err(Unusable::Damaged(reason)) => {
                tracing::warn!(path = %path.display(), reason, "the ledger's index is made again");
                (made_anew(&path).map_err(|fault| index_error(&path, &fault))?, Mark::default())
            }
        };
        Ok(Self { db, path, ledger, mark })
    }

    pub(crate) fn mark(&self) -> &Mark {
        &self.mark
    }

    /// An empty index in place of this one.
    pub(crate) fn emptied(self) -> Result<Self, SimulatorError> {
        let Self { db, path, ledger, .. } = self;
        drop(db);
        let db = made_anew(&path).map_err(|fault| index_error(&path, &fault))?;
        Ok(Self { db, path, ledger, mark: Mark::default() })
    }

    /// Takes in the ledger's next lines, up to where `reached` says, and gives the index as it is then.
    pub(crate) fn take(&mut self, lines: &[Line], reached: Reached) -> Result<Shelf, SimulatorError> {
        let taken = self.take_in(lines, reached).and_then(|mark| {
            self.mark = mark;
            Shelf::of(&self.db, Arc::clone(&self.ledger))
        });
        taken.map_err(|fault| index_error(&self.path, &fault))
    }

    pub(crate) fn shelf(&self) -> Result<Shelf, SimulatorError> {
        Shelf::of(&self.db, Arc::clone(&self.ledger)).map_err(|fault| index_error(&self.path, &fault))
    }

    fn take_in(&self, lines: &[Line], reached: Reached) -> Result<Mark, Fault> {
        let mut mark = Mark { reached, ..self.mark.clone() };
        let transaction = self.db.begin_write()?;
        {
            let mut operations = transaction.open_table(OPERATIONS)?;
            let mut positions = transaction.open_table(POSITIONS)?;
            let mut intents = transaction.open_table(INTENTS)?;
            // An intent is written once, however many of its lines are here.
            let mut changed: BTreeMap<u64, Intent> = BTreeMap::new();
            for Line { entry, offset, bytes } in lines {
                mark.seq = entry.seq;
                operations.insert(entry.key.as_str(), (*offset, *bytes))?;
                if let Some(token) = entry.payment_method {
                    positions.insert(entry.intent.as_str(), mark.created)?;
                    changed.insert(mark.created, Intent::created(entry, token));
                    mark.created += 1;
                }
                let position = positions.get(entry.intent.as_str())?.ok_or("an intent has no position")?.value();
                let intent = match changed.entry(position) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(unknown) => {
                        unknown.insert(decode(intents.get(position)?.ok_or("an intent is missing")?.value())?)
                    }
                };
                intent.take(entry);
            }
            for (position, intent) in &changed {
                intents.insert(position, encode(intent)?.as_slice())?;
            }
            transaction.open_table(META)?.insert("mark", serde_json::to_vec(&mark)?.as_slice())?;
        }
        transaction.commit()?;
        Ok(mark)
    }
}

enum Unusable {
    InUse(String),
    Damaged(String),
}

fn open_sound(path: &Path) -> Result<(Database, Mark), Unusable> {
    let damaged = |reason: Fault| Unusable::Damaged(reason.to_string());
    // A file that was changed from outside is found out here, by the checksums of all its pages, and not by a wrong answer.
    let opened = Database::builder().set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true).create(path);
    let db = opened.map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => Unusable::InUse(error.to_string()),
        other => damaged(other.into()),
    })?;
    let mark = with_tables(&db).and_then(|()| Mark::of(&db)).map_err(damaged)?;
    Ok((db, mark))
}

fn made_anew(path: &Path) -> Result<Database, Fault> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let db = Database::builder().set_cache_size(CACHE_BYTES).create(path)?;
    with_tables(&db)?;
    Ok(db)
}

/// Makes the tables that are not there yet, because a table that was never opened to be written cannot be read.
fn with_tables(db: &Database) -> Result<(), Fault> {
    let transaction = db.begin_write()?;
    transaction.open_table(META)?;
    transaction.open_table(OPERATIONS)?;
    transaction.open_table(POSITIONS)?;
    transaction.open_table(INTENTS)?;
    Ok(transaction.commit()?)
}

fn index_error(path: &Path, fault: &Fault) -> SimulatorError {
    SimulatorError::Index { path: path.to_owned(), reason: fault.to_string() }
}

// === impl Shelf ===

impl Shelf {
    fn of(db: &Database, ledger: Arc<File>) -> Result<Self, Fault> {
        let transaction = db.begin_read()?;
        Ok(Self {
            operations: transaction.open_table(OPERATIONS)?,
            positions: transaction.open_table(POSITIONS)?,
            intents: transaction.open_table(INTENTS)?,
            ledger,
        })
    }

    pub(crate) fn has(&self, key: &str) -> Result<bool, String> {
        Ok(self.operations.get(key).map_err(|error| error.to_string())?.is_some())
    }

    /// The ledger's line of a key.
    pub(crate) fn entry(&self, key: &str) -> Result<Option<LedgerEntry>, String> {
        let Some(place) = self.operations.get(key).map_err(|error| error.to_string())? else { return Ok(None) };
        let (offset, bytes) = place.value();
        let mut line = vec![0; bytes as usize];
        self.ledger.read_exact_at(&mut line, offset).map_err(|error| format!("the ledger cannot be read: {error}"))?;
        match serde_json::from_slice::<LedgerEntry>(&line) {
            Ok(entry) if entry.key == key => Ok(Some(entry)),
            _ => Err(format!("the ledger was changed at byte {offset} while the simulator runs; restart it")),
        }
    }

    pub(crate) fn position(&self, id: &str) -> Result<Option<u64>, String> {
        Ok(self.positions.get(id).map_err(|error| error.to_string())?.map(|position| position.value()))
    }

    pub(crate) fn intent(&self, position: u64) -> Result<Option<Intent>, String> {
        let stored = self.intents.get(position).map_err(|error| error.to_string())?;
        stored.map(|stored| decode(stored.value()).map_err(|fault| fault.to_string())).transpose()
    }
}

impl std::fmt::Debug for Shelf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shelf").finish_non_exhaustive()
    }
}

// === impl Mark ===

impl Mark {
    fn of(db: &Database) -> Result<Self, Fault> {
        let meta = db.begin_read()?.open_table(META)?;
        let Some(stored) = meta.get("mark")? else { return Ok(Self::default()) };
        let mark: Self = serde_json::from_slice(stored.value())?;
        if mark.format == FORMAT { Ok(mark) } else { Err(format!("it has the format {}", mark.format).into()) }
    }
}

impl Default for Mark {
    fn default() -> Self {
        Self { format: FORMAT, seq: 0, created: 0, reached: Reached::default() }
    }
}

fn encode(intent: &Intent) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::with_capacity(256);
    Stored::serialize(intent, &mut serde_json::Serializer::new(&mut bytes))?;
    Ok(bytes)
}

fn decode(bytes: &[u8]) -> Result<Intent, Fault> {
    Ok(Stored::deserialize(&mut serde_json::Deserializer::from_slice(bytes))?)
}
