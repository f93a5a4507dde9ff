//! What a few inputs are expected to say, by another release.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::process::Command;

use crate::ReplayError;
use crate::recording::{EndState, Entry, Header, ModuleRecording, Recording, RecordingWriter};
use crate::shrink::{Baseline, Expected, write_entries};

/// How `replay --recompute` ends at [`ReplayError::Unhandled`]: a few inputs may make no sense without the others, while any
/// other refusal is the program's own.
pub const UNHANDLED_EXIT: u8 = 5;

/// How long the program may take for one try.
const PATIENCE: Duration = Duration::from_secs(600);

/// Another program with the same modules, run once for each try as `PROGRAM replay FILE --recompute OUT`.
pub struct BaselineProgram {
    program: PathBuf,
    header: Header,
    /// For the files that are passed to and fro.
    folder: PathBuf,
    /// What of this process's environment is not the baseline's.
    without: &'static str,
}

// === impl BaselineProgram ===

impl BaselineProgram {
    /// `folder` is there, and the caller's to remove. The variable `without` is not handed on: a fault that is asked for
    /// here is not to be the baseline's too.
    pub fn new(program: &Path, recording: &Recording, folder: &Path, without: &'static str) -> Self {
        let (program, folder) = (program.to_owned(), folder.to_owned());
        Self { program, header: recording.header().clone(), folder, without }
    }

    async fn ask(&self, module: &ModuleRecording, entries: &[Entry]) -> Result<Option<Expected>, ReplayError> {
        let (given, answer) = (self.folder.join("given.rec"), self.folder.join("answer.rec"));
        let mut out = RecordingWriter::create(&given, &self.header, true)?;
        write_entries(module, entries, EndState::Unknown("a part of a recording".to_owned()), &mut out)?;
        out.finish()?;
        let mut command = Command::new(&self.program);
        command.arg("replay").arg(&given).arg("--recompute").arg(&answer).arg("--force");
        command.env_remove(self.without).stdin(Stdio::null()).kill_on_drop(true);
        let refused = |reason: String| ReplayError::file(&self.program, format!("as a baseline: {reason}"));
        let ended = tokio::time::timeout(PATIENCE, command.output()).await;
        let ended = ended.map_err(|_| refused(format!("no answer within {} s", PATIENCE.as_secs())))?;
        let ended = ended.map_err(|error| refused(error.to_string()))?;
        if ended.status.code() == Some(UNHANDLED_EXIT.into()) {
            return Ok(None);
        }
        if !ended.status.success() {
            return Err(refused(String::from_utf8_lossy(&ended.stderr).trim().to_owned()));
        }
        let answer = Recording::open(&answer)?;
        let module = answer.module(module.name()).ok_or_else(|| refused("the module is missing".to_owned()))?;
        Ok(Some(Expected { entries: module.all_entries()?, end: module.end.end.clone() }))
    }
}

impl Baseline for BaselineProgram {
    fn expected<'a>(
        &'a self,
        module: &'a ModuleRecording,
        entries: &'a [Entry],
    ) -> BoxFuture<'a, Result<Option<Expected>, ReplayError>> {
        Box::pin(self.ask(module, entries))
    }
}
