//! Log lines that callers can cause at will: a few, and then a count instead of the rest.
//!
//! Whoever can call can make metadata up, and a log that grows with every call fills a disk, or the bill of whoever
//! keeps it, and hides the lines that matter.

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use metrics::{Counter, counter};

use crate::model::Tick;
use crate::telemetry::names;

/// Lines at once: a new installation's mistakes are seen together, and a flood is not.
const BURST: u32 = 100;

/// Lines after that, one for each of these: some 4 MiB an hour at [`LONGEST`], at the very most.
const EVERY: Duration = Duration::from_secs(1);

/// Bytes of a text of a caller's that a line quotes. The longest names of Kubernetes are 253; a problem with its cure
/// has room; four mebibytes of metadata do not.
pub const LONGEST: usize = 1_024;

/// One kind of line, rate-limited: a bucket of tokens, and the count of lines that found none.
pub struct Flood {
    bucket: Mutex<Bucket>,
    left_out: Counter,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: u32,
    /// Until when tokens have been added.
    filled: Tick,
    /// Lines left out since one was written.
    left_out: u64,
}

impl Flood {
    /// `about` is a value of the label of that name. Makes a metric handle: install the recorder first.
    #[must_use]
    pub fn new(about: &'static str) -> Self {
        Flood {
            bucket: Mutex::new(Bucket { tokens: BURST, filled: Tick::ZERO, left_out: 0 }),
            left_out: counter!(names::LOG_LINES_LEFT_OUT, "about" => about),
        }
    }

    /// Whether a line may be written at `now`: `Some` of how many were left out since the last one, for the line to
    /// say, or `None` where it is to be left out.
    pub fn admit(&self, now: Tick) -> Option<u64> {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let admitted = bucket.admit(now);
        if admitted.is_none() {
            self.left_out.increment(1);
        }
        admitted
    }
}

impl Bucket {
    fn admit(&mut self, now: Tick) -> Option<u64> {
        let earned = now.since(self.filled).as_nanos() / EVERY.as_nanos();
        match u32::try_from(earned) {
            Ok(earned) if earned < BURST - self.tokens => {
                self.tokens += earned;
                self.filled = self.filled.after(EVERY * earned);
            }
            // Full; what is beyond is not saved up.
            _ => {
                self.tokens = BURST;
                self.filled = now.max(self.filled);
            }
        }
        if self.tokens == 0 {
            self.left_out = self.left_out.saturating_add(1);
            return None;
        }
        self.tokens -= 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

/// The beginning of a caller's text, as long as a log line may quote it.
#[must_use]
pub fn clipped(text: &str) -> Cow<'_, str> {
    if text.len() <= LONGEST {
        return Cow::Borrowed(text);
    }
    let kept = text.get(..text.floor_char_boundary(LONGEST)).unwrap_or_default();
    Cow::Owned(format!("{kept}... ({} bytes in all)", text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flood() -> Flood {
        Flood::new(names::FLOOD_KEDA_METADATA)
    }

    fn at(seconds: u64) -> Tick {
        Tick::from_millis(1_000_000 + seconds * 1_000)
    }

    #[test]
    fn a_burst_is_written_and_the_rest_is_counted() {
        let flood = flood();
        let written = (0..1_000).filter(|_| flood.admit(at(0)) == Some(0)).count();
        assert_eq!(written, 100);
        assert_eq!(flood.admit(at(1)), Some(900), "the next line says how many were left out");
        assert_eq!(flood.admit(at(1)), None);
        assert_eq!(flood.admit(at(2)), Some(1));
    }

    #[test]
    fn an_hour_of_flood_is_a_line_a_second() {
        let flood = flood();
        let (mut written, mut told) = (0_u64, 0);
        for step in 0..36_000_u64 {
            if let Some(left_out) = flood.admit(Tick::from_millis(1_000_000 + step * 100)) {
                written += 1;
                told += left_out;
            }
        }
        assert!((3_600..=3_700).contains(&written), "{written}");
        assert!(written + told >= 36_000 - 10, "none is forgotten: {written} + {told}");
    }

    #[test]
    fn quiet_fills_the_bucket_and_no_more() {
        let flood = flood();
        assert_eq!((0..200).filter(|_| flood.admit(at(0)).is_some()).count(), 100);
        assert_eq!((0..200).filter(|_| flood.admit(at(50)).is_some()).count(), 50);
        assert_eq!((0..200).filter(|_| flood.admit(at(100_000)).is_some()).count(), 100);
        // A clock that another thread read a little earlier.
        assert!(flood.admit(at(99_999)).is_none());
    }

    #[test]
    fn long_texts_are_clipped_between_characters() {
        assert_eq!(clipped("short"), "short");
        let long = "ü".repeat(600);
        assert_eq!(clipped(&long), format!("{}... (1200 bytes in all)", "ü".repeat(512)));
        let odd = format!("x{long}");
        assert_eq!(clipped(&odd), format!("x{}... (1201 bytes in all)", "ü".repeat(511)));
    }
}
