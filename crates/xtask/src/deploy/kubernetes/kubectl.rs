//! kubectl against the one API server that was started, whatever else it is configured for.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, anyhow};
use serde_json::{Value, json};

use super::place::Place;

/// kubectl with a configuration of its own.
#[derive(Debug)]
pub(crate) struct Kubectl {
    program: PathBuf,
    place: Place,
    configuration: PathBuf,
    cache: PathBuf,
}

// === impl Kubectl ===

impl Kubectl {
    pub(crate) fn new(program: &Path, place: Place, folder: &Path, url: &str, token: &str) -> Result<Self> {
        // The certificate that the server makes at its start; it signs itself.
        let authority = folder.join("certificates/apiserver.crt");
        let configuration = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "check",
            "clusters": [{ "name": "check", "cluster": { "server": url, "certificate-authority": authority } }],
            "users": [{ "name": "check", "user": { "token": token } }],
            "contexts": [{ "name": "check", "context": { "cluster": "check", "user": "check" } }],
        });
        let path = folder.join("kubeconfig");
        fs::write(&path, configuration.to_string())?;
        Ok(Self { program: program.to_owned(), place, configuration: path, cache: folder.join("discovery") })
    }

    /// Server-side apply of these documents; the refusal is the inner error.
    ///
    /// # Errors
    /// When kubectl does not start.
    pub(crate) fn apply(&self, documents: &[&Value], dry: bool) -> Result<Result<(), String>> {
        let mode = if dry { "--dry-run=server" } else { "--dry-run=none" };
        // Overlays share names; the last one to write takes the fields.
        let words = ["apply", "--server-side", "--force-conflicts", mode, "--validate=strict", "-f", "-"];
        self.send(&words, documents)
    }

    /// Applies documents that others need, in their order.
    ///
    /// # Errors
    /// When the server refuses one.
    pub(crate) fn make(&self, documents: &[&Value]) -> Result<()> {
        if documents.is_empty() {
            return Ok(());
        }
        self.apply(documents, false)?.map_err(|refusal| anyhow!("what must be there first was refused: {refusal}"))
    }

    /// Creates these documents in a dry run.
    ///
    /// # Errors
    /// When kubectl does not start.
    pub(crate) fn create_dry(&self, documents: &[&Value]) -> Result<Result<(), String>> {
        self.send(&["create", "--dry-run=server", "--validate=strict", "-f", "-"], documents)
    }

    /// What the server answers to a GET.
    ///
    /// # Errors
    /// When it does not answer with success.
    pub(crate) fn raw(&self, path: &str) -> Result<String, String> {
        self.ask(&["get", "--raw", path], &[])
    }

    /// Runs kubectl to a success.
    ///
    /// # Errors
    /// With what it says instead.
    pub(crate) fn ask(&self, words: &[&str], input: &[u8]) -> Result<String, String> {
        let mut command = self.place.command(&self.program);
        command.arg("--kubeconfig").arg(&self.configuration).arg("--cache-dir").arg(&self.cache).args(words);
        command.env_remove("KUBECONFIG").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("kubectl does not start: {error}"))?;
        let mut stdin = child.stdin.take();
        let output = std::thread::scope(|scope| {
            // A full pipe on either side must not stop the other.
            scope.spawn(|| stdin.take().map(|mut stdin| stdin.write_all(input)));
            child.wait_with_output()
        });
        let output = output.map_err(|error| error.to_string())?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ")),
        }
    }

    fn send(&self, words: &[&str], documents: &[&Value]) -> Result<Result<(), String>> {
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": documents });
        let bytes = serde_json::to_vec(&list).context("the documents are no JSON")?;
        Ok(self.ask(words, &bytes).map(drop))
    }
}
