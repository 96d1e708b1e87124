//! The thread that writes: bytes from the recorder, specs as manifests, into files.
//!
//! It may be as slow as the disk is. What waits for it is bounded, and who waits too long is not the engine: the recording
//! ends then, and the file says why.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::files::{Files, OpenError, SEGMENTS};
use super::frame;
use super::reader::{END, EVENTS, Header, SPEC};
use super::recorder::Recorder;
use crate::engine::bytes::Writer;
use crate::model::Tick;
use crate::spec::AutoscalerSpec;
use crate::spec::recorded::{self, Masks};
use crate::telemetry::names;

/// The most that waits for the disk: several seconds of ten thousand autoscalers, ten times a second each.
const MOST_WAITING: u64 = 32 << 20;
/// The release that writes.
const RELEASE: &str = env!("CARGO_PKG_VERSION");

/// On its way to the file.
pub(super) enum Piece {
    /// A new file, which begins at this moment.
    Segment {
        began: Tick,
    },
    Spec {
        number: u64,
        spec: Arc<AutoscalerSpec>,
    },
    Events(Vec<u8>),
    /// The last one, with the reason.
    Stopped(String),
}

/// What both sides know.
#[derive(Default)]
pub(super) struct Shared {
    /// Bytes of events on their way.
    pub(super) waiting: AtomicU64,
    /// Bytes of specs written, ever.
    pub(super) specs: AtomicU64,
    /// Nothing is written any more.
    pub(super) ended: AtomicBool,
}

/// The thread, for whoever waits for the last byte.
pub struct Writing(JoinHandle<()>);

impl Writing {
    /// Waits until everything is written; the [`Recorder`] must be gone.
    pub fn finish(self) {
        // A panic of it was printed, and is no reason for another.
        drop(self.0.join());
    }
}

impl Recorder {
    /// Begins to record into `path`, `most` bytes in all files together. `epoch`: the wall-clock time of [`Tick::ZERO`], and
    /// `recording` a number that no other recording has.
    ///
    /// # Errors
    /// The file cannot be used.
    pub fn start(
        path: &Path,
        most: u64,
        recording: u64,
        epoch: Duration,
        now: Tick,
    ) -> Result<(Recorder, Writing), OpenError> {
        let files = Files::open(path, most)?;
        let (pieces, from_recorder) = mpsc::channel();
        let shared = Arc::new(Shared::default());
        let writer = ToFiles {
            path: path.to_owned(),
            files,
            header: Header { recording, segment: 0, began: now, epoch, release: RELEASE.to_owned() },
            masks: Masks::default(),
            shared: Arc::clone(&shared),
            records: Vec::new(),
        };
        metrics::gauge!(names::RECORDING).set(1.0);
        let failed = |cause| OpenError::Io { path: path.to_owned(), cause };
        let spawned = thread::Builder::new().name("recording".into()).spawn(move || writer.run(&from_recorder));
        let part = most / SEGMENTS as u64;
        // What waits may all come to lie in one segment, whose end was decided on before.
        let recorder = Recorder::new(pieces, shared, part - part / 4, MOST_WAITING.min(part.max(1 << 16)));
        Ok((recorder, Writing(spawned.map_err(failed)?)))
    }
}

struct ToFiles {
    path: PathBuf,
    files: Files,
    /// Of the present segment.
    header: Header,
    masks: Masks,
    shared: Arc<Shared>,
    /// Not written yet.
    records: Vec<u8>,
}

/// Written in one go; more waits for its turn.
const AT_ONCE: usize = 256 << 10;

impl ToFiles {
    fn run(mut self, pieces: &Receiver<Piece>) {
        let ended = self.write_all(pieces);
        self.shared.ended.store(true, Ordering::Release);
        metrics::gauge!(names::RECORDING).set(0.0);
        let path = self.path.display();
        match ended {
            Ok(None) => tracing::info!(%path, "recording complete"),
            Ok(Some(reason)) => {
                tracing::error!(%path, reason, "recording stopped; deciding goes on, and the recording ends at a whole record");
            }
            Err(error) => {
                tracing::error!(
                    %path,
                    error,
                    "recording stopped; deciding goes on, and the recording ends at a whole record"
                );
                // Best effort: a disk that is full may have room for a sentence.
                self.records.clear();
                if !self.files.is_empty() && self.record(END, error.as_bytes()).is_ok() {
                    drop(self.flush());
                }
            }
        }
    }

    /// Until nobody records any more; returns why it stopped before that.
    fn write_all(&mut self, pieces: &Receiver<Piece>) -> Result<Option<String>, String> {
        self.begin()?;
        loop {
            let piece = match pieces.try_recv() {
                Ok(piece) => piece,
                Err(_) => {
                    // Nothing waits: what is there is written before anything else is waited for.
                    self.flush()?;
                    match pieces.recv() {
                        Ok(piece) => piece,
                        Err(_) => {
                            self.record(END, b"")?;
                            self.flush()?;
                            return self.files.sync().map(|()| None).map_err(|error| error.to_string());
                        }
                    }
                }
            };
            match piece {
                Piece::Events(bytes) => {
                    self.shared.waiting.fetch_sub(bytes.len() as u64, Ordering::AcqRel);
                    self.record(EVENTS, &bytes)?;
                }
                Piece::Spec { number, spec } => self.spec(number, &spec)?,
                Piece::Segment { began } => self.next_segment(began)?,
                Piece::Stopped(reason) => {
                    self.record(END, reason.as_bytes())?;
                    self.flush()?;
                    return Ok(Some(reason));
                }
            }
            if self.records.len() >= AT_ONCE {
                self.flush()?;
            }
        }
    }

    /// What cannot be read back is noticed now and not when somebody needs it.
    fn spec(&mut self, number: u64, spec: &AutoscalerSpec) -> Result<(), String> {
        let hidden = self.masks.hide(spec);
        let broken = |why: &str| format!("the spec of {} cannot be recorded: {why}; please report this", spec.id);
        let text = recorded::write(&hidden).map_err(|why| broken(&why))?;
        let again = recorded::read(&text).map_err(|why| broken(&why))?;
        if again != hidden {
            return Err(broken("it reads back as another"));
        }
        let mut body = Writer::default();
        body.number(number);
        body.0.extend_from_slice(text.as_bytes());
        self.shared.specs.fetch_add((frame::HEAD + body.0.len()) as u64, Ordering::AcqRel);
        self.record(SPEC, &body.0)
    }

    fn next_segment(&mut self, began: Tick) -> Result<(), String> {
        self.record(END, b"")?;
        self.flush()?;
        self.files.rotate().map_err(|error| error.to_string())?;
        self.header = Header { segment: self.header.segment + 1, began, ..self.header.clone() };
        self.begin()
    }

    /// Nothing else is ever the first that is written into a file.
    fn begin(&mut self) -> Result<(), String> {
        self.records = frame::opening();
        let header = self.header.payload();
        self.frame(&header)?;
        self.flush()
    }

    fn record(&mut self, kind: u8, body: &[u8]) -> Result<(), String> {
        self.frame(&[&[kind], body].concat())
    }

    fn frame(&mut self, payload: &[u8]) -> Result<(), String> {
        let record = frame::framed(payload).ok_or("a record is longer than one may be")?;
        self.records.extend(record);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), String> {
        if self.records.is_empty() {
            return Ok(());
        }
        self.files.append(&self.records).map_err(|error| error.to_string())?;
        metrics::counter!(names::RECORDED_BYTES).increment(self.records.len() as u64);
        self.records.clear();
        Ok(())
    }
}
