//! `tidegate replay`: decide again what was recorded, and compare; and the flags with which `run` and `demo` record.

mod print;

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::bail;
use clap::Args;

use crate::app::RecordTo;
use crate::files;
use crate::record::{Changed, Changes, Replay, Segment};
use crate::spec::limits::Limits;
use crate::spec::load::{Loaded, Terms, load};

/// Where what the engine is given is written down.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Recording")]
pub struct RecordArgs {
    /// Write down every event that decisions are made of, and the decisions, for tidegate replay. A FILE that is there
    /// already becomes FILE.1. Secrets are not in it; names of servers, queues and workloads are.
    #[arg(long, value_name = "FILE", env = "TIDEGATE_RECORD")]
    pub record: Option<PathBuf>,
    /// How long all files of the recording may be together: eight, FILE being the newest and FILE.7 the oldest. A sample
    /// takes 15 to 30 bytes, an autoscaler some 800 in each file.
    #[arg(long, value_name = "BYTES", env = "TIDEGATE_RECORD_MAX_BYTES", default_value = "256Mi", value_parser = bytes)]
    pub record_max_bytes: u64,
}

impl RecordArgs {
    pub(super) fn to(self) -> Option<RecordTo> {
        let RecordArgs { record, record_max_bytes } = self;
        record.map(|path| RecordTo { path, most: record_max_bytes })
    }
}

/// Less than this has no room for eight files that say anything.
const LEAST_BYTES: u64 = 1 << 20;

/// A number of bytes, with Ki, Mi or Gi behind it or without.
fn bytes(text: &str) -> Result<u64, String> {
    let units = [("Ki", 10), ("Mi", 20), ("Gi", 30)];
    let unit = units.iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift)));
    let (number, shift) = unit.unwrap_or((text, 0));
    let number: u64 = number.parse().map_err(|_| "write a number of bytes, e.g. 256Mi".to_owned())?;
    let bytes = number.checked_mul(1 << shift).ok_or("that is more than any disk holds; e.g. 256Mi")?;
    if bytes < LEAST_BYTES { Err("write at least 1Mi".to_owned()) } else { Ok(bytes) }
}

/// Decides again what was recorded with --record, and compares each decision, byte for byte.
///
/// With -f, also what the manifests there would have decided in place of the recorded ones of the same names. The world
/// of the recording did not react to those decisions: its queues are as long, and its replicas as many, as they really
/// were. So it shows what would have been decided at each moment, and not what would have come of it.
///
/// Exit code 0: every decision is identical, and no autoscaler's decisions changed beyond --max-changed. Otherwise 1.
#[derive(Clone, Debug, Args)]
pub struct ReplayArgs {
    /// Recordings: FILE, and the older FILE.1, FILE.2 .. if they are to count, too. In any order.
    #[arg(value_name = "RECORDING", required = true)]
    pub recordings: Vec<PathBuf>,
    /// Manifests that stand in for the recorded ones of the same names: a file, a folder of them, or - for standard
    /// input. May be repeated.
    #[arg(short = 'f', long = "file", value_name = "PATH")]
    pub files: Vec<PathBuf>,
    /// Fail if more of any autoscaler's decisions than this want another number of replicas: a share (5%) or a count (10).
    #[arg(long, value_name = "LIMIT", requires = "files")]
    pub max_changed: Option<Threshold>,
    /// How to print what was found.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// How many decisions may differ.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Threshold {
    /// 0 to 1.
    Share(f64),
    Count(u64),
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write a share, e.g. 5% or 0.1%, or a count of decisions, e.g. 10".to_owned();
        match text.strip_suffix('%') {
            Some(percent) => {
                let percent: f64 = percent.trim().parse().map_err(|_| wrong())?;
                if (0.0..=100.0).contains(&percent) { Ok(Threshold::Share(percent / 100.0)) } else { Err(wrong()) }
            }
            None => text.parse().map(Threshold::Count).map_err(|_| wrong()),
        }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Threshold::Share(share) => write!(f, "{}%", share * 100.0),
            Threshold::Count(count) => fmt::Display::fmt(count, f),
        }
    }
}

impl Threshold {
    fn is_exceeded_by(self, changed: &Changed) -> bool {
        match self {
            Threshold::Share(share) => changed.share() > share,
            Threshold::Count(count) => changed.differing > count,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// Recordings or manifests that cannot be read.
pub fn run(args: &ReplayArgs) -> anyhow::Result<ExitCode> {
    let ReplayArgs { recordings, files, max_changed, output } = args;
    let mut segments = recordings.iter().map(|path| Segment::open(path)).collect::<Result<Vec<_>, _>>()?;
    // By the wall, because the ticks of one process mean nothing in another.
    segments.sort_by_key(|segment| {
        let header = segment.header();
        (header.wall(header.began), header.segment)
    });
    let mut replay = if files.is_empty() { Replay::new() } else { Replay::under(Changes::new(&changed(files)?)) };
    let mut parts = Vec::new();
    for segment in segments {
        parts.push(replay.segment(&segment)?);
    }
    let found =
        print::Findings { parts: &parts, found: replay.found(), changes: replay.changes(), limit: *max_changed };
    print::print(&found, *output)?;
    Ok(if found.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The manifests of `-f`; where they lead to does not matter, because nobody goes there.
fn changed(paths: &[PathBuf]) -> anyhow::Result<Vec<std::sync::Arc<crate::spec::AutoscalerSpec>>> {
    let set = files::read(paths).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("{}", lines.join("\n"))
    })?;
    let limits = Limits { autoscalers_per_namespace: usize::MAX, ..Limits::default() };
    match load(&files::texts(&set), &Terms { limits, ..Terms::default() }) {
        Ok(Loaded { autoscalers, .. }) if autoscalers.is_empty() => bail!("the manifests declare no QueueAutoscaler"),
        Ok(Loaded { autoscalers, .. }) => Ok(autoscalers),
        Err(problems) => bail!("the manifests cannot be used:\n{problems}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_and_sizes_are_read_as_people_write_them() {
        assert_eq!("5%".parse(), Ok(Threshold::Share(0.05)));
        assert_eq!("0".parse(), Ok(Threshold::Count(0)));
        for wrong in ["", "%", "-1%", "101%", "nan%", "1.5", "five"] {
            assert!(wrong.parse::<Threshold>().is_err(), "{wrong}");
        }
        assert_eq!(bytes("256Mi"), Ok(256 << 20));
        assert_eq!(bytes("2097152"), Ok(2 << 20));
        for wrong in ["", "1Ki", "1048575", "Mi", "1.5Gi", "99999999999999999999Gi", "18446744073709551615Gi"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
}
