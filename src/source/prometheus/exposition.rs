//! The text that exporters answer with: formats 0.0.4 and OpenMetrics 1.0, read for a few metrics out of many.
//!
//! Reading is in the hot path, so it is ours. A line is held against the names that somebody wants first, as bytes;
//! what nobody wants costs the search for its end, and nothing is allocated for any line. What is read is trusted only
//! as far as it can be: a line that is broken and may be of a wanted metric makes the page an error that says which
//! line, and so does a page that may have lost its end, because a sum over half of it would be too low. A broken line
//! of another metric is nobody's business.
//!
//! The parts: `line` takes a line apart, `text` and `number` what is in it, `pick` holds what is wanted, `everything`
//! reads a whole page for tests.

mod everything;
mod line;
mod number;
mod pick;
mod text;

use std::fmt;

use memchr::memchr;

pub use self::everything::{Exemplar, Line, Metric, Valued, everything, picked};
pub(super) use self::line::Label;
use self::line::Point;
pub(super) use self::pick::{Pick, Picks};
pub(super) use self::text::Raw;

/// The two formats.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// 0.0.4: times are milliseconds.
    Text,
    /// 1.0: times are seconds, and the last line is `# EOF`.
    OpenMetrics,
}

impl Format {
    /// By the answer's `Content-Type`. `Err`: it is a format that is not read here, or no metrics at all.
    ///
    /// # Errors
    /// The type.
    pub fn of(content_type: Option<&str>) -> Result<Self, Broken> {
        let Some(content_type) = content_type else { return Ok(Format::Text) };
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case("application/openmetrics-text") {
            Ok(Format::OpenMetrics)
        } else if essence.eq_ignore_ascii_case("text/html") {
            Err(Broken::Html)
        } else if essence.eq_ignore_ascii_case("application/vnd.google.protobuf") {
            Err(Broken::Protobuf)
        } else {
            // Many exporters say nothing of use; the page itself shows what it is.
            Ok(Format::Text)
        }
    }
}

/// Why a page cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    /// By number, from one.
    Line(usize, &'static str),
    /// Something follows `# EOF`, in this line.
    BeyondTheEnd(usize),
    /// OpenMetrics without `# EOF`, or a last line without its end where nobody knows how long the page was to be.
    Half,
    Html,
    Protobuf,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Line(number, fault) => write!(f, "line {number} of the page is broken: {fault}"),
            Broken::BeyondTheEnd(number) => write!(f, "the page goes on after its `# EOF`, in line {number}"),
            Broken::Half => f.write_str("the page has lost its end: it was cut off on its way, or while it was written"),
            Broken::Html => f.write_str(
                "a web page (HTML) came instead of metrics: is the path right (/metrics, mostly), or is it a login page?",
            ),
            Broken::Protobuf => f.write_str("metrics came in protobuf, which was not asked for"),
        }
    }
}

/// A body, and what is known of it.
#[derive(Clone, Copy, Debug)]
pub struct Page<'p> {
    pub body: &'p [u8],
    pub format: Format,
    /// Whether it is known to be all there (HTTP said how long it is), so that a last line without its end is a bad
    /// habit and not a loss.
    pub whole: bool,
}

/// A series that somebody wants to have a look at.
pub(super) struct Series<'s, 'p> {
    pub(super) name: &'p str,
    pub(super) labels: &'s [Label<'p>],
    pub(super) value: f64,
    /// Seconds since the epoch.
    pub(super) time: Option<f64>,
}

/// Reads `page` for `picks`. `found` is called for each series of a wanted name: with it where it matches, with `None` where its
/// labels are others.
///
/// # Errors
/// The page cannot be trusted; what was found up to then counts for nothing.
pub(super) fn read<'p>(
    page: Page<'p>,
    picks: &'p Picks,
    found: impl FnMut(usize, Option<Series<'_, 'p>>),
) -> Result<(), Broken> {
    Walk::new(page).read(usize::MAX, picks, found).map(|_| ())
}

impl<'p> Walk<'p> {
    /// Reads on as [`read`] does, some `bytes` at most; whether that was all.
    pub(super) fn read(
        &mut self,
        bytes: usize,
        picks: &'p Picks,
        mut found: impl FnMut(usize, Option<Series<'_, 'p>>),
    ) -> Result<bool, Broken> {
        let format = self.page.format;
        let mut labels: Vec<Label<'p>> = Vec::new();
        let mut scratch = Vec::new();
        self.lines(bytes, |line| {
            let Some((name, rest)) = picks.named(line, &mut labels)? else { return Ok(()) };
            let mut point: Option<Point<'_>> = None;
            for pick in picks.of(name) {
                if !picks.matches(pick, &labels, &mut scratch) {
                    found(pick, None);
                    continue;
                }
                let Point { value, time, .. } = match point {
                    Some(point) => point,
                    None => *point.insert(line::point(rest, format)?),
                };
                found(pick, Some(Series { name: picks.name(name), labels: &labels, value, time }));
            }
            Ok(())
        })
    }
}

/// Whether a byte may begin a line.
const fn may_begin(byte: u8) -> bool {
    line::begins_name(byte) || matches!(byte, b'#' | b'{' | b' ' | b'\t')
}

/// A page, and how far it has been read: a large one is read in several turns, so that whoever else is on this thread has
/// theirs.
pub(super) struct Walk<'p> {
    page: Page<'p>,
    rest: &'p [u8],
    /// Of the line that was read last.
    number: usize,
    /// `# EOF` was read.
    ended: bool,
}

impl<'p> Walk<'p> {
    pub(super) fn new(page: Page<'p>) -> Self {
        Walk { page, rest: page.body, number: 0, ended: false }
    }

    /// Gives each line that may be one of a series, without its end and without blanks before it, until some `bytes` have
    /// been read; whether that was all.
    fn lines(
        &mut self,
        bytes: usize,
        mut take: impl FnMut(&'p [u8]) -> Result<(), line::Fault>,
    ) -> Result<bool, Broken> {
        let Page { format, whole, .. } = self.page;
        if self.number == 0 && self.rest.trim_ascii_start().first() == Some(&b'<') {
            return Err(Broken::Html);
        }
        let enough = self.rest.len().saturating_sub(bytes);
        while let Some(first) = self.rest.first().copied() {
            if self.rest.len() <= enough {
                return Ok(false);
            }
            self.number += 1;
            if self.ended {
                return Err(Broken::BeyondTheEnd(self.number));
            }
            let line = match memchr(b'\n', self.rest) {
                Some(end) => {
                    let (line, behind) = self.rest.split_at_checked(end).unwrap_or((self.rest, &[]));
                    self.rest = behind.get(1..).unwrap_or_default();
                    line
                }
                None if !whole && format == Format::Text => return Err(Broken::Half),
                None => std::mem::take(&mut self.rest),
            };
            if first == b'#' {
                self.ended = format == Format::OpenMetrics && line == b"# EOF";
                continue;
            }
            if !may_begin(first) {
                // An empty line is one of 0.0.4; in OpenMetrics it is one too many, and harms nobody.
                if line.is_empty() {
                    continue;
                }
                return Err(Broken::Line(self.number, "it begins with neither a name nor a number sign"));
            }
            let line = if matches!(first, b' ' | b'\t') { line::skip_blanks(line) } else { line };
            take(line).map_err(|fault| Broken::Line(self.number, fault))?;
        }
        if format == Format::OpenMetrics && !self.ended { Err(Broken::Half) } else { Ok(true) }
    }
}

/// All lines in one go.
fn lines<'p>(page: Page<'p>, take: impl FnMut(&'p [u8]) -> Result<(), line::Fault>) -> Result<(), Broken> {
    Walk::new(page).lines(usize::MAX, take).map(|_| ())
}

/// Names of the page that are like `wanted`, the likest first: what somebody may have meant.
pub(super) fn near<'p>(page: Page<'p>, wanted: &str) -> Vec<&'p str> {
    /// More are no help.
    const SHOWN: usize = 3;
    let mut names: Vec<&str> = Vec::new();
    // A page that breaks off has names up to there.
    let _ = lines(page, |line| {
        let name = match line {
            [b'{', within @ ..] => line::named(within, &mut Vec::new()).ok().map(|(name, _)| name),
            _ => line::name(line).map(|(name, _)| Raw::plain(name)),
        };
        if let Some(name) = name.and_then(Raw::borrowed)
            && names.last() != Some(&name)
        {
            names.push(name);
        }
        Ok(())
    });
    names.sort_unstable();
    names.dedup();
    let mut likely: Vec<(usize, &str)> =
        names.into_iter().filter_map(|name| Some((pick::distance(name, wanted)?, name))).collect();
    likely.sort_unstable();
    likely.into_iter().take(SHOWN).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests;
