//! A difference that was reviewed.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use pangaea_replay::{Expectation, Report};

#[derive(Args)]
pub(super) struct ExpectedArgs {
    /// The recording must differ exactly as this reviewed file says
    #[arg(long, value_name = "FILE")]
    expected: Option<PathBuf>,
    /// Write FILE from what differs now, to be reviewed; says why it may differ
    #[arg(long, value_name = "WHY", requires = "expected")]
    because: Option<String>,
}

// === impl ExpectedArgs ===

impl ExpectedArgs {
    /// What the file says differs everywhere.
    pub(super) fn ignored(&self) -> Result<Vec<String>> {
        match &self.expected {
            Some(file) if self.because.is_none() => Ok(read(file)?.ignore),
            _ => Ok(Vec::new()),
        }
    }

    /// Whether the report is as expected: clean, where nobody says otherwise.
    pub(super) fn judge(&self, report: &Report, ignore: &[String], force: bool) -> Result<bool> {
        let Some(file) = &self.expected else { return Ok(report.is_clean()) };
        if let Some(because) = &self.because {
            if file.exists() && !force {
                bail!("{} exists already; replace it with --force", file.display());
            }
            let expectation = Expectation::of(report, because.clone(), ignore.to_vec());
            let text = serde_json::to_string_pretty(&expectation)? + "\n";
            std::fs::write(file, text).with_context(|| file.display().to_string())?;
            return Ok(true);
        }
        let is_met = read(file)?.is_met(report);
        let how = if is_met { "as" } else { "not as" };
        eprintln!("it differs {how} {} says", file.display());
        Ok(is_met)
    }
}

fn read(file: &Path) -> Result<Expectation> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    serde_json::from_str(&text).with_context(|| file.display().to_string())
}
