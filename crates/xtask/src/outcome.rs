//! Counts of tests, read from what `cargo test` prints.

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::ops::AddAssign;

use anyhow::Result;

/// How many tests ran and how they ended. Shown as the last line of a run: `12 passed, 0 failed`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
}

/// Copies the output to `to` as it comes and adds up its result lines.
///
/// Bytes are copied, not text: a test may print what is not UTF-8.
pub(crate) fn copy_and_count(from: impl Read, mut to: impl Write) -> Result<Outcome> {
    let mut sum = Outcome::default();
    let mut lines = BufReader::new(from);
    let mut line = Vec::new();
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line)? == 0 {
            return Ok(sum);
        }
        to.write_all(&line)?;
        to.flush()?;
        if let Some(counts) = Outcome::of_line(&String::from_utf8_lossy(&line)) {
            sum += counts;
        }
    }
}

// === impl Outcome ===

impl Outcome {
    /// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
    ///
    /// The words are looked for anywhere in the line: a test that prints without a line end stands before them.
    fn of_line(line: &str) -> Option<Self> {
        let (_, rest) = line.rsplit_once("test result: ")?;
        let (_, counts) = rest.split_once(". ")?;
        let count =
            |word: &str| counts.split(';').find_map(|part| part.trim().strip_suffix(word)?.trim().parse::<u64>().ok());
        Some(Self { passed: count("passed")?, failed: count("failed")?, ignored: count("ignored").unwrap_or(0) })
    }
}

impl AddAssign for Outcome {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_up_result_lines_and_copies_every_byte() {
        let output = b"running 2 tests\n\xff\ntest result: ok. 2 passed; 0 failed; 1 ignored; 0 measured\n\
            noise test result: FAILED. 10 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out\nno end";
        let mut copy = Vec::new();
        let sum = copy_and_count(&output[..], &mut copy).unwrap();
        assert_eq!(sum, Outcome { passed: 12, failed: 3, ignored: 1 });
        assert_eq!(sum.to_string(), "12 passed, 3 failed");
        assert_eq!(copy, output);
    }

    #[test]
    fn other_lines_do_not_count() {
        for line in ["test a ... ok", "test result: unknown", "test result: ok. many passed; 0 failed", ""] {
            assert_eq!(Outcome::of_line(line), None, "{line}");
        }
    }
}
