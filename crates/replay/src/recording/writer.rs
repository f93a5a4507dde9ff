use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::frame::{FrameKind, FrameWriter};
use super::{Entry, Header, ModuleEnd, ModuleStart, TableRows};
use crate::ReplayError;

/// Plain bytes gathered before they are compressed and written.
const FRAME_BYTES: usize = 1024 * 1024;

/// Writes a recording. The file has its name only once it is whole.
pub struct RecordingWriter {
    frames: Option<FrameWriter<BufWriter<File>>>,
    file: PathBuf,
    draft: PathBuf,
    lines: Vec<u8>,
    /// Of the lines that are gathered.
    kind: FrameKind,
}

// === impl RecordingWriter ===

impl RecordingWriter {
    /// Begins a recording that will be `file`.
    ///
    /// # Errors
    /// [`ReplayError::Exists`], unless `replace`; or when nothing can be written there.
    pub fn create(file: &Path, header: &Header, replace: bool) -> Result<Self, ReplayError> {
        if !replace && file.exists() {
            return Err(ReplayError::Exists { file: file.to_owned() });
        }
        let mut draft = file.as_os_str().to_owned();
        draft.push(format!(".{}.part", std::process::id()));
        let draft = PathBuf::from(draft);
        let out = private(&draft).map_err(|error| ReplayError::file(&draft, error))?;
        let frames = FrameWriter::begin(BufWriter::new(out)).map_err(|error| ReplayError::file(&draft, error))?;
        let (frames, file) = (Some(frames), file.to_owned());
        let mut writer = Self { frames, file, draft, lines: Vec::new(), kind: FrameKind::Entries };
        writer.one(FrameKind::Header, header)?;
        Ok(writer)
    }

    /// Begins a module. What follows is its own, until [`end_module`](RecordingWriter::end_module).
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn begin_module(&mut self, start: &ModuleStart) -> Result<(), ReplayError> {
        self.one(FrameKind::ModuleStart, start)
    }

    /// # Errors
    /// When it cannot be written.
    pub fn rows(&mut self, rows: &TableRows) -> Result<(), ReplayError> {
        self.line(FrameKind::Rows, rows)
    }

    /// # Errors
    /// When it cannot be written.
    pub fn entry(&mut self, entry: &Entry) -> Result<(), ReplayError> {
        self.line(FrameKind::Entries, entry)
    }

    /// # Errors
    /// When it cannot be written.
    pub fn end_module(&mut self, end: &ModuleEnd) -> Result<(), ReplayError> {
        self.flush()?;
        self.one(FrameKind::ModuleEnd, end)
    }

    /// Ends the recording and gives it its name: its size in bytes.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> Result<u64, ReplayError> {
        self.flush()?;
        self.one(FrameKind::End, &())?;
        let Some(frames) = self.frames.take() else { return Err(ReplayError::file(&self.file, "it is ended")) };
        let bytes = frames.place().offset;
        let finish = || {
            let out = frames.into_inner().into_inner()?;
            out.sync_all()?;
            std::fs::rename(&self.draft, &self.file)
        };
        finish().map_err(|error: std::io::Error| ReplayError::file(&self.file, error))?;
        Ok(bytes)
    }

    fn one(&mut self, kind: FrameKind, content: &impl Serialize) -> Result<(), ReplayError> {
        let plain = serde_json::to_vec(content).map_err(|error| ReplayError::file(&self.file, error))?;
        self.frame(kind, &plain)
    }

    fn line(&mut self, kind: FrameKind, content: &impl Serialize) -> Result<(), ReplayError> {
        if kind != self.kind {
            self.flush()?;
            self.kind = kind;
        }
        serde_json::to_writer(&mut self.lines, content).map_err(|error| ReplayError::file(&self.file, error))?;
        self.lines.push(b'\n');
        if self.lines.len() >= FRAME_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), ReplayError> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let lines = std::mem::take(&mut self.lines);
        self.frame(self.kind, &lines)?;
        self.lines = lines;
        self.lines.clear();
        Ok(())
    }

    fn frame(&mut self, kind: FrameKind, plain: &[u8]) -> Result<(), ReplayError> {
        let Some(frames) = &mut self.frames else { return Err(ReplayError::file(&self.file, "it is ended")) };
        frames.write(kind, plain).map_err(|error| ReplayError::file(&self.draft, error))
    }
}

impl Drop for RecordingWriter {
    fn drop(&mut self) {
        if self.frames.take().is_some() {
            // Given up half-way: nothing stays that could be taken for a recording.
            let _ = std::fs::remove_file(&self.draft);
        }
    }
}

/// Nobody else may read it: it may hold what is not redacted.
fn private(path: &Path) -> std::io::Result<File> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.flush()?;
    Ok(file)
}
