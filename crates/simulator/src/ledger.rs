//! The ledger file: one JSON line per thing that the provider decided, written before it is answered.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::SimulatorError;
use crate::token::Token;

/// Reader of ledger files, for auditors and tests.
#[derive(Debug)]
pub struct Ledger;

/// One line of the ledger. The first eight fields are the books; the rest lets a restarted simulator give the same
/// answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// Position: 1, 2, 3 …, without gaps.
    pub seq: u64,
    /// When it was decided, milliseconds since 1970, UTC.
    pub at_ms: u64,
    pub kind: EntryKind,
    /// The caller's idempotency key.
    pub key: String,
    /// The payment intent.
    pub intent: String,
    /// Minor units: what was moved, or asked for if `kind` moves nothing.
    pub amount: i64,
    pub currency: String,
    /// The caller's own name for the payment.
    pub reference: String,
    /// What the caller asked for.
    pub operation: OperationKind,
    /// On the line that creates an intent: the token it was made with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_method: Option<Token>,
    /// Stands for the request's content; a repeat with another one is refused.
    pub fingerprint: String,
    /// The first answer to the key.
    pub answer: Answer,
}

/// What a ledger line records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// Money of the payer is held.
    Authorized,
    /// Held money was taken.
    Captured,
    /// Held money was released; the amount is zero if none was held yet.
    Voided,
    /// Taken money was given back.
    Refunded,
    /// The payer's bank said no. Moves nothing.
    Declined,
    /// An intent waits for its payer. Moves nothing.
    ActionRequired,
    /// A call on an intent was answered with an error that its key keeps. Moves nothing.
    Refused,
}

/// The kind of call that an idempotency key was used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationKind {
    /// Creating or confirming an intent.
    Authorize,
    Capture,
    Void,
    Refund,
}

/// The first answer to a key, byte for byte.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    pub body: Box<RawValue>,
}

/// An open ledger: locked, positioned at its end.
#[derive(Debug)]
pub(crate) struct LedgerFile {
    pub(crate) path: PathBuf,
    pub(crate) file: File,
}

// === impl Ledger ===

impl Ledger {
    /// Reads all entries, also while a simulator writes the file: a last line that is not finished yet is left out.
    ///
    /// # Errors
    /// The file cannot be read, a finished line cannot be decoded, or positions have a gap.
    pub fn read(path: impl AsRef<Path>) -> Result<Vec<LedgerEntry>, SimulatorError> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|source| io(path, "opening", source))?;
        let mut entries = Vec::new();
        scan(path, &file, |entry| {
            entries.push(entry);
            Ok(())
        })?;
        Ok(entries)
    }
}

// === impl LedgerFile ===

impl LedgerFile {
    /// Opens or creates the file, locks it against a second simulator, hands every entry to `each` and cuts off a torn
    /// last line, which no caller was ever answered for.
    pub(crate) fn open(
        path: &Path,
        each: impl FnMut(LedgerEntry) -> Result<(), String>,
    ) -> Result<Self, SimulatorError> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent).map_err(|source| io(path, "creating its folder", source))?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(|source| io(path, "opening", source))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(SimulatorError::LedgerBusy { path: path.to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(io(path, "locking", source)),
        }
        let extent = scan(path, &file, each)?;
        if extent.torn > 0 {
            tracing::warn!(path = %path.display(), bytes = extent.torn, "the ledger's last line is torn and was cut off");
            file.set_len(extent.whole).map_err(|source| io(path, "cutting off a torn line", source))?;
        }
        // The name of a new file is durable only once its folder is.
        file.sync_all().map_err(|source| io(path, "syncing", source))?;
        File::open(parent)
            .and_then(|folder| folder.sync_all())
            .map_err(|source| io(path, "syncing its folder", source))?;
        file.seek(SeekFrom::Start(extent.whole)).map_err(|source| io(path, "seeking", source))?;
        Ok(Self { path: path.to_owned(), file })
    }
}

/// How many bytes are whole lines, and how many follow them.
struct Extent {
    whole: u64,
    torn: u64,
}

fn scan(
    path: &Path,
    file: &File,
    mut each: impl FnMut(LedgerEntry) -> Result<(), String>,
) -> Result<Extent, SimulatorError> {
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut line = Vec::new();
    let mut extent = Extent { whole: 0, torn: 0 };
    for number in 1.. {
        line.clear();
        let read = reader.read_until(b'\n', &mut line).map_err(|source| io(path, "reading", source))? as u64;
        if line.last() != Some(&b'\n') {
            extent.torn = read;
            break;
        }
        let corrupt = |reason| SimulatorError::LedgerCorrupt { path: path.to_owned(), line: number, reason };
        let entry: LedgerEntry = serde_json::from_slice(&line).map_err(|error| corrupt(error.to_string()))?;
        if entry.seq != number {
            return Err(corrupt(format!("position {} where {number} was expected", entry.seq)));
        }
        each(entry).map_err(corrupt)?;
        extent.whole += read;
    }
    Ok(extent)
}

fn io(path: &Path, action: &'static str, source: std::io::Error) -> SimulatorError {
    SimulatorError::LedgerIo { path: path.to_owned(), action, source }
}
