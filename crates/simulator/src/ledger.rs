//! The ledger file: one JSON line per thing that the provider decided, written before it is answered.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::derive::Digest;
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

/// A ledger to be written: locked until the last copy of its file is gone.
#[derive(Debug)]
pub(crate) struct LedgerFile {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<File>,
    end: End,
}

/// Where the last whole line ends.
#[derive(Debug, Default)]
pub(crate) struct End {
    bytes: u64,
    digest: Digest,
}

/// An entry and where its line is in the file.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) entry: Arc<LedgerEntry>,
    pub(crate) offset: u64,
    pub(crate) bytes: u32,
}

/// An [`End`] to be kept: how many bytes, and the digest of all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reached {
    bytes: u64,
    digest: [u8; 32],
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
        scan(path, &file, |entry, _| {
            entries.push(entry);
            Ok(())
        })?;
        Ok(entries)
    }
}

// === impl LedgerFile ===

impl LedgerFile {
    /// Opens or creates the file and locks it against a second simulator. [`Self::replay`] comes next.
    pub(crate) fn open(path: &Path) -> Result<Self, SimulatorError> {
        std::fs::create_dir_all(parent(path)).map_err(|source| io(path, "creating its folder", source))?;
        let file = OpenOptions::new()
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
        Ok(Self { path: path.to_owned(), file: Arc::new(file), end: End::default() })
    }

    /// Hands every line to `each`, with where it ends, and cuts off a torn last line, which no caller was ever answered
    /// for. What is appended comes after the last whole line.
    pub(crate) fn replay(
        &mut self,
        mut each: impl FnMut(Line, &End) -> Result<(), SimulatorError>,
    ) -> Result<(), SimulatorError> {
        let Self { path, file, end } = self;
        *end = End::default();
        (&**file).rewind().map_err(|source| io(path, "seeking", source))?;
        let torn = scan(path, file, |entry, text| {
            let line = Line { entry: Arc::new(entry), offset: end.bytes, bytes: text.len() as u32 };
            end.add(text);
            each(line, end)
        })?;
        if torn > 0 {
            tracing::warn!(path = %path.display(), bytes = torn, "the ledger's last line is torn and was cut off");
            file.set_len(end.bytes).map_err(|source| io(path, "cutting off a torn line", source))?;
        }
        // The name of a new file is durable only once its folder is.
        file.sync_all().map_err(|source| io(path, "syncing", source))?;
        File::open(parent(path))
            .and_then(|folder| folder.sync_all())
            .map_err(|source| io(path, "syncing its folder", source))?;
        (&**file).seek(SeekFrom::Start(end.bytes)).map_err(|source| io(path, "seeking", source))?;
        Ok(())
    }

    /// Writes the entries' lines and syncs them.
    pub(crate) fn append(&mut self, entries: &mut Vec<Arc<LedgerEntry>>) -> std::io::Result<Vec<Line>> {
        let mut text = Vec::with_capacity(entries.len() * 640);
        let mut lines = Vec::with_capacity(entries.len());
        for entry in entries.drain(..) {
            let begin = text.len();
            serde_json::to_writer(&mut text, &*entry)?;
            text.push(b'\n');
            let bytes = (text.len() - begin) as u32;
            lines.push(Line { entry, offset: self.end.bytes + begin as u64, bytes });
        }
        (&*self.file).write_all(&text)?;
        self.file.sync_data()?;
        self.end.add(&text);
        Ok(lines)
    }

    pub(crate) fn reached(&self) -> Reached {
        self.end.reached()
    }
}

// === impl End ===

impl End {
    pub(crate) fn reached(&self) -> Reached {
        Reached { bytes: self.bytes, digest: self.digest.value() }
    }

    fn add(&mut self, text: &[u8]) {
        self.digest.add(text);
        self.bytes += text.len() as u64;
    }
}

/// Hands every whole line to `each`; how many bytes follow them.
fn scan(
    path: &Path,
    file: &File,
    mut each: impl FnMut(LedgerEntry, &[u8]) -> Result<(), SimulatorError>,
) -> Result<u64, SimulatorError> {
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let read = reader.read_until(b'\n', &mut line).map_err(|source| io(path, "reading", source))? as u64;
        if line.last() != Some(&b'\n') {
            return Ok(read);
        }
        let corrupt = |reason| SimulatorError::LedgerCorrupt { path: path.to_owned(), line: number, reason };
        let entry: LedgerEntry = serde_json::from_slice(&line).map_err(|error| corrupt(error.to_string()))?;
        if entry.seq != number {
            return Err(corrupt(format!("position {} where {number} was expected", entry.seq)));
        }
        each(entry, &line)?;
    }
    Ok(0)
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn io(path: &Path, action: &'static str, source: std::io::Error) -> SimulatorError {
    SimulatorError::LedgerIo { path: path.to_owned(), action, source }
}
