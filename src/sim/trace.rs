//! Recorded workloads, as engineers export them, made into what the simulator replays: when each item came and, where
//! the export knows, how long it took.
//!
//! ```text
//!   file ──► detect ──┬─ csv, ndjson ──► table ──┬──► events ───────────────────────┐
//!                     ├─ swf ────────────────────┘                                  ├──► Trace
//!                     ├─ prometheus, cloudwatch ─┬──► series ──► flow ──► spread ───┤
//!                     │        (and table) ──────┘              (depth)             │
//!                     └─ counts ────────────────────────────────────────────────────┘
//! ```
//!
//! Three rules hold for all formats. Nothing is made up: where nothing was recorded there is a gap. Nothing is silent:
//! what was assumed, repaired or left out is in [`Trace::notes`]. And what is wrong is told at once, with its line and
//! its cure ([`TraceErrors`]).

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::ops::Range;
use std::path::Path;

mod cloudwatch;
mod columns;
mod counts;
mod csv;
mod depth;
mod detect;
mod events;
mod flow;
mod names;
mod ndjson;
mod options;
mod prometheus;
mod roles;
mod series;
mod spread;
mod swf;
mod table;
mod time;
mod wrong;

#[cfg(test)]
mod tests;

pub use options::{Options, Role, Rows, SecondsPerToken, Spread, Stamp, Unit};
pub use wrong::{Problem, TraceErrors};

use wrong::Wrong;

/// What a file is written in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Format {
    /// Named columns between commas, semicolons or tabs; a row is a moment or an item.
    Csv,
    /// A JSON object per line; a line is a moment or an item.
    Ndjson,
    /// Answers of Prometheus' `query_range`, one or several after each other.
    Prometheus,
    /// Answers of CloudWatch's `get-metric-data`.
    CloudWatch,
    /// Counts per bin, and nothing else.
    Counts,
    /// Standard Workload Format, of batch systems.
    Swf,
}

impl Format {
    pub const ALL: [Format; 6] =
        [Format::Csv, Format::Ndjson, Format::Prometheus, Format::CloudWatch, Format::Counts, Format::Swf];

    pub fn name(self) -> &'static str {
        match self {
            Format::Csv => "csv",
            Format::Ndjson => "ndjson",
            Format::Prometheus => "prometheus",
            Format::CloudWatch => "cloudwatch",
            Format::Counts => "counts",
            Format::Swf => "swf",
        }
    }

    pub fn named(name: &str) -> Option<Format> {
        Format::ALL.into_iter().find(|format| format.name() == name)
    }
}

/// A workload, ready to be replayed. Times are ns since the trace's first moment.
#[derive(Clone, PartialEq, Debug)]
pub struct Trace {
    pub name: String,
    pub origin: Format,
    /// Sorted, none after `span`.
    pub arrivals: Vec<u64>,
    /// ns of work, one for each arrival, where the export has them.
    pub services: Option<Vec<u64>>,
    /// Length of the recording.
    pub span: u64,
    /// Nothing is known there: no arrivals are made up. In order, within `span`.
    pub gaps: Vec<Range<u64>>,
    /// Of a reconstruction: least and most that can have come.
    pub uncertainty: Option<Band>,
    /// What was assumed, repaired and left out.
    pub notes: Vec<String>,
    /// Where recorded, for display.
    pub replicas: Option<Vec<(u64, f64)>>,
    /// Where recorded, for display.
    pub depth: Option<Vec<(u64, f64)>>,
}

impl Trace {
    fn new(name: &str, origin: Format) -> Self {
        Trace {
            name: name.to_owned(),
            origin,
            arrivals: Vec::new(),
            services: None,
            span: 0,
            gaps: Vec::new(),
            uncertainty: None,
            notes: Vec::new(),
            replicas: None,
            depth: None,
        }
    }
}

/// Arrivals at both ends of what is possible; `Trace::arrivals` lie between.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Band {
    pub low: Vec<u64>,
    pub high: Vec<u64>,
}

/// One import: what all importers are given.
struct Job<'a> {
    name: &'a str,
    options: &'a Options,
}

/// Enough to tell formats apart.
const HEAD: u64 = 64 << 10;

/// The trace in a file. Rows are read as they are parsed; JSON answers, which are one value, are held once.
pub fn read(path: &Path, options: &Options) -> Result<Trace, TraceErrors> {
    let name = path.display().to_string();
    let mut wrong = Wrong::new(&name);
    let opened = File::open(path)
        .and_then(|file| if file.metadata()?.is_dir() { Err(io::ErrorKind::IsADirectory.into()) } else { Ok(file) });
    let mut head = Vec::new();
    let (file, size) = match opened.and_then(|mut file| {
        file.by_ref().take(HEAD).read_to_end(&mut head)?;
        let size = file.metadata()?.len();
        Ok((file, size))
    }) {
        Ok(file) => file,
        Err(error) => {
            wrong.file(format!("it cannot be read: {error}"), "name a file that this user may read");
            return finish(None, wrong);
        }
    };
    // Pipes have no size: what comes out of them is measured on the way.
    let rest = options.max_bytes.saturating_add(1).saturating_sub(size_of(&head));
    let mut rest = BufReader::with_capacity(1 << 18, file.take(rest));
    let mut input = head.as_slice().chain(&mut rest);
    if size > options.max_bytes {
        too_large(options, &mut wrong);
        return finish(None, wrong);
    }
    let job = Job { name: &name, options };
    let trace = import(&job, &head, &mut input, &mut wrong);
    if rest.get_ref().limit() == 0 {
        wrong = Wrong::new(&name);
        too_large(options, &mut wrong);
    }
    finish(trace, wrong)
}

/// The trace in a text; `name` is what problems call it.
pub fn parse(name: &str, text: &[u8], options: &Options) -> Result<Trace, TraceErrors> {
    let mut wrong = Wrong::new(name);
    if size_of(text) > options.max_bytes {
        too_large(options, &mut wrong);
        return finish(None, wrong);
    }
    let head = usize::try_from(HEAD).ok().and_then(|end| text.get(..end)).unwrap_or(text);
    let trace = import(&Job { name, options }, head, &mut &*text, &mut wrong);
    finish(trace, wrong)
}

fn import(job: &Job<'_>, head: &[u8], input: &mut dyn BufRead, wrong: &mut Wrong) -> Option<Trace> {
    let head = match head.strip_prefix(b"\xef\xbb\xbf") {
        Some(rest) => {
            // A byte order mark is of the file, not of its first word.
            input.read_exact(&mut [0; 3]).ok()?;
            rest
        }
        None => head,
    };
    if head.trim_ascii().is_empty() && size_of(head) < HEAD - 3 {
        wrong.file("it is empty", "export again; is the time range right?");
        return None;
    }
    match job.options.format.or_else(|| detect::format(head, wrong))? {
        Format::Csv => csv::import(job, head, input, wrong),
        Format::Ndjson => ndjson::import(job, input, wrong),
        Format::Prometheus => prometheus::import(job, input, wrong),
        Format::CloudWatch => cloudwatch::import(job, input, wrong),
        Format::Counts => counts::import(job, input, wrong),
        Format::Swf => swf::import(job, input, wrong),
    }
}

fn size_of(text: &[u8]) -> u64 {
    u64::try_from(text.len()).unwrap_or(u64::MAX)
}

fn too_large(options: &Options, wrong: &mut Wrong) {
    wrong.file(format!("it is larger than {} bytes", options.max_bytes), "export a shorter time or fewer columns");
}

/// A trace, or what is wrong with it: never neither.
fn finish(trace: Option<Trace>, mut wrong: Wrong) -> Result<Trace, TraceErrors> {
    if trace.is_none() && wrong.is_empty() {
        wrong.file("no trace can be made of it", "is it complete?");
    }
    wrong.finish()?;
    trace.ok_or_else(|| TraceErrors { problems: Vec::new(), more: 1 })
}

/// One line after another without holding more than one. The line and its number go to `each`, which says whether to go
/// on; false if reading failed.
fn lines(input: &mut dyn BufRead, wrong: &mut Wrong, mut each: impl FnMut(u64, &[u8], &mut Wrong) -> bool) -> bool {
    let mut text = Vec::new();
    for number in 1u64.. {
        text.clear();
        match input.read_until(b'\n', &mut text) {
            Ok(0) => break,
            Ok(_) if each(number, text.trim_ascii(), wrong) => {}
            Ok(_) => break,
            Err(error) => {
                unreadable(&error, wrong);
                return false;
            }
        }
    }
    true
}

/// All of it, for formats that are one value.
fn whole(input: &mut dyn BufRead, wrong: &mut Wrong) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    match input.read_to_end(&mut text) {
        Ok(_) => Some(text),
        Err(error) => {
            unreadable(&error, wrong);
            None
        }
    }
}

fn unreadable(error: &io::Error, wrong: &mut Wrong) {
    wrong.file(format!("it cannot be read to its end: {error}"), "copy it to this machine first");
}
