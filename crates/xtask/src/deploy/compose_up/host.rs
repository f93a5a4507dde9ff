//! The machine that compose.yaml runs on: a Docker engine with a network of its own.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::deploy::kubernetes::Namespaces;
use crate::tools::{self, Engine};

/// Dropping it leaves nothing.
#[derive(Debug)]
pub(super) struct Host {
    // Dropped in this order. With the namespaces every process ends that was started in them, containers too.
    namespaces: Namespaces,
    engine: Engine,
}

// === impl Host ===

impl Host {
    /// # Errors
    /// When the engine does not start.
    pub(super) fn start() -> Result<Self> {
        let namespaces = Namespaces::make()?;
        let place = namespaces.place();
        let engine = tools::docker_engine_with_networks(|dockerd| place.command(dockerd))?;
        Ok(Self { namespaces, engine })
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// A program, to be run on that machine.
    pub(super) fn command(&self, program: &Path) -> Command {
        self.namespaces.place().command(program)
    }

    /// The body of an HTTP GET, asked on that machine.
    ///
    /// # Errors
    /// When nobody answers, or not with a success.
    pub(super) fn get(&self, url: &str) -> Result<String> {
        let mut command = self.command(Path::new("curl"));
        command.args(["--silent", "--show-error", "--fail", "--max-time", "10", url]).stdin(Stdio::null());
        let output = command.output().context("curl does not start")?;
        ensure!(output.status.success(), "GET {url}: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
