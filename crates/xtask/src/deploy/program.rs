//! The store's program, asked what it makes of an environment.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::{binary, workspace};

/// The store's program.
#[derive(Debug)]
pub(crate) struct Program(PathBuf);

// === impl Program ===

impl Program {
    /// The one that `PANGAEA_PROGRAM` names; else one that is built: for what only asks, a build of the tests is used
    /// where there is one.
    ///
    /// # Errors
    /// When it cannot be built.
    pub(crate) fn find(needs_speed: bool) -> Result<Self> {
        if let Some(named) = env::var_os("PANGAEA_PROGRAM") {
            return Ok(Self(std::path::absolute(named)?));
        }
        let debug = workspace::target().join("debug/pangaea");
        if !needs_speed && debug.is_file() {
            return Ok(Self(debug));
        }
        binary::release().map(Self)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Runs it to its end with this environment and no other.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn ask(&self, args: &[String], environment: &BTreeMap<String, String>) -> Result<Output> {
        let mut command = Command::new(&self.0);
        command.args(args).env_clear().envs(environment).current_dir(env::temp_dir()).stdin(Stdio::null());
        command.output().with_context(|| format!("{} does not start", self.0.display()))
    }

    /// The names of all modules.
    ///
    /// # Errors
    /// When it does not tell them.
    pub(crate) fn modules(&self) -> Result<Vec<String>> {
        let output = self.ask(&["topology", "--format", "json"].map(str::to_owned), &BTreeMap::new())?;
        let topology: serde_json::Value =
            serde_json::from_slice(&output.stdout).context("`pangaea topology --format json` printed no JSON")?;
        let names = super::objects::list(&topology, "/modules").iter();
        let mut names: Vec<_> = names.map(|module| super::objects::text(module, "/name").to_owned()).collect();
        names.sort_unstable();
        if names.is_empty() {
            bail!("`pangaea topology --format json` names no module");
        }
        Ok(names)
    }

    /// Every key with its value, as this environment makes it. Texts are without their quotes.
    ///
    /// # Errors
    /// With what `pangaea config show` complains of.
    pub(crate) fn configuration(
        &self,
        options: &[String],
        environment: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>> {
        let words = ["config", "show"].map(str::to_owned).into_iter().chain(options.iter().cloned());
        let output = self.ask(&words.collect::<Vec<_>>(), environment)?;
        if !output.status.success() {
            bail!("{}", said(&output));
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let pairs = text.lines().filter_map(|line| line.split_once(" = "));
        Ok(pairs.map(|(key, value)| (key.trim().to_owned(), value.trim().trim_matches('"').to_owned())).collect())
    }
}

/// What a program said on its way out, in one line.
pub(crate) fn said(output: &Output) -> String {
    let both = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned());
    let lines: Vec<_> =
        both.iter().flat_map(|text| text.lines()).map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() { format!("ended with {}", output.status) } else { lines.join("; ") }
}
