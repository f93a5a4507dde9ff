//! The file on disk: its hash, and every line of it with the decision that the rules give.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, bail};
use ring::digest;

use super::classify::{Classifier, Decision};
use super::csv::{Line, Lines};
use super::table::Table;

/// More lines than the whole published data set has by an order of magnitude; what is kept per line stays in memory.
const LINES_MAX: u64 = 5_000_000;
/// Bad rows named one by one; the others are only counted.
const BAD_ROWS_SHOWN: usize = 20;
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// SHA-256 of the file's bytes. Idempotency keys derive from it, so sending the same file again changes nothing, and an
/// edited file is a new one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ContentHash([u8; 32]);

// === impl ContentHash ===

impl ContentHash {
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn of(path: &Path) -> Result<Self> {
        let mut file = open(path)?;
        let mut context = digest::Context::new(&digest::SHA256);
        let mut buffer = vec![0; READ_BUFFER_BYTES];
        loop {
            let read = file.read(&mut buffer).with_context(|| format!("{} cannot be read", path.display()))?;
            if read == 0 {
                return Self::from_digest(&context.finish());
            }
            context.update(&buffer[..read]);
        }
    }

    fn from_digest(digest: &digest::Digest) -> Result<Self> {
        let bytes = digest.as_ref().try_into().context("a SHA-256 digest has 32 bytes")?;
        Ok(Self(bytes))
    }

    /// The idempotency key of one request made from this file. The parts are hashed, each with its length, so that no
    /// invoice number can make a key that is too long, not ASCII, or equal to another's.
    pub(crate) fn key(&self, parts: &[&str]) -> String {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&self.0);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let hex: String = context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("retail-{hex}")
    }
}

/// Reads the file once, hands every readable line with its decision to `each`, and answers the outcome table. Bad rows
/// are reported on standard error and do not stop the rest.
///
/// # Errors
/// The file cannot be opened, its header lacks a column, or it has more than five million lines.
pub(crate) fn read(path: &Path, mut each: impl FnMut(&Line, &Decision)) -> Result<Table> {
    let in_file = || format!("in {}", path.display());
    let mut table = Table::default();
    let mut classifier = Classifier::default();
    for line in Lines::new(BufReader::new(open(path)?)).with_context(in_file)? {
        match line {
            Ok(line) => {
                let decision = classifier.decide(&line);
                table.count(&line, &decision);
                each(&line, &decision);
            }
            Err(bad) => {
                if table.unreadable_lines().len() < BAD_ROWS_SHOWN {
                    eprintln!("{}:{}: row left out: {}", path.display(), bad.number, bad.reason);
                }
                table.count_unreadable(bad.number);
            }
        }
        if table.all().lines + table.unreadable_lines().len() as u64 > LINES_MAX {
            bail!("{} has more than {LINES_MAX} lines; split it by month", path.display());
        }
    }
    if let Some(more @ 1..) = table.unreadable_lines().len().checked_sub(BAD_ROWS_SHOWN) {
        eprintln!("{}: {more} more rows left out", path.display());
    }
    Ok(table)
}

fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("{} cannot be opened; give the path of the invoice file", path.display()))
}
