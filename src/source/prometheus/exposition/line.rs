//! One line of a page, taken apart.
//!
//! Both formats are read alike: blanks may stand where the older one allows them, and so may a comma after the last
//! label, because neither leaves in doubt what is meant. What differs is the time, and only that.

use super::Format;
use super::number;
use super::text::Raw;

/// A label's name and value.
pub(in crate::source::prometheus) type Label<'p> = (Raw<'p>, Raw<'p>);

/// What a line says of one series, besides its name and labels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point<'p> {
    pub(super) value: f64,
    /// Seconds since the epoch.
    pub(super) time: Option<f64>,
    /// What stands behind the number sign.
    pub(super) exemplar: Option<&'p [u8]>,
}

/// Why a line cannot be read.
pub(super) type Fault = &'static str;

const UNCLOSED: Fault = "a quote or a brace is not closed";
const NO_NUMBER: Fault = "the value is no number";
const NO_TIME: Fault = "what follows the value is no time";

/// May begin the name of a metric.
pub(super) const fn begins_name(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || matches!(byte, b'_' | b':')
}

pub(super) const fn is_in_name(byte: u8) -> bool {
    begins_name(byte) || byte.is_ascii_digit()
}

/// The name at the beginning of `line`, and the rest.
pub(super) fn name(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let begins = line.first().is_some_and(|byte| begins_name(*byte));
    let end = line.iter().position(|byte| !is_in_name(*byte)).unwrap_or(line.len());
    if begins { line.split_at_checked(end) } else { None }
}

pub(super) fn skip_blanks(mut rest: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', behind @ ..] = rest {
        rest = behind;
    }
    rest
}

/// Up to the next blank, and from there on.
fn token(rest: &[u8]) -> (&[u8], &[u8]) {
    let end = rest.iter().position(|byte| matches!(byte, b' ' | b'\t')).unwrap_or(rest.len());
    rest.split_at_checked(end).unwrap_or((rest, &[]))
}

/// Reads the labels of what stands behind a name, if there are any, into `labels`; returns what follows them.
pub(super) fn labels<'p>(rest: &'p [u8], labels: &mut Vec<Label<'p>>) -> Result<&'p [u8], Fault> {
    match skip_blanks(rest) {
        [b'{', within @ ..] => inside(within, labels),
        _ => Ok(rest),
    }
}

/// The same where the name stands among the labels, in quotes: `{"name",label="value"}`. `rest` is behind the brace.
pub(super) fn named<'p>(rest: &'p [u8], labels: &mut Vec<Label<'p>>) -> Result<(Raw<'p>, &'p [u8]), Fault> {
    const NAMELESS: Fault = "there is no name before or among the labels";
    let [b'"', rest @ ..] = skip_blanks(rest) else { return Err(NAMELESS) };
    let (name, rest) = Raw::quoted(rest).ok_or(UNCLOSED)?;
    match skip_blanks(rest) {
        [b',', within @ ..] => Ok((name, inside(within, labels)?)),
        [b'}', behind @ ..] => Ok((name, behind)),
        [b'=', ..] => Err(NAMELESS),
        _ => Err(UNCLOSED),
    }
}

fn inside<'p>(mut rest: &'p [u8], labels: &mut Vec<Label<'p>>) -> Result<&'p [u8], Fault> {
    loop {
        let (name, behind) = match skip_blanks(rest) {
            [b'}', behind @ ..] => return Ok(behind),
            [b'"', behind @ ..] => Raw::quoted(behind).ok_or(UNCLOSED)?,
            other => {
                let (name, behind) = name(other).ok_or("a label has no name")?;
                // Colons are for metrics.
                if name.contains(&b':') {
                    return Err("a label's name has a colon in it");
                }
                (Raw::plain(name), behind)
            }
        };
        let [b'=', behind @ ..] = skip_blanks(behind) else { return Err("a label has no value") };
        let [b'"', behind @ ..] = skip_blanks(behind) else { return Err("a label's value is not in quotes") };
        let (value, behind) = Raw::quoted(behind).ok_or(UNCLOSED)?;
        labels.push((name, value));
        rest = match skip_blanks(behind) {
            [b',', behind @ ..] => behind,
            [b'}', behind @ ..] => return Ok(behind),
            _ => return Err("there is no comma between two labels"),
        };
    }
}

/// Reads what follows the labels: value, time, exemplar.
pub(super) fn point(rest: &[u8], format: Format) -> Result<Point<'_>, Fault> {
    let (number, behind) = token(skip_blanks(rest));
    // Between a name and a value there must be something: `up1` is a name.
    let value = number::value(number).ok_or(if number.is_empty() { "there is no value" } else { NO_NUMBER })?;
    let behind = skip_blanks(behind);
    let (time, behind) = match behind {
        [] => return Ok(Point { value, time: None, exemplar: None }),
        [b'#', ..] => (None, behind),
        _ => {
            let (time, behind) = token(behind);
            let time = match format {
                Format::Text => number::millis(time),
                Format::OpenMetrics => number::seconds(time),
            };
            (Some(time.ok_or(NO_TIME)?), skip_blanks(behind))
        }
    };
    match behind {
        [] => Ok(Point { value, time, exemplar: None }),
        [b'#', exemplar @ ..] => Ok(Point { value, time, exemplar: Some(exemplar) }),
        _ => Err("something follows the time"),
    }
}

/// Reads what stands behind the number sign of an exemplar.
pub(super) fn exemplar<'p>(rest: &'p [u8], into: &mut Vec<Label<'p>>) -> Result<Point<'p>, Fault> {
    let [b'{', within @ ..] = skip_blanks(rest) else { return Err("an exemplar has no labels") };
    let point = point(inside(within, into)?, Format::OpenMetrics)?;
    if point.exemplar.is_some() { Err("an exemplar has an exemplar") } else { Ok(point) }
}
