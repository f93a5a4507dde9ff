use std::fs::File;
use std::io::{BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::frame::{FORMAT, Frame, FrameError, FrameKind, FramePlace, FrameReader};
use super::{Entry, Header, ModuleEnd, ModuleStart, RecordingWriter, TableRows};
use crate::ReplayError;

/// A recording that has been read through once: every byte of it is as it was written.
#[derive(Clone, Debug)]
pub struct Recording {
    file: PathBuf,
    header: Header,
    modules: Vec<ModuleRecording>,
    id: String,
    bytes: u64,
}

/// One module's part of a recording.
#[derive(Clone, Debug)]
pub struct ModuleRecording {
    pub start: ModuleStart,
    pub end: ModuleEnd,
    file: PathBuf,
    place: FramePlace,
}

/// The entries of a module, in order.
pub struct Entries(Lines);

/// The rows of a module's tables before its first entry.
pub struct Rows(Lines);

struct Lines {
    frames: FrameReader<BufReader<File>>,
    file: PathBuf,
    wanted: FrameKind,
    passed: FrameKind,
}

// === impl Recording ===

impl Recording {
    /// Reads the whole file once and refuses it unless it is whole. Nothing is kept in memory but what it says of itself.
    ///
    /// # Errors
    /// [`ReplayError::Foreign`], [`ReplayError::Newer`], [`ReplayError::Truncated`] or [`ReplayError::Damaged`]; or when the
    /// file cannot be read.
    pub fn open(file: &Path) -> Result<Self, ReplayError> {
        let input = File::open(file).map_err(|error| ReplayError::file(file, error))?;
        let at = |offset: u64| move |error: FrameError| refused(file, offset, error);
        let mut frames = FrameReader::begin(BufReader::new(input)).map_err(at(0))?;
        let header: Header = content(&frames.read().map_err(at(0))?, FrameKind::Header).map_err(at(0))?;
        let (mut modules, mut open) = (Vec::new(), None);
        loop {
            let offset = frames.place().offset;
            let frame = frames.read().map_err(at(offset))?;
            match (frame.kind, open.take()) {
                (FrameKind::ModuleStart, None) => {
                    let start: ModuleStart = content(&frame, FrameKind::ModuleStart).map_err(at(offset))?;
                    open = Some((start, frames.place()));
                }
                (FrameKind::Rows | FrameKind::Entries, Some(module)) => open = Some(module),
                (FrameKind::ModuleEnd, Some((start, place))) => {
                    let end: ModuleEnd = content(&frame, FrameKind::ModuleEnd).map_err(at(offset))?;
                    modules.push(ModuleRecording { start, end, file: file.to_owned(), place });
                }
                (FrameKind::End, None) => break,
                _ => return Err(refused(file, offset, FrameError::Damaged("a part is out of its place"))),
            }
        }
        let FramePlace { offset, checksum } = frames.place();
        frames.end().map_err(at(offset))?;
        let id = checksum[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { file: file.to_owned(), header, modules, id, bytes: offset })
    }

    pub fn file(&self) -> &Path {
        &self.file
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    pub fn modules(&self) -> &[ModuleRecording] {
        &self.modules
    }

    pub fn module(&self, name: &str) -> Option<&ModuleRecording> {
        self.modules.iter().find(|module| module.start.module == name)
    }

    /// Sixteen hexadecimal digits of its checksum: two recordings of one id are the same.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

// === impl ModuleRecording ===

impl ModuleRecording {
    pub fn name(&self) -> &str {
        &self.start.module
    }

    /// # Errors
    /// When the file is no longer what it was when it was opened.
    pub fn entries(&self) -> Result<Entries, ReplayError> {
        self.lines(FrameKind::Entries, FrameKind::Rows).map(Entries)
    }

    /// All entries at once, for a recording that is known to be small.
    ///
    /// # Errors
    /// As [`entries`](ModuleRecording::entries).
    pub fn all_entries(&self) -> Result<Vec<Entry>, ReplayError> {
        let (mut all, mut parts) = (Vec::new(), self.entries()?);
        loop {
            let part = parts.next_frame()?;
            if part.is_empty() {
                return Ok(all);
            }
            all.extend(part);
        }
    }

    /// Writes the rows of the module's beginning into another recording, whose module has begun.
    pub(crate) fn copy_rows(&self, out: &mut RecordingWriter) -> Result<(), ReplayError> {
        let mut rows = self.rows()?;
        loop {
            let part = rows.next_frame()?;
            if part.is_empty() {
                return Ok(());
            }
            part.iter().try_for_each(|rows| out.rows(rows))?;
        }
    }

    /// # Errors
    /// As [`entries`](ModuleRecording::entries).
    pub fn rows(&self) -> Result<Rows, ReplayError> {
        self.lines(FrameKind::Rows, FrameKind::Entries).map(Rows)
    }

    fn lines(&self, wanted: FrameKind, passed: FrameKind) -> Result<Lines, ReplayError> {
        let mut input = File::open(&self.file).map_err(|error| ReplayError::file(&self.file, error))?;
        input.seek(SeekFrom::Start(self.place.offset)).map_err(|error| ReplayError::file(&self.file, error))?;
        let frames = FrameReader::at(BufReader::new(input), self.place);
        Ok(Lines { frames, file: self.file.clone(), wanted, passed })
    }
}

// === impl Entries ===

impl Entries {
    /// The entries of the next frame, about a megabyte of them; none at the end.
    ///
    /// # Errors
    /// When the file has changed meanwhile.
    pub fn next_frame(&mut self) -> Result<Vec<Entry>, ReplayError> {
        self.0.next_frame()
    }
}

// === impl Rows ===

impl Rows {
    /// As [`Entries::next_frame`].
    ///
    /// # Errors
    /// When the file has changed meanwhile.
    pub fn next_frame(&mut self) -> Result<Vec<TableRows>, ReplayError> {
        self.0.next_frame()
    }
}

// === impl Lines ===

impl Lines {
    fn next_frame<T: DeserializeOwned>(&mut self) -> Result<Vec<T>, ReplayError> {
        loop {
            let offset = self.frames.place().offset;
            let refused = |error| refused(&self.file, offset, error);
            let frame = self.frames.read().map_err(refused)?;
            if frame.kind == self.passed {
                continue;
            }
            if frame.kind != self.wanted {
                return Ok(Vec::new());
            }
            let plain = frame.plain().map_err(refused)?;
            let lines = plain.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            let lines: Result<Vec<T>, _> = lines.map(serde_json::from_slice).collect();
            return lines.map_err(|error| ReplayError::Damaged {
                file: self.file.clone(),
                offset,
                reason: format!("an entry cannot be read: {error}"),
            });
        }
    }
}

fn content<T: DeserializeOwned>(frame: &Frame, kind: FrameKind) -> Result<T, FrameError> {
    if frame.kind != kind {
        return Err(FrameError::Damaged("a part is out of its place"));
    }
    serde_json::from_slice(&frame.plain()?).map_err(|_| FrameError::Damaged("a part cannot be read"))
}

fn refused(file: &Path, offset: u64, error: FrameError) -> ReplayError {
    let file = file.to_owned();
    match error {
        FrameError::Foreign => ReplayError::Foreign { file },
        FrameError::Newer(found) => ReplayError::Newer { file, found, newest: FORMAT },
        FrameError::Truncated => ReplayError::Truncated { file, bytes: offset },
        FrameError::Damaged(reason) => ReplayError::Damaged { file, offset, reason: reason.to_owned() },
        FrameError::Io(error) => ReplayError::File { file, reason: error.to_string() },
    }
}
