//! The store's program, asked what it makes of an environment.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, bail};

use super::Context;

/// The store's program. What it has answered to the same words in the same environment is not asked again: overlays differ in
/// little.
#[derive(Debug)]
pub(crate) struct Program {
    path: PathBuf,
    answers: RefCell<BTreeMap<Question, Output>>,
}

type Question = (Vec<String>, BTreeMap<String, String>);

// === impl Program ===

impl Program {
    pub(crate) fn of(ctx: &Context) -> Self {
        Self::at(ctx.program.clone())
    }

    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path, answers: RefCell::default() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Runs it to its end with this environment and no other.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn ask(&self, args: &[String], environment: &BTreeMap<String, String>) -> Result<Output> {
        let question = (args.to_vec(), environment.clone());
        if let Some(answer) = self.answers.borrow().get(&question) {
            return Ok(answer.clone());
        }
        let mut command = Command::new(&self.path);
        command.args(args).env_clear().envs(environment).current_dir(env::temp_dir()).stdin(Stdio::null());
        let answer = command.output().with_context(|| format!("{} does not start", self.path.display()))?;
        self.answers.borrow_mut().insert(question, answer.clone());
        Ok(answer)
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
