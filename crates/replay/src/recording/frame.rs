//! A recording's bytes: a magic text, a format version, then frames, each compressed and behind its checksum.
//!
//! A frame is its kind (1 byte), the lengths of its content plain and compressed (4 bytes each, big endian), the compressed
//! content (zstd, RFC 8878), and a SHA-256 over the checksum before it and all of these. So no byte can change, no frame can
//! go or move without notice, and the last checksum names the recording.

use std::io::{self, Read, Write};

use ring::digest::{Context, SHA256};

pub(crate) const MAGIC: &[u8; 14] = b"pangaea-record";
/// What this program writes, and the newest that it reads.
pub(crate) const FORMAT: u16 = 1;
/// Plain bytes of one frame, at most: an input of the largest size with a thousand outputs of the largest size.
const FRAME_BYTES_MAX: usize = 256 * 1024 * 1024;
const LEVEL: i32 = 3;
const CHECKSUM_BYTES: usize = 32;

pub(crate) type Checksum = [u8; CHECKSUM_BYTES];

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    Header = b'H' as isize,
    ModuleStart = b'M' as isize,
    Rows = b'R' as isize,
    Entries = b'I' as isize,
    ModuleEnd = b'E' as isize,
    End = b'Z' as isize,
}

/// Writes frames one after the other.
pub(crate) struct FrameWriter<W> {
    out: W,
    checksum: Checksum,
    bytes: u64,
}

/// Reads frames one after the other.
pub(crate) struct FrameReader<R> {
    input: R,
    checksum: Checksum,
    offset: u64,
}

/// Where a reader stands, to go on from there later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FramePlace {
    pub(crate) offset: u64,
    pub(crate) checksum: Checksum,
}

/// A frame whose checksum is right.
pub(crate) struct Frame {
    pub(crate) kind: FrameKind,
    plain_bytes: usize,
    packed: Vec<u8>,
}

/// Why no frame could be read.
#[derive(Debug)]
pub(crate) enum FrameError {
    Foreign,
    Newer(u16),
    Truncated,
    Damaged(&'static str),
    Io(io::Error),
}

// === impl FrameWriter ===

impl<W: Write> FrameWriter<W> {
    pub(crate) fn begin(mut out: W) -> io::Result<Self> {
        let head = head();
        out.write_all(&head)?;
        Ok(Self { out, checksum: digest(&[&head]), bytes: head.len() as u64 })
    }

    pub(crate) fn write(&mut self, kind: FrameKind, plain: &[u8]) -> io::Result<()> {
        if plain.len() > FRAME_BYTES_MAX {
            return Err(io::Error::other(format!("a part of {} bytes is too large to record", plain.len())));
        }
        let packed = zstd::bulk::compress(plain, LEVEL)?;
        let head = frame_head(kind as u8, plain.len(), packed.len());
        self.checksum = digest(&[&self.checksum, &head, &packed]);
        for part in [&head[..], &packed, &self.checksum] {
            self.out.write_all(part)?;
        }
        self.bytes += (head.len() + packed.len() + CHECKSUM_BYTES) as u64;
        Ok(())
    }

    /// What was written so far, and the last checksum.
    pub(crate) fn place(&self) -> FramePlace {
        FramePlace { offset: self.bytes, checksum: self.checksum }
    }

    pub(crate) fn into_inner(self) -> W {
        self.out
    }
}

// === impl FrameReader ===

impl<R: Read> FrameReader<R> {
    /// Reads the beginning of a recording.
    pub(crate) fn begin(mut input: R) -> Result<Self, FrameError> {
        let expected = head();
        let mut found = vec![0; expected.len()];
        let read = read_up_to(&mut input, &mut found)?;
        let magic = read.min(MAGIC.len());
        if read == 0 || found[..magic] != MAGIC[..magic] {
            return Err(FrameError::Foreign);
        }
        if read < found.len() {
            return Err(FrameError::Truncated);
        }
        let version = u16::from_be_bytes([found[MAGIC.len()], found[MAGIC.len() + 1]]);
        match version {
            0 => Err(FrameError::Damaged("there is no format 0")),
            version if version > FORMAT => Err(FrameError::Newer(version)),
            _ => Ok(Self { input, checksum: digest(&[&found]), offset: found.len() as u64 }),
        }
    }

    /// Goes on where another reader stood; `input` stands there too.
    pub(crate) fn at(input: R, place: FramePlace) -> Self {
        Self { input, checksum: place.checksum, offset: place.offset }
    }

    pub(crate) fn place(&self) -> FramePlace {
        FramePlace { offset: self.offset, checksum: self.checksum }
    }

    pub(crate) fn read(&mut self) -> Result<Frame, FrameError> {
        let mut head = [0; 9];
        self.fill(&mut head)?;
        let length = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize;
        let (plain_bytes, packed_bytes) = (length(1), length(5));
        if plain_bytes > FRAME_BYTES_MAX || packed_bytes > zstd::zstd_safe::compress_bound(FRAME_BYTES_MAX) {
            return Err(FrameError::Damaged("a length is out of bounds"));
        }
        // Read in steps: a damaged length must not make us reserve what the file does not hold.
        let mut packed = Vec::new();
        let read = self.input.by_ref().take(packed_bytes as u64).read_to_end(&mut packed).map_err(FrameError::Io)?;
        if read < packed_bytes {
            return Err(FrameError::Truncated);
        }
        let mut checksum = [0; CHECKSUM_BYTES];
        self.fill(&mut checksum)?;
        if digest(&[&self.checksum, &head, &packed]) != checksum {
            return Err(FrameError::Damaged("the checksum is another"));
        }
        let kind = FrameKind::of(head[0]).ok_or(FrameError::Damaged("a part of an unknown kind"))?;
        self.checksum = checksum;
        self.offset += (head.len() + packed_bytes + CHECKSUM_BYTES) as u64;
        Ok(Frame { kind, plain_bytes, packed })
    }

    /// Nothing follows the last frame.
    pub(crate) fn end(&mut self) -> Result<(), FrameError> {
        match read_up_to(&mut self.input, &mut [0])? {
            0 => Ok(()),
            _ => Err(FrameError::Damaged("something follows the end")),
        }
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), FrameError> {
        if read_up_to(&mut self.input, bytes)? < bytes.len() { Err(FrameError::Truncated) } else { Ok(()) }
    }
}

// === impl Frame ===

impl Frame {
    pub(crate) fn plain(&self) -> Result<Vec<u8>, FrameError> {
        let plain = zstd::bulk::decompress(&self.packed, self.plain_bytes);
        let plain = plain.map_err(|_| FrameError::Damaged("a part cannot be decompressed"))?;
        if plain.len() == self.plain_bytes { Ok(plain) } else { Err(FrameError::Damaged("a part has another length")) }
    }
}

// === impl FrameKind ===

impl FrameKind {
    fn of(byte: u8) -> Option<Self> {
        let all = [Self::Header, Self::ModuleStart, Self::Rows, Self::Entries, Self::ModuleEnd, Self::End];
        all.into_iter().find(|kind| *kind as u8 == byte)
    }
}

fn head() -> Vec<u8> {
    [&MAGIC[..], &FORMAT.to_be_bytes()].concat()
}

fn frame_head(kind: u8, plain_bytes: usize, packed_bytes: usize) -> [u8; 9] {
    let mut head = [kind; 9];
    head[1..5].copy_from_slice(&(plain_bytes as u32).to_be_bytes());
    head[5..].copy_from_slice(&(packed_bytes as u32).to_be_bytes());
    head
}

fn digest(parts: &[&[u8]]) -> Checksum {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let mut checksum = [0; CHECKSUM_BYTES];
    checksum.copy_from_slice(context.finish().as_ref());
    checksum
}

fn read_up_to(input: &mut impl Read, bytes: &mut [u8]) -> Result<usize, FrameError> {
    let mut filled = 0;
    while filled < bytes.len() {
        match input.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(FrameError::Io(error)),
        }
    }
    Ok(filled)
}
