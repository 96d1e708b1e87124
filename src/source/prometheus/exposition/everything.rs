//! A whole page, every line of it: for tests that hold our reading against that of others, and for fuzzers. Whoever polls
//! has no use for most of it.

use super::line::{self, Fault, Label};
use super::text::{self, Raw};
use super::{Broken, Format, Page, Pick, Picks, lines};
use crate::spec::LabelMatcher;

/// What one line says.
#[derive(Clone, PartialEq, Debug)]
pub enum Line {
    Help { metric: String, text: String },
    Type { metric: String, of: String },
    Unit { metric: String, unit: String },
    Series(Metric),
}

/// One series.
#[derive(Clone, PartialEq, Debug)]
pub struct Metric {
    pub name: String,
    /// In the order of the page.
    pub labels: Vec<(String, String)>,
    pub value: f64,
    /// Seconds since the epoch.
    pub time: Option<f64>,
    pub exemplar: Option<Exemplar>,
}

/// One observation out of those that a series counts.
#[derive(Clone, PartialEq, Debug)]
pub struct Exemplar {
    pub labels: Vec<(String, String)>,
    pub value: f64,
    pub time: Option<f64>,
}

/// Reads all lines of `page` but mere comments.
///
/// # Errors
/// Some line is broken, be it of whichever metric.
#[doc(hidden)]
pub fn everything(page: Page<'_>) -> Result<Vec<Line>, Broken> {
    let mut found = Vec::new();
    // The same walk as in the hot path, which skips what begins with a number sign; its lines are found by their number.
    lines(page, |line| {
        // Blanks may stand before a comment, too.
        if !line.is_empty() && line.first() != Some(&b'#') {
            found.push(Line::Series(series(line, page.format)?));
        }
        Ok(())
    })?;
    let described = comments(page)?;
    found.extend(described);
    Ok(found)
}

fn comments(page: Page<'_>) -> Result<Vec<Line>, Broken> {
    let mut found = Vec::new();
    for (position, line) in page.body.split(|byte| *byte == b'\n').enumerate() {
        if let [b'#', rest @ ..] = line::skip_blanks(line)
            && let Some(line) = comment(rest, page.format).map_err(|fault| Broken::Line(position + 1, fault))?
        {
            found.push(line);
        }
    }
    Ok(found)
}

fn owned(labels: &[Label<'_>]) -> Vec<(String, String)> {
    labels.iter().map(|(name, value)| (name.text(), value.text())).collect()
}

fn series(line: &[u8], format: Format) -> Result<Metric, Fault> {
    let mut labels = Vec::new();
    let (name, rest) = match line {
        [b'{', within @ ..] => line::named(within, &mut labels)?,
        _ => {
            let (name, rest) = line::name(line).ok_or("it begins with no name")?;
            if !matches!(rest.first(), Some(b' ' | b'\t' | b'{')) {
                return Err("neither labels nor a value follow the name");
            }
            (Raw::plain(name), line::labels(rest, &mut labels)?)
        }
    };
    let point = line::point(rest, format)?;
    let exemplar = match point.exemplar {
        None => None,
        Some(rest) => {
            let mut labels = Vec::new();
            let point = line::exemplar(rest, &mut labels)?;
            Some(Exemplar { labels: owned(&labels), value: point.value, time: point.time })
        }
    };
    Ok(Metric { name: name.text(), labels: owned(&labels), value: point.value, time: point.time, exemplar })
}

/// What stands behind a number sign; `None`: a mere comment.
fn comment(rest: &[u8], format: Format) -> Result<Option<Line>, Fault> {
    const TYPES: [&[u8]; 9] = [
        b"counter",
        b"gauge",
        b"histogram",
        b"summary",
        b"untyped",
        b"unknown",
        b"info",
        b"stateset",
        b"gaugehistogram",
    ];
    let (word, rest) = word(rest);
    if !matches!(word, b"HELP" | b"TYPE" | b"UNIT") || (word == b"UNIT" && format == Format::Text) {
        return Ok(None);
    }
    let (metric, rest) = match line::skip_blanks(rest) {
        [b'"', behind @ ..] => Raw::quoted(behind).ok_or("a quote is not closed")?,
        other => line::name(other).map(|(name, rest)| (Raw::plain(name), rest)).ok_or("it describes no metric")?,
    };
    let metric = metric.text();
    let said = match rest {
        [] => rest,
        [b' ' | b'\t', ..] => line::skip_blanks(rest),
        _ => return Err("the name of the metric is none"),
    };
    let plain = || String::from_utf8_lossy(said).into_owned();
    Ok(Some(match word {
        b"HELP" => Line::Help { metric, text: text::help(said, format == Format::OpenMetrics) },
        b"UNIT" => Line::Unit { metric, unit: plain() },
        _ if !TYPES.contains(&said.trim_ascii_end()) => return Err("there is no such type"),
        _ => Line::Type { metric, of: plain().trim_end().to_owned() },
    }))
}

fn word(rest: &[u8]) -> (&[u8], &[u8]) {
    let rest = line::skip_blanks(rest);
    let end = rest.iter().position(|byte| matches!(byte, b' ' | b'\t')).unwrap_or(rest.len());
    rest.split_at_checked(end).unwrap_or((rest, &[]))
}

/// A value, and its time in seconds since the epoch.
pub type Valued = (f64, Option<f64>);

/// Values and times of the series of one metric, read as whoever polls reads them: for tests, benchmarks and fuzzers.
///
/// # Errors
/// The page cannot be trusted, or a matcher is none.
#[doc(hidden)]
pub fn picked(page: Page<'_>, metric: &str, matchers: &[LabelMatcher]) -> Result<Vec<Valued>, Result<Broken, String>> {
    let picks = Picks::new(vec![Pick::new(metric, matchers).map_err(Err)?]);
    let mut found = Vec::new();
    super::read(page, &picks, |_, series| found.extend(series.map(|series| (series.value, series.time))))
        .map_err(Ok)?;
    Ok(found)
}
