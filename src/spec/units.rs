//! Durations and quantities as people write them in manifests.
//!
//! Both are read strictly, because a guess here is a wrong replica count later: a duration without a unit is refused
//! (`30` is not half a minute), and a [`Quantity`] is what Kubernetes makes of it, to the last digit.

mod quantity;

use std::time::Duration;

pub use quantity::{Quantity, QuantityError};

/// Nanoseconds of every unit that a duration may have; where one name begins another, the longer comes first.
const UNITS: [(&str, u64); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3_600 * 1_000_000_000),
];

/// Why a text is not a duration, and what to write instead.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DurationError {
    #[error("a duration is missing; write one such as 250ms, 30s, 5m or 1h30m")]
    Empty,
    #[error("{text:?} has no unit; write {text}s for seconds, or use ms, m or h")]
    NoUnit { text: String },
    #[error("{text:?} is negative; a duration is zero or more, such as 30s")]
    Negative { text: String },
    #[error("{text:?} is not a duration (at {rest:?}); write one such as 250ms, 30s, 5m or 1h30m")]
    Syntax { text: String, rest: String },
    #[error("{text:?} is longer than 584 years; write a shorter duration")]
    TooLong { text: String },
}

/// Reads `250ms`, `30s`, `5m`, `1h30m`, `1.5s`: numbers, each with its unit (ns, us, ms, s, m, h). What is finer than
/// a nanosecond is cut off.
///
/// # Errors
/// Whatever has no unit, is negative, or is no duration at all; the error says what to write.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let mut rest = text;
    if rest.is_empty() {
        return Err(DurationError::Empty);
    }
    if rest.starts_with('-') {
        return Err(DurationError::Negative { text: text.to_owned() });
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let syntax = || DurationError::Syntax { text: text.to_owned(), rest: rest.to_owned() };
        let (whole, after) = digits(rest);
        let (fraction, after) = after.strip_prefix('.').map_or(("", after), digits);
        if whole.is_empty() && fraction.is_empty() {
            return Err(syntax());
        }
        if after.is_empty() {
            // A number that ends the text, and is the text, was meant as seconds; `1h30` was meant as who knows what.
            return Err(if rest == text { DurationError::NoUnit { text: text.to_owned() } } else { syntax() });
        }
        let (nanos, after) = UNITS
            .iter()
            .find_map(|(name, nanos)| after.strip_prefix(name).map(|after| (u128::from(*nanos), after)))
            .ok_or_else(syntax)?;
        let too_long = || DurationError::TooLong { text: text.to_owned() };
        let whole = if whole.is_empty() { 0 } else { whole.parse::<u64>().map_err(|_| too_long())? };
        // Fifteen places of the longest unit are already finer than a nanosecond.
        let fraction = fraction.get(..15).unwrap_or(fraction);
        let scale = fraction.bytes().fold(1_u128, |scale, _| scale * 10);
        let numerator = fraction.bytes().fold(0_u128, |sum, digit| sum * 10 + u128::from(digit - b'0'));
        total += u128::from(whole) * nanos + numerator * nanos / scale;
        if total > u128::from(u64::MAX) {
            return Err(too_long());
        }
        rest = after;
    }
    let nanos = u64::try_from(total).map_err(|_| DurationError::TooLong { text: text.to_owned() })?;
    Ok(Duration::from_nanos(nanos))
}

/// For fields whose unit is seconds by tradition (KEDA's `pollingInterval: 30`): a bare whole number is seconds,
/// anything else is a duration.
///
/// # Errors
/// As [`parse_duration`].
pub fn parse_seconds_or_duration(text: &str) -> Result<Duration, DurationError> {
    let (whole, rest) = digits(text);
    if whole.is_empty() || !rest.is_empty() {
        return parse_duration(text);
    }
    let seconds: u64 = whole.parse().map_err(|_| DurationError::TooLong { text: text.to_owned() })?;
    if u128::from(seconds) * 1_000_000_000 > u128::from(u64::MAX) {
        return Err(DurationError::TooLong { text: text.to_owned() });
    }
    Ok(Duration::from_secs(seconds))
}

/// Writes a duration the way that [`parse_duration`] reads back exactly: `1h30m`, `5m`, `1.5s`, `250ms`, `0s`.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let (name, unit) = match nanos {
        0 => return "0s".to_owned(),
        1..1_000 => ("ns", 1),
        1_000..1_000_000 => ("us", 1_000),
        1_000_000..1_000_000_000 => ("ms", 1_000_000),
        _ => ("s", 1_000_000_000),
    };
    let mut out = String::new();
    let mut left = nanos;
    for (name, unit) in [("h", 3_600_000_000_000), ("m", 60_000_000_000)] {
        if left >= unit {
            out.push_str(&format!("{}{name}", left / unit));
            left %= unit;
        }
    }
    if left > 0 {
        out.push_str(&(left / unit).to_string());
        if !left.is_multiple_of(unit) {
            let places = unit.ilog10() as usize;
            let fraction = format!("{:0places$}", left % unit);
            out.push('.');
            out.push_str(fraction.trim_end_matches('0'));
        }
        out.push_str(name);
    }
    out
}

/// The decimal digits at the beginning of `text`, and the rest.
fn digits(text: &str) -> (&str, &str) {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_write_them() {
        let cases = [
            ("250ms", 250_000_000),
            ("30s", 30_000_000_000),
            ("5m", 300_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1.5s", 1_500_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("0s", 0),
            ("100us", 100_000),
            ("100µs", 100_000),
            ("7ns", 7),
            ("1m30s500ms", 90_500_000_000),
            ("0.0000000001s", 0),
            ("1.000000000000000000001h", 3_600_000_000_000),
        ];
        for (text, nanos) in cases {
            assert_eq!(parse_duration(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_told_the_cure() {
        let cases = [
            ("", "missing"),
            ("30", "write 30s"),
            ("0", "write 0s"),
            ("1.5", "write 1.5s"),
            ("-5s", "negative"),
            ("5 s", "at \"5 s\""),
            ("5d", "at \"5d\""),
            ("1h30", "at \"30\""),
            ("s", "250ms"),
            ("1e3s", "250ms"),
            (".s", "250ms"),
            ("1..5s", "250ms"),
            ("99999999999999999999s", "584 years"),
            ("9999999999h", "584 years"),
        ];
        for (text, part) in cases {
            let message = parse_duration(text).expect_err(text).to_string();
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    #[test]
    fn a_bare_number_is_seconds_only_where_the_caller_says_so() {
        assert_eq!(parse_seconds_or_duration("30"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_seconds_or_duration("250ms"), Ok(Duration::from_millis(250)));
        assert!(matches!(parse_seconds_or_duration("1.5"), Err(DurationError::NoUnit { .. })));
        assert!(matches!(parse_seconds_or_duration("99999999999"), Err(DurationError::TooLong { .. })));
        assert_eq!(parse_seconds_or_duration(""), Err(DurationError::Empty));
    }

    #[test]
    fn a_duration_reads_back_as_it_was_written() {
        let cases = [
            (0, "0s"),
            (7, "7ns"),
            (1_500, "1.5us"),
            (250_000_000, "250ms"),
            (1_500_000_000, "1.5s"),
            (60_000_000_000, "1m"),
            (5_400_000_000_000, "1h30m"),
            (3_600_000_000_001, "1h0.000000001s"),
            (u64::MAX, "5124095h34m33.709551615s"),
        ];
        for (nanos, text) in cases {
            let duration = Duration::from_nanos(nanos);
            assert_eq!(format_duration(duration), text);
            assert_eq!(parse_duration(text), Ok(duration), "{text}");
        }
    }
}
