use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::host::Host;
use crate::placement::Placement;
use crate::store::Store;
use crate::{program, workspace};

/// A build of the store: its program, and the profile files that it understands.
#[derive(Clone, Debug)]
pub struct Release {
    program: PathBuf,
    config: PathBuf,
}

// === impl Release ===

impl Release {
    /// The version under test.
    ///
    /// # Errors
    /// When it cannot be built.
    pub fn this() -> Result<Self> {
        Ok(Self { program: program()?.to_owned(), config: workspace().join("config") })
    }

    /// v0.1.0, as `cargo xtask test` builds it from this repository's history.
    ///
    /// # Errors
    /// When it has not been built.
    pub fn v0_1_0() -> Result<Self> {
        #[expect(clippy::disallowed_methods, reason = "tests are told by the environment where programs are")]
        let named = std::env::var_os("PANGAEA_RELEASE_0_1_0").map(PathBuf::from);
        let folder = named.unwrap_or_else(|| workspace().join("target/releases/0.1.0"));
        let release = Self { program: folder.join("pangaea"), config: folder.join("src/config") };
        ensure!(
            release.program.is_file() && release.config.is_dir(),
            "{} is not there: run this test by `cargo xtask test`, which builds v0.1.0 from the history, or name the \
             folder in PANGAEA_RELEASE_0_1_0",
            release.program.display()
        );
        Ok(release)
    }

    /// What the program says of itself, e.g. `0.1.0`.
    ///
    /// # Errors
    /// When it does not run.
    pub fn version(&self) -> Result<String> {
        let output = std::process::Command::new(&self.program).arg("--version").output();
        let output = output.with_context(|| self.program.display().to_string())?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = text.split_whitespace().nth(1).map(str::to_owned);
        version.with_context(|| format!("`{} --version` says {text:?}", self.program.display()))
    }

    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    pub(crate) fn config_file(&self, placement: Placement) -> String {
        self.config.join(placement.config()).display().to_string()
    }
}

// === impl Store: releases ===

impl Store {
    /// The processes that host `module` run this release from their next start on.
    ///
    /// # Errors
    /// When no process hosts it.
    pub fn switch(&mut self, module: &str, release: &Release) -> Result<()> {
        let placement = self.placement();
        self.host(module)?.run_by(release, placement);
        Ok(())
    }

    /// Starts one more process that hosts `module`, of this release, on the same servers. The edge does not know of it.
    ///
    /// # Errors
    /// When no process hosts it, or it does not start.
    pub fn start_beside(&mut self, module: &str, release: &Release) -> Result<Host> {
        let placement = self.placement();
        let part = self.host(module)?.part().clone();
        let name = format!("{}-beside", part.name());
        let mut host = Host::new(part, &name, release.program(), &[], self.folder())?;
        host.process().envs(&self.env);
        host.run_by(release, placement);
        for (name, value) in self.rights.iter().flat_map(|rights| rights.of(module)) {
            host.process().set_variable(name, Some(value));
        }
        host.process().start()?;
        Ok(host)
    }
}
