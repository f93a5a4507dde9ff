//! Golden files: what came once and was found right, kept beside the test.
//!
//! [`Scenario::golden`](crate::scenario::Scenario::golden) keeps a run, [`check`] any text, such as the schemas of a contract.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::diff::diff;

/// Set to `1`, golden files are written and not compared.
const UPDATE: &str = "PANGAEA_UPDATE_GOLDEN";

/// Compares `text` with a file, whose path begins in the package's folder, where tests run. With `PANGAEA_UPDATE_GOLDEN=1` in
/// the environment the file is written instead.
///
/// # Errors
/// When the file is not there, or differs: line by line.
pub fn check(path: &Path, text: &str) -> Result<()> {
    #[expect(clippy::disallowed_methods, reason = "the environment is how cargo's tests are told something")]
    let is_update = std::env::var_os(UPDATE).is_some_and(|value| value == "1");
    if is_update { write(path, text) } else { compare(path, text) }
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    std::fs::write(path, text).with_context(|| path.display().to_string())
}

fn compare(path: &Path, text: &str) -> Result<()> {
    let shown = path.display();
    let expected = std::fs::read_to_string(path).with_context(|| {
        format!("there is no golden file {shown}: run the test with {UPDATE}=1, and read what it has written")
    })?;
    if expected == text {
        return Ok(());
    }
    bail!(
        "{shown} (- the file, + this run)\n{}\nIf this run is right, run the test with {UPDATE}=1.",
        diff(&expected, text)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Folder;

    #[test]
    fn a_file_is_written_then_holds_and_says_what_differs() {
        let folder = Folder::new("golden").unwrap();
        let path = folder.path().join("golden/run.journal");
        let missing = compare(&path, "a\n").unwrap_err().to_string();
        assert!(missing.contains("PANGAEA_UPDATE_GOLDEN=1"), "{missing}");
        write(&path, "a\nb\nc\n").unwrap();
        compare(&path, "a\nb\nc\n").unwrap();
        let differs = compare(&path, "a\nB\nc\n").unwrap_err().to_string();
        assert!(differs.contains("\n- b\n+ B\n"), "{differs}");
        folder.set_clean();
    }
}
