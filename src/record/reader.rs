//! A segment as it lies in a file, read back: what was recorded, and how it ended.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use super::codec::{Decoder, Happened};
use super::frame::{self, Found, MAGIC, VERSION};
use crate::engine::bytes::{Reader, Writer};
use crate::model::Tick;
use crate::spec::{AutoscalerSpec, recorded};

// The first byte of a payload.
pub(super) const HEADER: u8 = b'H';
pub(super) const SPEC: u8 = b'S';
pub(super) const EVENTS: u8 = b'E';
pub(super) const END: u8 = b'X';

/// Why a file cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("cannot read {path}: {cause}", path = path.display())]
    Read { path: PathBuf, cause: io::Error },
    #[error("{path} is a folder; name the files in it, e.g. {path}/*", path = path.display())]
    Folder { path: PathBuf },
    #[error("{path} is not a recording; one is written by tidegate run --record FILE", path = path.display())]
    Foreign { path: PathBuf },
    #[error(
        "{path} has version {version} of the format, and this release reads {VERSION}; replay it with a release that wrote such",
        path = path.display()
    )]
    Version { path: PathBuf, version: u8 },
    #[error("{path} ends before its first record: nothing was recorded", path = path.display())]
    Empty { path: PathBuf },
    #[error(
        "{path} is damaged at byte {offset} of {length} ({what}), and what follows cannot be trusted; \
         take a copy that is whole, or cut it there (truncate -s {offset} FILE) and replay what comes before",
        path = path.display()
    )]
    Damaged { path: PathBuf, offset: usize, length: usize, what: String },
}

/// What every segment begins with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// The same in all segments of one process.
    pub recording: u64,
    /// Of the segments of one process, counted from 0.
    pub segment: u64,
    /// When the segment begins.
    pub began: Tick,
    /// The wall-clock time of [`Tick::ZERO`], since the epoch: only its differences to ticks mean anything.
    pub epoch: Duration,
    /// The release that wrote it.
    pub release: String,
}

impl Header {
    pub(super) fn payload(&self) -> Vec<u8> {
        let mut out = Writer(vec![HEADER]);
        out.number(self.recording);
        out.number(self.segment);
        out.tick(self.began);
        out.whole_duration(self.epoch);
        out.bytes(self.release.as_bytes());
        out.0
    }

    fn read(payload: &[u8]) -> Option<Self> {
        let mut input = Reader(payload.strip_prefix(&[HEADER])?);
        let (recording, segment, began) = (input.number()?, input.number()?, input.tick()?);
        Some(Header { recording, segment, began, epoch: input.whole_duration()?, release: input.text()?.to_owned() })
    }

    /// Since the epoch, by the clock that the process began with.
    #[must_use]
    pub fn wall(&self, tick: Tick) -> Duration {
        self.epoch.saturating_add(Duration::from_nanos(tick.as_nanos()))
    }
}

/// How a segment ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ending {
    /// The process ended, or the next segment begins.
    Complete,
    /// Recording stopped while the process went on, for this reason.
    Stopped(String),
    /// Without a word, at a whole record: the process was killed, or still writes.
    Open,
    /// In the middle of a record; this many bytes are left out.
    Torn { left_out: usize },
}

/// A segment in memory.
pub struct Segment {
    path: PathBuf,
    bytes: Vec<u8>,
    header: Header,
    /// Of the first record after the header.
    first: usize,
}

impl Segment {
    /// Reads a file, up to its header.
    ///
    /// # Errors
    /// It cannot be read, or is no recording that this release reads.
    pub fn open(path: &Path) -> Result<Self, RecordError> {
        let path = path.to_owned();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(_) if path.is_dir() => return Err(RecordError::Folder { path }),
            Err(cause) => return Err(RecordError::Read { path, cause }),
        };
        let Some(rest) = bytes.strip_prefix(MAGIC) else {
            // A process that was killed as it began.
            return Err(if MAGIC.starts_with(&bytes) {
                RecordError::Empty { path }
            } else {
                RecordError::Foreign { path }
            });
        };
        let first = MAGIC.len() + 1;
        let payload = match rest.split_first() {
            None => return Err(RecordError::Empty { path }),
            Some((&version, _)) if version != VERSION => return Err(RecordError::Version { path, version }),
            Some((_, records)) => frame::next(records),
        };
        let payload = match payload {
            Found::Record(payload) => payload,
            Found::End | Found::Torn => return Err(RecordError::Empty { path }),
            Found::Corrupt => return Err(damaged(&path, &bytes, first, "its header is not what was written")),
        };
        let Some(header) = Header::read(payload) else {
            return Err(damaged(&path, &bytes, first, "its header cannot be read"));
        };
        let first = first + frame::taken(payload);
        Ok(Segment { path, bytes, header, first })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Hands over everything that happened, in order, each with the spec that its number means where it has one.
    ///
    /// # Errors
    /// Something is damaged; what comes before was handed over.
    pub fn each(
        &self,
        mut take: impl FnMut(Happened, Option<&Arc<AutoscalerSpec>>) -> Result<(), String>,
    ) -> Result<Ending, RecordError> {
        let mut at = self.first;
        let mut decoder = Decoder::default();
        let mut specs: HashMap<u64, Arc<AutoscalerSpec>> = HashMap::new();
        loop {
            let rest = self.bytes.get(at..).unwrap_or_default();
            let wrong = |what: &str| damaged(&self.path, &self.bytes, at, what);
            let payload = match frame::next(rest) {
                Found::Record(payload) => payload,
                Found::End => return Ok(Ending::Open),
                Found::Torn => return Ok(Ending::Torn { left_out: rest.len() }),
                Found::Corrupt => return Err(wrong("a record is not what was written")),
            };
            match payload.split_first() {
                Some((&SPEC, body)) => {
                    let mut input = Reader(body);
                    let number = input.number().ok_or_else(|| wrong("a spec has no number"))?;
                    let text = std::str::from_utf8(input.0).map_err(|_| wrong("a spec is no text"))?;
                    let spec = recorded::read(text).map_err(|why| wrong(&format!("a spec cannot be read: {why}")))?;
                    specs.insert(number, Arc::new(spec));
                }
                Some((&EVENTS, body)) => {
                    let mut input = Reader(body);
                    while !input.0.is_empty() {
                        let happened = decoder.next(&mut input).ok_or_else(|| wrong("an event cannot be read"))?;
                        let spec = match number_of_spec(&happened) {
                            None => None,
                            Some(number) => Some(specs.get(&number).ok_or_else(|| wrong("a spec is missing"))?),
                        };
                        take(happened, spec).map_err(|why| wrong(&why))?;
                    }
                }
                Some((&END, [])) => return Ok(Ending::Complete),
                Some((&END, reason)) => return Ok(Ending::Stopped(String::from_utf8_lossy(reason).into_owned())),
                _ => return Err(wrong("a record of a kind that this release does not know")),
            }
            at += frame::taken(payload);
        }
    }
}

fn number_of_spec(happened: &Happened) -> Option<u64> {
    use super::codec::Entry;
    match happened.entry {
        Entry::Snapshot { spec, .. } | Entry::Spec { spec, .. } => Some(spec),
        _ => None,
    }
}

fn damaged(path: &Path, bytes: &[u8], offset: usize, what: &str) -> RecordError {
    RecordError::Damaged { path: path.to_owned(), offset, length: bytes.len(), what: what.to_owned() }
}
