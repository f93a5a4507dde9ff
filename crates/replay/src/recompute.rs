//! A recording again, with what this program says.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use pangaea_kernel::{Definition, Replayer, Said};

use crate::ReplayError;
use crate::check::{Progress, digest_of, read_ahead, run};
use crate::recording::{EndState, Entry, ModuleEnd, ModuleRecording, ModuleStart, Output, RecordingWriter};
use crate::scratch::{IN_MEMORY, at_start};

const BATCH: usize = 512;

/// Writes a module's part of a recording again: the same inputs, the outputs and the state that this program makes of them.
/// What one release expects of another is made so, and so is a recording whose new behaviour has been reviewed.
///
/// # Errors
/// When an input cannot be handled by this program, the file has changed, or the replay's database fails.
pub async fn recompute(
    module: &ModuleRecording,
    definition: &Arc<Definition>,
    out: &mut RecordingWriter,
    progress: &Progress,
) -> Result<(), ReplayError> {
    let replayer = at_start(module, definition, IN_MEMORY).await?;
    let mut rewriter = Rewriter::begin(&module.start, replayer, out).await?;
    module.copy_rows(rewriter.out)?;
    let mut parts = read_ahead(module);
    while let Some(part) = parts.recv().await {
        for entries in part?.chunks(BATCH) {
            rewriter.entries(entries).await?;
            progress.fetch_add(entries.len() as u64, Ordering::Relaxed);
        }
    }
    rewriter.end().await
}

/// Runs inputs and writes them down with what they say.
struct Rewriter<'a> {
    replayer: Replayer,
    out: &'a mut RecordingWriter,
    end: ModuleEnd,
}

// === impl Rewriter ===

impl<'a> Rewriter<'a> {
    async fn begin(start: &ModuleStart, replayer: Replayer, out: &'a mut RecordingWriter) -> Result<Self, ReplayError> {
        let state = digest_of(&replayer).await?;
        out.begin_module(&ModuleStart { state, ..start.clone() })?;
        Ok(Self { replayer, out, end: ModuleEnd::before(start.first) })
    }

    async fn entries(&mut self, entries: &[Entry]) -> Result<(), ReplayError> {
        let said = run(&mut self.replayer, entries).await?;
        for (entry, said) in entries.iter().zip(said) {
            if let Some(reason) = &said.failure {
                let module = self.replayer.database().module().to_owned();
                return Err(ReplayError::Unhandled { module, position: entry.position, reason: reason.clone() });
            }
            let entry = entry.saying(said);
            self.end.count(&entry);
            self.out.entry(&entry)?;
        }
        Ok(())
    }

    async fn end(mut self) -> Result<(), ReplayError> {
        self.end.end = EndState::Rerun(digest_of(&self.replayer).await?);
        self.out.end_module(&self.end)?;
        let module = self.replayer.database().module().to_owned();
        self.replayer.stop().await.map_err(ReplayError::journal(&module))
    }
}

// === impl Entry ===

impl Entry {
    /// The same input, with what was said of it in a replay by this program.
    pub(crate) fn saying(&self, said: Said) -> Self {
        let mut entry = Self {
            answer: said.answer,
            asked: Some(said.asked),
            messages: Vec::new(),
            handled_by: env!("CARGO_PKG_VERSION").to_owned(),
            ..self.clone()
        };
        entry.messages = said.messages.iter().map(|message| Output::of(&entry, message)).collect();
        entry
    }
}
